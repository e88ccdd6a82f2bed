// A server that dies and one that cannot start: both are said, in vLLM's own words, and nobody hammers.
import { tally, writeVerbs } from "../../cluster/audit.ts";
import { eventually } from "../../cluster/eventually.ts";
import type { ContainerStatus } from "../../../operator/api/kubernetes.ts";
import { broken, chat, longContext, models } from "../names.ts";
import {
  applyDeployment,
  conditionOf,
  deleteDeployment,
  ensureServing,
  eventsOf,
  getDeployment,
  servingPods,
  untilPods,
  untilReady,
} from "../objects.ts";
import type { RunningPod } from "../objects.ts";
import type { Stage } from "../stage.ts";
import { chatContext } from "./03-serve.ts";

/** From the crash by the kubelet's clock until the condition says why. */
const PATIENCE_MS = 10_000;

export function engineOf(pod: RunningPod): (ContainerStatus & { readonly containerID?: string }) | undefined {
  return pod.status.containerStatuses?.find(({ name }) => name === "vllm");
}

/** SIGKILL to the first process of a container, past Kubernetes, as the kernel or a person on the node does it. */
export async function killContainer(stage: Stage, pod: RunningPod, containerID: string | undefined): Promise<void> {
  const id = (containerID ?? "").replace(/^containerd:\/\//, "");
  await stage.real.node(pod.spec.nodeName).ctr(["tasks", "kill", "--signal", "SIGKILL", id]);
}

/** Waits until Serving says so; answers when, and the whole message. */
async function said(
  stage: Stage,
  name: string,
  words: RegExp,
  deadlineMs: number,
): Promise<{ at: number; message: string }> {
  const message = await eventually(
    async () => {
      const serving = conditionOf(await getDeployment(stage, name), "Serving");
      if (serving?.reason === "PodFailing" && words.test(serving.message)) return serving.message;
      throw new Error(
        `Serving is ${serving ? `${serving.status} ${serving.reason}: ${serving.message}` : "not there"}`,
      );
    },
    {
      what: `the condition of ${name} says ${String(words)}`,
      deadlineMs,
      recheckMs: 200,
      logDir: stage.cluster.logDir,
    },
  );
  return { at: Date.now(), message };
}

async function killed(stage: Stage): Promise<void> {
  const { tour } = stage;
  const [victim] = await servingPods(stage, chat);
  if (!victim) throw new Error(`${chat} has no pod`);
  const killedAt = Date.now();
  await killContainer(stage, victim, engineOf(victim)?.containerID);
  const { at, message } = await said(stage, chat, /killed \(exit code 137/, PATIENCE_MS);
  tour.say(`vLLM of ${victim.metadata.name} got SIGKILL; ${((at - killedAt) / 1000).toFixed(1)} s later: ${message}`);
  await untilReady(stage, chat);
  const [after] = (await servingPods(stage, chat)).filter(({ metadata }) => metadata.name === victim.metadata.name);
  if (
    !after ||
    after.metadata.uid !== victim.metadata.uid ||
    engineOf(after)?.restartCount !== (engineOf(victim)?.restartCount ?? 0) + 1
  )
    throw new Error("the pod was replaced, or its container restarted more than once");
  const events = await eventsOf(stage, chat, "PodFailing");
  if (!events.some((text) => /killed \(exit code 137/.test(text)))
    throw new Error(`events say: ${events.join("; ") || "nothing"}`);
  tour.say("the same pod serves again after one restart, and a Warning event PodFailing says why");
}

/** How long after the crash the condition came, in milliseconds; the kubelet writes whole seconds. */
function latenessOf(at: number, engine: ReturnType<typeof engineOf>): number {
  const ended = engine?.lastState?.terminated?.finishedAt ?? engine?.state?.terminated?.finishedAt ?? "";
  const lateMs = at - Date.parse(ended);
  if (!(lateMs <= PATIENCE_MS + 1000))
    throw new Error(`the condition came ${String(lateMs)} ms after the crash at ${ended}`);
  return Math.max(0, lateMs);
}

/** The device plugin gives 1 GiB of cache, the node type promises more: Berth lets it through, vLLM does not. */
async function tooLong(stage: Stage): Promise<void> {
  await applyDeployment(stage, broken, { model: models.long, contextLength: longContext });
  const { at, message } = await said(stage, broken, /set spec\.contextLength to \d+ or less/, 180_000);
  const [pod] = await servingPods(stage, broken);
  const lateMs = latenessOf(at, pod && engineOf(pod));
  stage.tour.say(
    `a node with less memory than its type says, ${(lateMs / 1000).toFixed(0)} s after the crash: ${message}`,
  );
  await deleteDeployment(stage, broken);
}

/** How long a container that crashes is watched. */
const WATCHED_MS = 45_000;
/**
 * The kubelet restarts a crashed container at once, then 10, 20 and 40 s after it ended: a fourth restart comes 70 s after
 * the first crash even where each start crashes at once. More would be somebody's who goes past the kubelet's back-off.
 */
const MOST_RESTARTS = 3;
/** A crash and a restart are each told in the status and in an Event: a few writes for each, and nothing in between. */
const MOST_WRITES = 12;

async function refused(stage: Stage): Promise<void> {
  const { tour } = stage;
  await applyDeployment(stage, broken, { model: models.incomplete });
  const { at, message } = await said(stage, broken, /Following weights were not initialized/, 180_000);
  const [pod] = await servingPods(stage, broken);
  if (!pod) throw new Error(`${broken} has no pod`);
  const lateMs = latenessOf(at, engineOf(pod));
  tour.say(`a model whose shard lacks a tensor, ${(lateMs / 1000).toFixed(0)} s after the crash: ${message}`);
  const { restarts, writes } = await watchItCrash(stage, pod);
  tour.say(
    `in the next ${String(WATCHED_MS / 1000)} s the kubelet restarted that container ${String(restarts)} times (its back-off allows ${String(MOST_RESTARTS)}), the pod stayed the same, and Berth wrote ${String(writes)} times`,
  );
  await deleteDeployment(stage, broken);
}

/** Nobody hammers: the pod stays, for a new one would begin with no back-off, and neither restarts nor writes are many. */
async function watchItCrash(stage: Stage, pod: RunningPod): Promise<{ restarts: number; writes: number }> {
  const { audit } = stage.cluster;
  const mark = await audit.mark();
  const restartsOf = (one: RunningPod): number => engineOf(one)?.restartCount ?? 0;
  await new Promise((resolve) => setTimeout(resolve, WATCHED_MS));
  const entries = (await audit.since(mark, { verbs: [...writeVerbs] })).filter(
    ({ name, user }) => name.startsWith(broken) && user.includes("berth"),
  );
  const [later, ...more] = await servingPods(stage, broken);
  if (!later || later.metadata.uid !== pod.metadata.uid || more.length > 0)
    throw new Error(`${pod.metadata.name} crashed, and another pod took its place`);
  const restarts = restartsOf(later) - restartsOf(pod);
  if (restarts > MOST_RESTARTS)
    throw new Error(`vLLM was restarted ${String(restarts)} times in ${String(WATCHED_MS / 1000)} s`);
  if (entries.length > MOST_WRITES)
    throw new Error(
      `Berth wrote ${String(entries.length)} times in ${String(WATCHED_MS / 1000)} s: ${JSON.stringify(tally(entries))}`,
    );
  return { restarts, writes: entries.length };
}

export async function crash(stage: Stage): Promise<void> {
  await ensureServing(stage, chat, { model: models.llama, replicas: 2, contextLength: chatContext });
  await Promise.all([killed(stage), refused(stage)]);
  await tooLong(stage);
  await untilPods(stage, chat, 2);
}
