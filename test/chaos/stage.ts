// Berth by its chart on a control plane of the test's own: node types of both providers, static nodes, tenants with a model.
import assert from "node:assert/strict";
import { join } from "node:path";
import { addModel } from "../bench/stage.ts";
import { claimFolder } from "../chart/podprocess.ts";
import { startFromManifest } from "../chart/rendered.ts";
import type { Replica } from "../chart/rendered.ts";
import { apiPath } from "../cluster/client.ts";
import type { KubeObject } from "../cluster/client.ts";
import type { Cluster } from "../cluster/cluster.ts";
import { eventually } from "../cluster/eventually.ts";
import { addGpuNode } from "../cluster/nodes.ts";
import { repoDir } from "../cluster/paths.ts";

export const SYSTEM = "berth-system";
export const API = "berth.dev/v1alpha1";
export const POOL_LABEL = "berth.node-restriction.kubernetes.io/pool";
export const OPERATOR_USER = `system:serviceaccount:${SYSTEM}:berth-operator`;
export const IMPORTER_USER = `system:serviceaccount:${SYSTEM}:berth-importer`;
export const WINDOW_SECONDS = 10;

const shape = { gpu: { product: "NVIDIA L4", count: 1, memory: "22Gi" }, vcpus: 8, memory: "30Gi" };
const byInstance = { "node.kubernetes.io/instance-type": "gpu-l4-1" };
const nodeClassRef = { group: "karpenter.kwok.sh", kind: "KWOKNodeClass", name: "default" };
const requirements = [{ key: "node.kubernetes.io/instance-type", operator: "In", values: ["gpu-l4-1"] }];
const own = {
  name: "own",
  spec: { ...shape, provider: { static: { nodeSelector: { "test.berth.dev/own": "true" } } } },
};
const bought = { name: "bought", spec: { ...shape, provider: { karpenter: { nodeClassRef, requirements } } } };

/** Node types by their names. */
export type NodeTypeName = "own" | "bought";

const timing = {
  shrinkStabilizationSeconds: 0,
  drainGraceSeconds: 1,
  windowSeconds: WINDOW_SECONDS,
  sealGraceSeconds: 3,
  sealSpreadSeconds: 0,
};

/** Installs the chart with node types `own` and `bought` and short times; `values` are laid over it. */
export async function installBerth(cluster: Cluster, values: object = {}): Promise<void> {
  // The test bed has the CRDs from its start, so that Kubernetes' garbage collector knows them.
  const all = { crds: { enabled: false }, nodeTypes: [own, bought], timing, ...values };
  const args = ["install", "berth", join(repoDir, "charts", "berth"), "-n", SYSTEM, "--create-namespace", "-f", "-"];
  const { code, stderr } = await cluster.helm(args, { input: JSON.stringify(all) });
  assert.equal(code, 0, stderr);
}

export function startBerth(cluster: Cluster, component: "operator" | "importer", url?: string): Promise<Replica> {
  const overrides = url === undefined ? {} : { url };
  return startFromManifest({ cluster, release: "berth", namespace: SYSTEM, component, overrides });
}

/** Folder of the directory ledger. */
export function ledgerFolder(cluster: Cluster): Promise<string> {
  return claimFolder({ cluster, namespace: SYSTEM }, "berth-ledger");
}

/** The Lease of a leader that is certainly dead, given free as its duration would in 15 s. */
export async function freeLease(cluster: Cluster): Promise<void> {
  await cluster.admin.remove(
    apiPath("coordination.k8s.io/v1", "leases", { namespace: SYSTEM, name: "berth-operator" }),
  );
}

/** `count` nodes of type `own`, ready. */
export async function addOwnNodes(cluster: Cluster, count: number): Promise<void> {
  const labels = { "test.berth.dev/own": "true", ...byInstance };
  const names = Array.from({ length: count }, (_none, index) => `own-${String(index)}`);
  await Promise.all(names.map((name) => addGpuNode(cluster, { name, labels })));
  await eventually(async () => (await ownNodes(cluster)).filter(isAtRest).length === count, {
    what: `${String(count)} nodes are ready`,
    logDir: cluster.logDir,
  });
}

/** Kubernetes' own controllers write to a new node a few times: it is ready, untainted and fully annotated after that. */
function isAtRest({ metadata, spec, status }: KubeObject): boolean {
  const conditions = (status?.["conditions"] ?? []) as { type: string; status: string }[];
  return (
    conditions.some(({ type, status: value }) => type === "Ready" && value === "True") &&
    !spec?.["taints"] &&
    metadata.annotations?.["node.alpha.kubernetes.io/ttl"] !== undefined
  );
}

export async function ownNodes(cluster: Cluster): Promise<KubeObject[]> {
  return (await cluster.admin.list("/api/v1/nodes?labelSelector=test.berth.dev%2Fown")).items;
}

/** A tenant's namespace with a Model that counts as imported. */
export async function addTenant(cluster: Cluster, namespace: string): Promise<void> {
  await addModel(cluster as Parameters<typeof addModel>[0], namespace);
}

export const deploymentPath = (namespace: string, name?: string, subresource?: string): string =>
  apiPath(API, "modeldeployments", { namespace, name, subresource });

export interface Wish {
  readonly namespace: string;
  readonly name: string;
  readonly nodeType: NodeTypeName;
  readonly replicas?: number;
  readonly model?: string;
}

export async function createDeployment(
  cluster: Cluster,
  { namespace, name, nodeType, replicas = 1, model = "mini" }: Wish,
): Promise<void> {
  await cluster.admin.create(deploymentPath(namespace), {
    apiVersion: API,
    kind: "ModelDeployment",
    metadata: { name, namespace },
    spec: { model: { name: model }, nodeType, replicas },
  });
}

/** Names of deployments of any namespace that are not Ready at their newest generation, with the reason. */
export async function unready(cluster: Cluster): Promise<string[]> {
  const { items } = await cluster.admin.list(apiPath(API, "modeldeployments"));
  return items.flatMap(({ metadata, status }) => {
    const conditions = (status?.["conditions"] ?? []) as { type: string; status: string; message: string }[];
    const ready = conditions.find(({ type }) => type === "Ready");
    const current = status?.["observedGeneration"] === metadata.generation;
    return ready?.status === "True" && current ? [] : [`${metadata.name ?? ""}: ${ready?.message ?? "no status"}`];
  });
}

/** Waits until every deployment is Ready. */
export async function allReady(cluster: Cluster, deadlineMs: number): Promise<void> {
  const settled = async (): Promise<boolean> => {
    const open = await unready(cluster);
    if (open.length > 0) throw new Error(open.join("; "));
    return true;
  };
  await eventually(settled, { what: "all deployments are Ready", deadlineMs, recheckMs: 300, logDir: cluster.logDir });
}
