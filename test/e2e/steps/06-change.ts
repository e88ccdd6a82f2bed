// Another context length and another model on the same nodes: how long one replica is away, and that two never are.
import { eventually } from "../../cluster/eventually.ts";
import { chat, models } from "../names.ts";
import type { ModelName } from "../names.ts";
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
import { ASKERS, greedyAnswer, noneFailed, startTraffic } from "../requests.ts";
import type { Traffic, TrafficReport } from "../requests.ts";
import type { Stage } from "../stage.ts";
import { chatContext } from "./03-serve.ts";

const otherContext = 16_384;

interface Change {
  readonly what: string;
  readonly spec: object;
  /** Throws where the replicas do not serve it; `before` is what they answered until now. */
  readonly serves: (stage: Stage, before: string) => Promise<void>;
}

const contextTo = (from: number, to: number): Change => ({
  what: `contextLength ${String(from)} -> ${String(to)}`,
  spec: { contextLength: to },
  serves: async (stage) => {
    const args = (await getDeployment(stage, chat)).status?.engine?.args ?? [];
    if (args[args.indexOf("--max-model-len") + 1] !== String(to)) throw new Error(`vLLM runs with ${args.join(" ")}`);
  },
});

const modelTo = (from: ModelName, to: ModelName): Change => ({
  what: `model ${from} -> ${to}`,
  spec: { model: { name: to } },
  serves: async (stage, before) => {
    const { status } = await getDeployment(stage, chat);
    const { status: imported } = await getModel(stage, to);
    if (!imported?.digest || status?.model?.digest !== imported.digest)
      throw new Error(`status.model.digest is ${status?.model?.digest ?? "not there"}`);
    const answer = await greedyAnswer(await serviceUrl(stage, chat), chat);
    if (answer === before) throw new Error(`${to} answers what ${from} did, word by word: ${JSON.stringify(answer)}`);
  },
});

async function nodesOf(stage: Stage): Promise<string> {
  const pods = await servingPods(stage, chat);
  return pods
    .map(({ spec }) => spec.nodeName)
    .sort()
    .join(" and ");
}

interface Changed {
  readonly report: TrafficReport;
  readonly nodes: string;
  readonly seconds: string;
}

/** Makes the change under requests; the replicas then serve it on the nodes that they had. */
async function make(stage: Stage, { what, spec, serves }: Change, replicas: number): Promise<Changed> {
  const url = await serviceUrl(stage, chat);
  const nodes = await nodesOf(stage);
  const answered = await greedyAnswer(url, chat);
  const traffic = startTraffic(url, chat, 250);
  const startedAt = Date.now();
  await stage.cluster.admin.patch(paths.deployment(chat), { spec });
  await untilReady(stage, chat, 360_000);
  await untilPods(stage, chat, replicas);
  const seconds = ((Date.now() - startedAt) / 1000).toFixed(0);
  await untilAnswered(traffic);
  const report = await traffic.stop();
  const after = await nodesOf(stage);
  if (after !== nodes) throw new Error(`${what}: the replicas moved from ${nodes} to ${after}`);
  await serves(stage, answered);
  return { report, nodes, seconds };
}

async function untilAnswered(traffic: Traffic): Promise<void> {
  let since = traffic.now();
  await eventually(
    () => {
      const now = traffic.now();
      if (now.failures.length > since.failures.length) since = now;
      // No more than ASKERS are under way: all the others were answered.
      return now.sent - since.sent >= 4 * ASKERS;
    },
    { what: "requests are answered again", deadlineMs: 30_000 },
  );
}

/** There is no spare GPU, so the only replica goes before the next one comes. */
async function withOne(stage: Stage, change: Change): Promise<void> {
  const { report, nodes } = await make(stage, change, 1);
  if (report.failures.length === 0)
    throw new Error(`${change.what}: no request failed while the only replica was replaced: nothing was measured`);
  stage.tour.say(
    `${change.what} with one replica, on the same node ${nodes}: no answer for ${(report.longestGapMs / 1000).toFixed(1)} s (strategy Replace: no spare GPU)`,
  );
}

async function withTwo(stage: Stage, change: Change): Promise<void> {
  const { report, nodes, seconds } = await make(stage, change, 2);
  noneFailed(report, `${change.what} with two replicas`);
  stage.tour.say(
    `${change.what} with two replicas, one after the other on ${nodes} in ${seconds} s: ${String(report.sent)} requests, none failed, at most ${String(report.longestGapMs)} ms between two answers`,
  );
}

export async function changeIt(stage: Stage): Promise<void> {
  await ensureServing(stage, chat, { model: models.llama, contextLength: chatContext });
  await withOne(stage, contextTo(chatContext, otherContext));
  await withOne(stage, modelTo(models.llama, models.other));
  await ensureServing(stage, chat, { model: models.other, replicas: 2 });
  // And back, so that the steps behind this one find what those before it left.
  await withTwo(stage, contextTo(otherContext, chatContext));
  await withTwo(stage, modelTo(models.other, models.llama));
}
