// The bill against what was measured from outside; an upgrade that restarts nothing; an end that leaves nothing.
import { ListObjectsV2Command } from "@aws-sdk/client-s3";
import { apiPath } from "../../cluster/client.ts";
import type { KubeObject } from "../../cluster/client.ts";
import { eventually } from "../../cluster/eventually.ts";
import { labels } from "../../../operator/api/keys.ts";
import { kinds } from "../../../operator/api/kinds.ts";
import {
  berthRepository,
  buckets,
  chartDir,
  chat,
  gpuNodes,
  models,
  nextTag,
  release,
  systemNamespace,
  team,
} from "../names.ts";
import { nextMark } from "../material.ts";
import {
  applyDeployment,
  deleteDeployment,
  ensureServing,
  getDeployment,
  heldNodes,
  paths,
  serviceUrl,
  servingState,
} from "../objects.ts";
import type { RunningPod } from "../objects.ts";
import { noneFailed, startTraffic } from "../requests.ts";
import type { Stage } from "../stage.ts";
import { usage } from "../usage.ts";
import { chartValues, oneLeads, untilInstalled, writeValues } from "./01-install.ts";
import { chatContext } from "./03-serve.ts";

async function bill(stage: Stage): Promise<void> {
  const report = await usage(stage);
  const asOf = Math.floor(Date.parse(report.asOf) / 1000);
  const held = stage.claims.held.map(({ from, to }) => (to ?? asOf) - from);
  const open = stage.claims.held.filter(({ to }) => to === undefined).length;
  const measured = held.reduce((sum, seconds) => sum + seconds, 0);
  const claimed = report.records.reduce((sum, line) => sum + line.claimedNodeSeconds, 0);
  const billable = report.records.reduce((sum, line) => sum + line.billableNodeSeconds, 0);
  const off = stage.claims.held.filter(
    ({ from, seenFrom, to, seenTo, endedAt }) =>
      Math.abs(from - seenFrom) > 3 || (endedAt === undefined && Math.abs((to ?? 0) - (seenTo ?? 0)) > 3),
  );
  if (off.length > 0) throw new Error(`a claim's instant is not when we saw it: ${JSON.stringify(off[0])}`);
  if (Math.abs(claimed - measured) > open)
    throw new Error(
      `the ledger has ${String(claimed)} node-seconds claimed, measured from outside were ${String(measured)}: ${JSON.stringify(stage.claims.held)}`,
    );
  if (billable > claimed || billable === 0)
    throw new Error(`${String(billable)} node-seconds are billable of ${String(claimed)} claimed`);
  const sealed = report.records.filter((line) => !line.open).length;
  stage.tour.say(
    `berth usage: ${String(claimed)} node-seconds claimed in ${String(report.records.length)} records (${String(sealed)} sealed), ${String(billable)} billable; measured from outside on the Nodes: ${String(measured)} in ${String(held.length)} claims`,
  );
}

async function upgradeUnderRequests(stage: Stage): Promise<void> {
  const before = JSON.stringify(await servingState(stage, chat));
  const traffic = startTraffic(await serviceUrl(stage, chat), chat);
  await upgrade(stage);
  await rendersAnew(stage);
  const report = await traffic.stop();
  noneFailed(report, "while Berth was upgraded");
  const after = JSON.stringify(await servingState(stage, chat));
  if (after !== before) throw new Error(`serving pods changed from ${before} to ${after}`);
  stage.tour.say(
    `helm upgrade to a program that renders pods otherwise: no serving pod restarted, ${String(report.sent)} requests, none failed`,
  );
}

async function upgrade(stage: Stage): Promise<void> {
  const { cluster } = stage;
  const values = writeValues(stage, "values-next.yaml", chartValues(stage, nextTag));
  const { code, stdout, stderr } = await cluster.helm([
    "upgrade",
    release,
    chartDir,
    "-n",
    systemNamespace,
    "-f",
    values,
  ]);
  if (code !== 0) throw new Error(`helm upgrade failed: ${(stderr || stdout).trim()}`);
  await eventually(
    async () => {
      const pods = await untilInstalled(stage, 1000);
      return pods.every((pod) => JSON.stringify(pod).includes(`${berthRepository}:${nextTag}`));
    },
    { what: "the upgraded pods are ready", deadlineMs: 180_000, recheckMs: 500, logDir: cluster.logDir },
  );
  await oneLeads(stage);
}

/** A deployment made after the upgrade shows that the new program really renders otherwise. */
async function rendersAnew(stage: Stage): Promise<void> {
  const name = "late";
  await applyDeployment(stage, name, { model: models.llama });
  const template = await eventually(
    async () => {
      const uid = (await getDeployment(stage, name)).metadata.uid ?? "";
      const path = apiPath("apps/v1", "deployments", { namespace: team });
      const { items } = await stage.cluster.admin.list<KubeObject>(
        `${path}?labelSelector=${labels.deploymentUID}%3D${uid}`,
      );
      return items[0] && JSON.stringify(items[0]);
    },
    { what: "a deployment made after the upgrade is rendered", deadlineMs: 60_000, recheckMs: 500 },
  );
  if (!template.includes(nextMark)) throw new Error("the upgraded program renders as the former one");
  await deleteDeployment(stage, name);
}

