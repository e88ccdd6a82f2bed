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

async function refused(stage: Stage): Promise<void> {
  const { tour, cluster } = stage;
  await applyDeployment(stage, broken, { model: models.incomplete });
  const { at, message } = await said(stage, broken, /Following weights were not initialized/, 180_000);
  const [pod] = await servingPods(stage, broken);
  const engine = pod && engineOf(pod);
  const lateMs = latenessOf(at, engine);
  tour.say(`a model whose shard lacks a tensor: ${message}`);
  const mark = await cluster.audit.mark();
  const watchedMs = 45_000;
  await new Promise((resolve) => setTimeout(resolve, watchedMs));
  const entries = (await cluster.audit.since(mark, { verbs: [...writeVerbs] })).filter(
    ({ name, user }) => name.startsWith(broken) && user.includes("berth"),
  );
  const [later] = await servingPods(stage, broken);
  const restarts = (later ? (engineOf(later)?.restartCount ?? 0) : 0) - (engine?.restartCount ?? 0);
  if (entries.length > 12)
    throw new Error(`Berth wrote ${String(entries.length)} times in 45 s: ${JSON.stringify(tally(entries))}`);
  tour.say(
    `said ${(lateMs / 1000).toFixed(0)} s after the crash; in the next 45 s the kubelet restarted it ${String(restarts)} times, and Berth wrote ${String(entries.length)} times`,
  );
  await deleteDeployment(stage, broken);
}

export async function crash(stage: Stage): Promise<void> {
  await ensureServing(stage, chat, { model: models.llama, replicas: 2, contextLength: chatContext });
  await Promise.all([killed(stage), refused(stage)]);
  await tooLong(stage);
  await untilPods(stage, chat, 2);
}
