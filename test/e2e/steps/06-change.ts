// Another context length and another model on the same nodes: how long one replica is away, and that two never are.
import { eventually } from "../../cluster/eventually.ts";
import { chat, models } from "../names.ts";
import {
  ensureServing,
  getDeployment,
  getModel,
  paths,
  serviceUrl,
  servingPods,
  untilPods,
  untilReady,
} from "../objects.ts";
import { noneFailed, startTraffic } from "../requests.ts";
import type { Stage } from "../stage.ts";
import { chatContext } from "./03-serve.ts";

const otherContext = 16_384;

async function nodesOf(stage: Stage): Promise<string> {
  const pods = await servingPods(stage, chat);
  return pods
    .map(({ spec }) => spec.nodeName)
    .sort()
    .join(", ");
}

async function change(stage: Stage, spec: object): Promise<void> {
  await stage.cluster.admin.patch(paths.deployment(chat), { spec });
}

async function context(stage: Stage): Promise<void> {
  const { tour } = stage;
  await ensureServing(stage, chat, { model: models.llama, contextLength: chatContext });
  const before = await nodesOf(stage);
  const traffic = startTraffic(await serviceUrl(stage, chat), chat, 250);
  await change(stage, { contextLength: otherContext });
  await untilReady(stage, chat);
  await untilPods(stage, chat, 1);
  const failed = (): number => traffic.now().failures.length;
  await eventually(
    async () => {
      const before = failed();
      await new Promise((resolve) => setTimeout(resolve, 1500));
      return failed() === before;
    },
    { what: "requests are answered again", deadlineMs: 30_000 },
  );
  const report = await traffic.stop();
  if (report.failures.length === 0)
    throw new Error("no request failed while the only replica was replaced: nothing was measured");
  const after = await nodesOf(stage);
  if (after !== before) throw new Error(`the replica moved from ${before} to ${after}`);
  const { status } = await getDeployment(stage, chat);
  const args = status?.engine?.args ?? [];
  if (args[args.indexOf("--max-model-len") + 1] !== String(otherContext))
    throw new Error(`vLLM runs with ${args.join(" ")}`);
  tour.say(
    `contextLength ${String(chatContext)} -> ${String(otherContext)} with one replica, on the same node ${after}: no answer for ${(report.longestGapMs / 1000).toFixed(1)} s (strategy Replace: no spare GPU)`,
  );
}

async function model(stage: Stage): Promise<void> {
  const { tour } = stage;
  await ensureServing(stage, chat, { model: models.llama, replicas: 2 });
  const before = await nodesOf(stage);
  const url = await serviceUrl(stage, chat);
  const traffic = startTraffic(url, chat);
  await change(stage, { model: { name: models.other } });
  await untilReady(stage, chat, 360_000);
  await untilPods(stage, chat, 2);
  const report = await traffic.stop();
  const after = await nodesOf(stage);
  if (after !== before) throw new Error(`the replicas moved from ${before} to ${after}`);
  const { status } = await getDeployment(stage, chat);
  const { status: imported } = await getModel(stage, models.other);
  if (!imported?.digest || status?.model?.digest !== imported.digest)
    throw new Error(`status.model.digest is ${status?.model?.digest ?? "not there"}`);
  noneFailed(report, "while the model changed with two replicas");
  tour.say(
    `another model with two replicas, one after the other on ${after}: ${String(report.sent)} requests, none failed, at most ${String(report.longestGapMs)} ms between two answers`,
  );
}

export async function changeIt(stage: Stage): Promise<void> {
  await context(stage);
  await model(stage);
}
