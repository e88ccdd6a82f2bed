// What each provider needs around it, behind one interface, so that the conformance tests have no branch on the provider.
import { randomUUID } from "node:crypto";
import type { TestContext } from "node:test";
import type { PoolTemplate } from "../../operator/api/gpunodepool.ts";
import type { ProviderName } from "../../operator/ports.ts";
import type { Cluster } from "../cluster/cluster.ts";
import { apiPath } from "../cluster/client.ts";
import { eventually } from "../cluster/eventually.ts";
import { addGpuNode } from "../cluster/nodes.ts";
import { uniqueName } from "../cluster/session.ts";

export interface Bed {
  readonly provider: ProviderName;
  /** Template of a pool whose nodes come. */
  readonly template: PoolTemplate;
  /** Nodes that can be had at most. */
  readonly stock: number;
  /** Template of a pool whose nodes never come, and the provider's words for it. */
  readonly barren: PoolTemplate;
  readonly barrenWords: RegExp;
  /** Node names that carry anything of Berth's although they should not. */
  leftovers(poolUID: string): Promise<string[]>;
}

interface NodeObject {
  readonly metadata: {
    readonly name: string;
    readonly uid: string;
    readonly labels?: Record<string, string>;
    readonly annotations?: Record<string, string>;
  };
  readonly spec?: { readonly taints?: readonly { readonly key: string; readonly value?: string }[] };
  readonly status?: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] };
}

const gpu = { product: "NVIDIA L4", count: 1, memory: "24Gi", resourceName: "nvidia.com/gpu" } as const;
const sku = "l4-1";

export const POOL_LABEL = "berth.node-restriction.kubernetes.io/pool";

/** Nodes of a pool as the API server has them. */
export async function nodesOfPool(cluster: Cluster, poolUID: string): Promise<readonly NodeObject[]> {
  const selector = encodeURIComponent(`${POOL_LABEL}=${poolUID}`);
  return (await cluster.admin.list<NodeObject>(`/api/v1/nodes?labelSelector=${selector}`)).items;
}

async function marked(cluster: Cluster, poolUID: string): Promise<string[]> {
  const { items } = await cluster.admin.list<NodeObject>("/api/v1/nodes");
  const ours = ({ metadata, spec }: NodeObject): boolean =>
    metadata.labels?.[POOL_LABEL] === poolUID || (spec?.taints ?? []).some(({ value }) => value === poolUID);
  return items.filter(ours).map(({ metadata }) => metadata.name);
}

/** `stock` nodes that nobody else's type matches. */
export async function staticBed(t: TestContext, cluster: Cluster, stock: number): Promise<Bed> {
  const type = uniqueName("type");
  const names = Array.from({ length: stock }, (_, i) => `${type}-${i}`);
  await Promise.all(names.map((name) => addGpuNode(cluster, { name, labels: { "test.berth.dev/type": type } })));
  t.after(() => Promise.all(names.map((name) => cluster.admin.remove(apiPath("v1", "nodes", { name })))));
  await eventually(async () => {
    const { items } = await cluster.admin.list<NodeObject>(`/api/v1/nodes?labelSelector=test.berth.dev/type=${type}`);
    // Kubernetes' own controllers write to a new node a few times; a node that is at rest has all their marks.
    const ready = items.filter(
      ({ metadata, spec, status }) =>
        status?.conditions?.some((c) => c.type === "Ready" && c.status === "True") &&
        (spec?.taints ?? []).length === 0 &&
        metadata.annotations?.["node.alpha.kubernetes.io/ttl"] !== undefined,
    );
    return ready.length === stock;
  });
  const template = (value: string): PoolTemplate => ({
    sku,
    gpu,
    provider: { static: { nodeSelector: { "test.berth.dev/type": value } } },
  });
  return {
    provider: "static",
    template: template(type),
    stock,
    barren: template(`${type}-none`),
    barrenWords: /no free node/,
    leftovers: (poolUID) => marked(cluster, poolUID),
  };
}

/** Karpenter's kwok cloud never runs out, so its stock is as large as anybody asks for. */
export async function karpenterBed(_t: TestContext, cluster: Cluster): Promise<Bed> {
  const template = (instanceType: string): PoolTemplate => ({
    sku,
    gpu,
    provider: {
      karpenter: {
        nodeClassRef: { group: "karpenter.kwok.sh", kind: "KWOKNodeClass", name: "default" },
        requirements: [{ key: "node.kubernetes.io/instance-type", operator: "In", values: [instanceType] }],
      },
    },
  });
  return Promise.resolve({
    provider: "karpenter",
    template: template("gpu-l4-1"),
    stock: Number.POSITIVE_INFINITY,
    barren: template(`no-such-type-${randomUUID().slice(0, 8)}`),
    barrenWords: /instance type not found/,
    async leftovers(poolUID) {
      const found = await Promise.all(
        ["nodepools", "nodeclaims"].map(async (plural) => {
          const { items } = await cluster.admin.list(`/apis/karpenter.sh/v1/${plural}`);
          return items.map(({ metadata }) => metadata.name ?? "").filter((name) => name.includes(poolUID));
        }),
      );
      return [...found.flat(), ...(await marked(cluster, poolUID))];
    },
  });
}
