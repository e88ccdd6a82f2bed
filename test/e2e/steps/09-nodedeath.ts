// A GPU node loses its power: said at once, its replica given up, another node claimed when its time is over, and the
// record ends at the last sign of life.
import { eventually } from "../../cluster/eventually.ts";
import { chat, models, timing } from "../names.ts";
import {
  claimsOf,
  conditionOf,
  ensureServing,
  getDeployment,
  heldNodes,
  isReady,
  nodeLease,
  paths,
  serviceUrl,
  servingPods,
  untilPods,
  untilReady,
} from "../objects.ts";
import type { NodeObject } from "../objects.ts";
import { startTraffic } from "../requests.ts";
import type { Stage } from "../stage.ts";
import { chatContext } from "./03-serve.ts";

async function nodeIsReady({ cluster }: Stage, name: string): Promise<boolean> {
  const { status } = await cluster.admin.get<NodeObject>(paths.node(name));
  return status.conditions.some(({ type, status: value }) => type === "Ready" && value === "True");
}

/** Its Lease, and where its kubelet reported its status since then, that report, which a window sealed meanwhile has recorded. */
async function lastSigns({ cluster }: Stage, name: string, renewed: string): Promise<string[]> {
  const { status } = await cluster.admin.get<NodeObject>(paths.node(name));
  const reported = status.conditions.find(({ type }) => type === "Ready")?.lastHeartbeatTime;
  return reported !== undefined && Date.parse(reported) > Date.parse(renewed) ? [renewed, reported] : [renewed];
}

/** The claim of the node on record; it must not have ended before `ended` may be true. */
async function claimOf(stage: Stage, node: string) {
  const claims = (await claimsOf(stage, chat)).filter(({ spec }) => spec.providerRef.name === node);
  return claims.find(({ status }) => !status?.releasedAt) ?? claims.at(-1);
}

async function said(stage: Stage, node: string): Promise<string> {
  return eventually(
    async () => {
      const capacity = conditionOf(await getDeployment(stage, chat), "CapacityReady");
      if (capacity?.status === "False" && capacity.message.includes(node))
        return `${capacity.reason}: ${capacity.message}`;
      throw new Error(
        `CapacityReady is ${capacity?.status ?? ""} ${capacity?.reason ?? ""}: ${capacity?.message ?? ""}`,
      );
    },
    { what: `the condition names ${node}`, deadlineMs: 60_000, recheckMs: 500, logDir: stage.cluster.logDir },
  );
}

export async function nodeDies(stage: Stage): Promise<void> {
  const { tour, real } = stage;
  await ensureServing(stage, chat, { model: models.llama, replicas: 2, contextLength: chatContext });
  const [victim, survivor] = await servingPods(stage, chat);
  if (!victim || !survivor) throw new Error(`${chat} has no two pods`);
  const node = real.node(victim.spec.nodeName);
  const url = await serviceUrl(stage, chat);
  await node.killEverything();
  const diedAt = Date.now();
  const lease = await nodeLease(stage, node.name);
  const signs = await lastSigns(stage, node.name, lease.spec.renewTime ?? "");
  tour.say(
    `${node.name} has no power: kubelet, containerd and vLLM are gone; its Lease was last renewed at ${lease.spec.renewTime ?? ""}`,
  );
  const words = await said(stage, node.name);
  tour.say(`${((Date.now() - diedAt) / 1000).toFixed(0)} s later the condition says ${words}`);
  // From here on the Service knows: no request may go to the dead pod any more.
  await new Promise((resolve) => setTimeout(resolve, 3000));
  const traffic = startTraffic(url, chat);
  await untilGivenUp(stage, node.name, diedAt);
  const claim = await claimOf(stage, node.name);
  const released = claim?.status?.releasedAt;
  const isProven = signs.some((sign) => Math.abs(Date.parse(released?.time ?? "") - Date.parse(sign)) <= 1000);
  if (!isProven || released?.estimated !== true)
    throw new Error(
      `the claim of ${node.name} ends at ${JSON.stringify(released)}, its last signs of life were ${signs.join(" and ")}`,
    );
  stage.claims.endAt(node.name, Date.parse(released.time) / 1000);
  tour.say(
    `${((Date.now() - diedAt) / 1000).toFixed(0)} s: the claim ends at the last sign of life, estimated (${released.evidence}); another node is claimed`,
  );
  const pods = await untilPods(stage, chat, 2);
  await untilReady(stage, chat);
  const replacement = pods.find(({ metadata }) => metadata.name !== survivor.metadata.name);
  tour.say(
    `${((Date.now() - diedAt) / 1000).toFixed(0)} s: the replacement serves on ${replacement?.spec.nodeName ?? ""}`,
  );
  const report = await traffic.stop();
  if (report.failures.length > 0)
    throw new Error(
      `${String(report.failures.length)} requests failed after the node was called not ready: ${report.failures[0]?.words ?? ""}`,
    );
  tour.say(`${String(report.sent)} requests since the node was called not ready, none failed`);
  await revive(stage, node.name);
}

/** Until the node-lost time is over the record keeps the node. */
async function untilGivenUp(stage: Stage, node: string, diedAt: number): Promise<void> {
  await eventually(
    async () => {
      const claim = await claimOf(stage, node);
      if (!claim) throw new Error(`no claim of ${node} is on record`);
      if (claim.status?.releasedAt === undefined) return false;
      if (Date.now() - diedAt < timing.nodeLostSeconds * 1000) throw new Error(`${node} was given up too early`);
      return true;
    },
    { what: `${node} is given up`, deadlineMs: 180_000, recheckMs: 500, logDir: stage.cluster.logDir },
  );
}

async function revive(stage: Stage, name: string): Promise<void> {
  const node = stage.real.node(name);
  await node.revive();
  await eventually(
    async () => {
      const held = (await heldNodes(stage)).some(({ metadata }) => metadata.name === name);
      return (await nodeIsReady(stage, name)) && !held;
    },
    { what: `${name} is back and free`, deadlineMs: 120_000, recheckMs: 500, logDir: stage.cluster.logDir },
  );
  if (!(await servingPods(stage, chat)).every(isReady))
    throw new Error(`a pod of ${chat} suffered when ${name} came back`);
  stage.tour.say(`${name} has power again: it is Ready and free`);
}