async function uninstall(stage: Stage): Promise<void> {
  const { cluster, tour } = stage;
  const helm = () =>
    cluster.helm(["uninstall", release, "-n", systemNamespace, "--timeout", "90s"], { timeoutMs: 150_000 });
  const early = await helm();
  if (early.code === 0) throw new Error("helm uninstall went through although a deployment is there");
  const { items } = await cluster.admin.list<RunningPod>(
    `${paths.pods(systemNamespace)}?labelSelector=app.kubernetes.io/component%3Duninstall`,
  );
  const logs = await cluster.kubectl(["logs", "-n", systemNamespace, items.at(-1)?.metadata.name ?? "none"]);
  if (!logs.stdout.includes(`${team}/${chat}`))
    throw new Error(`the hook does not name the deployment: ${logs.stdout || logs.stderr || early.stderr}`);
  tour.say(
    `helm uninstall while a deployment is there, in the words of its hook: ${logs.stdout.trim().split("\n")[0] ?? ""}`,
  );
  await deleteDeployment(stage, chat);
  await eventually(async () => (await heldNodes(stage)).length === 0, {
    what: "all nodes are free",
    deadlineMs: 60_000,
  });
  await untilInstalled(stage);
  const late = await helm();
  if (late.code !== 0) throw new Error(`helm uninstall failed: ${(late.stderr || late.stdout).trim()}`);
  await nothingIsLeft(stage);
}

const KINDS: readonly (readonly [apiVersion: string, plural: string])[] = [
  ["v1", "serviceaccounts"],
  ["v1", "configmaps"],
  ["v1", "services"],
  ["apps/v1", "deployments"],
  ["rbac.authorization.k8s.io/v1", "clusterroles"],
  ["rbac.authorization.k8s.io/v1", "clusterrolebindings"],
  ["rbac.authorization.k8s.io/v1", "roles"],
  ["rbac.authorization.k8s.io/v1", "rolebindings"],
  ["admissionregistration.k8s.io/v1", "validatingadmissionpolicies"],
  ["admissionregistration.k8s.io/v1", "validatingadmissionpolicybindings"],
  ["policy/v1", "poddisruptionbudgets"],
  ["networking.k8s.io/v1", "networkpolicies"],
  ["batch/v1", "jobs"],
];

async function nothingIsLeft(stage: Stage): Promise<void> {
  const { cluster, s3, tour } = stage;
  await eventually(
    async () => {
      const left: string[] = [];
      for (const [version, plural] of KINDS) {
        const { items } = await cluster.admin.list(apiPath(version, plural));
        left.push(...items.filter(isOurs).map(({ metadata }) => `${plural}/${metadata.name}`));
      }
      for (const path of [paths.deployments, paths.pools, paths.claims])
        left.push(...(await cluster.admin.list(path)).items.map(({ metadata }) => `${path}/${metadata.name}`));
      if (left.length > 0) throw new Error(`left: ${left.join(", ")}`);
      return true;
    },
    { what: "nothing is left", deadlineMs: 60_000, recheckMs: 1000 },
  );
  const crds = (await cluster.admin.list(apiPath("apiextensions.k8s.io/v1", "customresourcedefinitions"))).items.filter(
    ({ metadata }) => metadata.name?.endsWith(".berth.dev"),
  );
  const client = s3.client();
  const count = async (Bucket: string): Promise<number> =>
    (await client.send(new ListObjectsV2Command({ Bucket }))).KeyCount ?? 0;
  const kept = { store: await count(buckets.store), ledger: await count(buckets.ledger) };
  client.destroy();
  // Where nothing served nothing was billed.
  const billed = kept.ledger > 0 || !canServe(stage);
  if (crds.length !== kinds.length || kept.store === 0 || !billed)
    throw new Error(`kept are ${String(crds.length)} CRDs and ${JSON.stringify(kept)} objects`);
  tour.say(
    `after the deployments' deletion helm uninstall leaves ${String(crds.length)} CRDs, the imported models (${String(kept.store)} objects) and the ledger (${String(kept.ledger)} objects), and nothing else`,
  );
}

function isOurs({ metadata }: KubeObject): boolean {
  const { labels: own = {}, annotations = {} } = metadata as {
    labels?: Record<string, string>;
    annotations?: Record<string, string>;
  };
  return annotations["meta.helm.sh/release-name"] === release || own["app.kubernetes.io/managed-by"] === "berth";
}

const canServe = ({ servers }: Stage): boolean => servers >= gpuNodes;

export async function end(stage: Stage): Promise<void> {
  const wanted = { model: models.llama, replicas: 2, contextLength: chatContext };
  if (canServe(stage)) {
    await ensureServing(stage, chat, wanted);
    await bill(stage);
    await upgradeUnderRequests(stage);
    await bill(stage);
  } else {
    await applyDeployment(stage, chat, wanted);
    await upgrade(stage);
    stage.tour.say(
      "helm upgrade to another program went through; no node serves, so no request and no bill was looked at",
    );
  }
  await uninstall(stage);
}
