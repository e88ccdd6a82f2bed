/** Objects as the caches hold them, for tests of metering: times as "10:12:00" of one day. */
import type { CapacityClaim } from "../../operator/api/capacityclaim.ts";
import type { GPUNodePool } from "../../operator/api/gpunodepool.ts";
import { finalizers } from "../../operator/api/keys.ts";
import type { ModelDeployment } from "../../operator/api/modeldeployment.ts";

export const CLUSTER = "6f2e1b9c-0000-4000-8000-00000000c1d0";
export const instant = (time: string) => `2026-11-21T${time}Z`;
export const epochMs = (time: string) => Date.parse(instant(time));

interface PoolTimes {
  readonly deployment: string;
  /** Time and size of each step. */
  readonly sizes: readonly (readonly [string, number])[];
  readonly deleted?: string;
}

export function pool({ deployment, sizes, deleted }: PoolTimes): GPUNodePool {
  return {
    metadata: {
      name: deployment,
      namespace: "team-a",
      uid: `pool-${deployment}`,
      resourceVersion: "1",
      ...(deleted === undefined ? {} : { deletionTimestamp: instant(deleted) }),
    },
    spec: {
      nodeType: "l4",
      deploymentRef: { name: deployment, uid: `uid-${deployment}` },
      size: sizes.at(-1)?.[1] ?? 0,
      account: "team-a",
      tags: {},
      template: template(),
    },
    status: { sizeLog: sizes.map(([since, size]) => ({ since: instant(since), size, account: "team-a" })) },
  };
}

export function template(): GPUNodePool["spec"]["template"] {
  return {
    sku: "dedicated.l4.1",
    gpu: { product: "L4", count: 1, memory: "24Gi", resourceName: "nvidia.com/gpu" },
    provider: { static: { nodeSelector: { "node.kubernetes.io/instance-type": "gpu-l4-1" } } },
  };
}

export function deployment(name: string, deleted?: string): ModelDeployment {
  return {
    metadata: {
      name,
      namespace: "team-a",
      uid: `uid-${name}`,
      resourceVersion: "1",
      ...(deleted === undefined ? {} : { deletionTimestamp: instant(deleted) }),
    },
    spec: deploymentSpec(),
  };
}

export function deploymentSpec(): ModelDeployment["spec"] {
  return {
    model: { name: "tiny", kind: "Model" },
    nodeType: "l4",
    replicas: 1,
    engine: {},
    suspend: false,
    deletionProtection: false,
    billing: {},
  };
}

interface ClaimTimes {
  readonly id: string;
  readonly deployment: string;
  readonly claimed?: string;
  readonly released?: string;
}

export function claim({ id, deployment: name, claimed, released }: ClaimTimes): CapacityClaim {
  const at = (time: string) => ({ time: instant(time), evidence: "Node/metadata.managedFields[berth-claim].time" });
  return {
    metadata: { name: id, uid: `claim-${id}`, resourceVersion: "1", finalizers: [finalizers.metering] },
    spec: claimSpec(name, id),
    status: {
      ...(claimed === undefined ? {} : { claimedAt: at(claimed), readyAt: at(claimed) }),
      ...(released === undefined ? {} : { releasedAt: at(released) }),
    },
  };
}

export function claimSpec(name: string, node: string): CapacityClaim["spec"] {
  return {
    deploymentUID: `uid-${name}`,
    deploymentName: name,
    namespace: "team-a",
    poolUID: `pool-${name}`,
    sku: "dedicated.l4.1",
    gpus: 1,
    providerRef: { provider: "static", kind: "Node", name: node, uid: `node-${node}` },
  };
}
