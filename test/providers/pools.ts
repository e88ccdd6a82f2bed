// Plays the ModelDeployment controller: makes, sizes and deletes GPUNodePools, and reads what became of them.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import type { CapacityClaim } from "../../operator/api/capacityclaim.ts";
import type { GPUNodePool, PoolTemplate } from "../../operator/api/gpunodepool.ts";
import type { Condition } from "../../operator/api/schema.ts";
import type { Cluster } from "../cluster/cluster.ts";
import { apiPath } from "../cluster/client.ts";
import type { KubeObject } from "../cluster/client.ts";
import { eventually } from "../cluster/eventually.ts";

const API = "berth.dev/v1alpha1";

export interface TestPool {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly template: PoolTemplate;
  readonly deploymentUID: string;
}

const pathOf = ({ namespace, name }: Pick<TestPool, "namespace" | "name">): string =>
  apiPath(API, "gpunodepools", { namespace, name });

function bodyOf(pool: Omit<TestPool, "uid">, size: number): object {
  return {
    apiVersion: API,
    kind: "GPUNodePool",
    metadata: { name: pool.name, namespace: pool.namespace, finalizers: ["berth.dev/pool"] },
    spec: {
      nodeType: "test-type",
      deploymentRef: { name: pool.name, uid: pool.deploymentUID },
      size,
      account: pool.namespace.slice(0, 63),
      template: pool.template,
    },
  };
}

export async function createPool(
  cluster: Cluster,
  namespace: string,
  name: string,
  template: PoolTemplate,
  size: number,
): Promise<TestPool> {
  const pool = { namespace, name, template, deploymentUID: randomUUID() };
  const made = await cluster.admin.apply(pathOf(pool), bodyOf(pool, size), "berth-size");
  return { ...pool, uid: made.metadata.uid ?? "" };
}

/** A new size, once the size log holds the current one, as the contract says. */
export async function resizePool(cluster: Cluster, pool: TestPool, size: number): Promise<void> {
  await eventually(async () => {
    const { spec, status } = await readPool(cluster, pool);
    return status?.sizeLog?.at(-1)?.size === spec.size;
  });
  await cluster.admin.apply(pathOf(pool), bodyOf(pool, size), "berth-size");
}

export async function readPool(cluster: Cluster, pool: TestPool): Promise<GPUNodePool> {
  return cluster.admin.get<GPUNodePool>(pathOf(pool));
}

export async function deletePool(cluster: Cluster, pool: TestPool): Promise<void> {
  await cluster.admin.remove(pathOf(pool));
}

export async function poolIsGone(cluster: Cluster, pool: TestPool): Promise<boolean> {
  return (await cluster.admin.find(pathOf(pool))) === undefined;
}

export async function claimsOf(cluster: Cluster, pool: TestPool): Promise<readonly CapacityClaim[]> {
  const { items } = await cluster.admin.list<CapacityClaim>(apiPath(API, "capacityclaims"));
  return items.filter(({ spec }) => spec.poolUID === pool.uid);
}

export function readyOf(pool: GPUNodePool): Condition | undefined {
  return pool.status?.conditions?.find(({ type }) => type === "Ready");
}

const podsPath = (namespace: string, name?: string): string => apiPath("v1", "pods", { namespace, name });

export async function podsOfPool(cluster: Cluster, pool: TestPool): Promise<readonly KubeObject[]> {
  const selector = `berth.dev/pool-uid=${pool.uid}`;
  return (await cluster.admin.list(`${podsPath(pool.namespace)}?labelSelector=${encodeURIComponent(selector)}`)).items;
}

/** A pod as the workload's, with all GPUs of its node; resolves with the node that the scheduler bound it to. */
export async function servingPod(cluster: Cluster, pool: TestPool, name: string): Promise<string> {
  const { count, resourceName } = pool.template.gpu;
  const gpus = { [resourceName]: String(count) };
  await eventually(() =>
    cluster.admin.create(podsPath(pool.namespace), {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name, labels: { "app.kubernetes.io/managed-by": "berth", "berth.dev/pool-uid": pool.uid } },
      spec: {
        nodeSelector: { "berth.node-restriction.kubernetes.io/pool": pool.uid },
        tolerations: [{ key: "berth.dev/dedicated", operator: "Equal", value: pool.uid }],
        containers: [{ name: "vllm", image: "example.invalid/vllm", resources: { requests: gpus, limits: gpus } }],
      },
    }),
  );
  return eventually(async () => {
    const { spec, status } = await cluster.admin.get(podsPath(pool.namespace, name));
    return status?.["phase"] === "Running" ? (spec?.["nodeName"] as string | undefined) : undefined;
  });
}

const watched = ["/api/v1/nodes", apiPath(API, "gpunodepools"), apiPath(API, "capacityclaims")];

/** Waits until the pool says that it holds exactly `size` ready nodes and says so for its newest generation. */
export async function untilReady(
  cluster: Cluster,
  pool: TestPool,
  size: number,
  deadlineMs = 60_000,
): Promise<GPUNodePool> {
  return eventually(
    async () => {
      const live = await readPool(cluster, pool);
      const said = readyOf(live);
      assert.deepEqual(
        { ready: live.status?.ready, claimed: live.status?.claimed, status: said?.status, reason: said?.reason },
        { ready: size, claimed: size, status: "True", reason: "NodesReady" },
        said?.message,
      );
      assert.equal(live.status?.observedGeneration, live.metadata.generation);
      return live;
    },
    {
      what: `pool ${pool.name} is ready with ${size} nodes`,
      deadlineMs,
      watch: { client: cluster.admin, paths: watched },
    },
  );
}
