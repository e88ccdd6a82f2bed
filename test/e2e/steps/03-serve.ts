// Two deployments on nodes of their own; they are Ready only when vLLM really answers, and it answers what it should.
import { labels, taints } from "../../../operator/api/keys.ts";
import { eventually } from "../../cluster/eventually.ts";
import { askByHand, sentence } from "../byhand.ts";
import { chat, embed, models } from "../names.ts";
import {
  applyDeployment,
  conditionOf,
  eventsOf,
  getDeployment,
  heldNodes,
  serviceUrl,
  servingPods,
  untilReady,
} from "../objects.ts";
import { ask, cosine, embedding, stream } from "../requests.ts";
import type { Stage } from "../stage.ts";

/** Tokens of prompt and answer together; one stream of a minute needs this many. */
export const chatContext = 32_768;

/** While it is not Ready nothing may answer, and once it is, the first request must. */
async function readyMeansAnswers(stage: Stage, name: string): Promise<void> {
  await eventually(
    async () => {
      const before = conditionOf(await getDeployment(stage, name), "Ready");
      const url = await serviceUrl(stage, name).catch(() => undefined);
      const health =
        url &&
        (await ask(`${url}/health`, undefined, 2000).then(
          () => true,
          () => false,
        ));
      if (before?.status !== "True") return false;
      if (!health) throw new Error(`${name} is Ready, and its Service does not answer`);
      return true;
    },
    { what: `${name} is Ready and answers`, deadlineMs: 240_000, recheckMs: 500, logDir: stage.cluster.logDir },
  );
  await untilReady(stage, name);
}

async function nodesAreDedicated(stage: Stage, names: readonly string[]): Promise<string> {
  const nodes = await heldNodes(stage);
  if (nodes.length !== names.length)
    throw new Error(`${String(nodes.length)} nodes are claimed for ${names.join(", ")}`);
  const told: string[] = [];
  for (const name of names) {
    const [pod, more] = await servingPods(stage, name);
    const node = nodes.find(({ metadata }) => metadata.name === pod?.spec.nodeName);
    if (!pod || more || !node) throw new Error(`${name} does not run as one pod on a claimed node`);
    const pool = node.metadata.labels?.[labels.pool];
    const effects = (node.spec.taints ?? []).filter(({ key, value }) => key === taints.dedicated && value === pool);
    if (effects.length !== 2) throw new Error(`${node.metadata.name} lacks the taints of its pool`);
    told.push(`${name} on ${node.metadata.name}`);
  }
  return told.join(", ");
}

/** The pod's container gets the arguments that the status shows, and no other. */
async function runsWhatIsShown(stage: Stage, name: string): Promise<void> {
  const [pod] = await servingPods(stage, name);
  const { containers } = (pod?.spec ?? {}) as { containers?: readonly { name: string; args?: readonly string[] }[] };
  const given = JSON.stringify(containers?.find((container) => container.name === "vllm")?.args);
  const shown = JSON.stringify((await getDeployment(stage, name)).status?.engine?.args);
  if (given !== shown || !shown?.includes("--served-model-name"))
    throw new Error(`vLLM of ${name} was started with ${given ?? "nothing"}, its status shows ${shown ?? "nothing"}`);
}

export async function serve(stage: Stage): Promise<void> {
  const { tour } = stage;
  const byHand = stage.real.can("device-plugin") ? askByHand(stage) : undefined;
  byHand?.catch(() => undefined);
  await applyDeployment(stage, embed, { model: models.minilm });
  await applyDeployment(stage, chat, { model: models.llama, contextLength: chatContext });
  await Promise.all([embed, chat].map((name) => readyMeansAnswers(stage, name)));
  tour.say(`claimed, labelled and tainted: ${await nodesAreDedicated(stage, [embed, chat])}`);
  for (const name of [embed, chat]) {
    await runsWhatIsShown(stage, name);
    const [message] = await eventually(
      async () => {
        const found = await eventsOf(stage, name, "ReplicaStarted");
        return found.length > 0 ? found : undefined;
      },
      { what: `an event tells how ${name} started`, deadlineMs: 20_000 },
    );
    tour.say(`event ReplicaStarted: ${message ?? ""}`);
  }
  await answersAreRight(stage, await byHand);
}

async function answersAreRight(stage: Stage, expected: readonly number[] | undefined): Promise<void> {
  const { tour } = stage;
  const embedUrl = await serviceUrl(stage, embed);
  const vector = await embedding(embedUrl, embed, sentence);
  const likeness = cosine(vector, expected ?? vector);
  if (!(likeness >= 0.9999))
    throw new Error(`the embedding differs from that of vLLM by hand: cosine ${likeness.toFixed(6)}`);
  tour.say(
    expected
      ? `/v1/embeddings through the Service: cosine ${likeness.toFixed(6)} with vLLM by hand`
      : `/v1/embeddings through the Service: ${String(vector.length)} numbers, not compared with vLLM by hand: the device plugin is not ours`,
  );
  const end = await stream(await serviceUrl(stage, chat), chat, { maxTokens: 32 });
  if (!end.whole || end.completionTokens !== 32 || end.promptTokens === 0 || end.pieces < 2)
    throw new Error(`/v1/chat/completions does not stream with usage: ${JSON.stringify(end)}`);
  tour.say(
    `/v1/chat/completions streams: ${String(end.pieces)} pieces, usage ${String(end.promptTokens)} + ${String(end.completionTokens)} tokens, ${(end.ms / 1000).toFixed(1)} s`,
  );
}
