// Snapshots for the tests of the pool's plan: everything has a default, a test names what differs.
import type { CapacityClaim, CapacityClaimStatus } from "../../../operator/api/capacityclaim.ts";
import type { GPUNodePool, GPUNodePoolSpec, GPUNodePoolStatus } from "../../../operator/api/gpunodepool.ts";
import type { Pod } from "../../../operator/api/kubernetes.ts";
import { claimFor } from "../../../operator/plan/pool/claims.ts";
import { describeWrite } from "../../../operator/plan/plan.ts";
import type { LivingSnapshot, PoolPlan, PoolSettings } from "../../../operator/plan/pool/snapshot.ts";
import type { CapacityFacts, CapacityOffer, CapacityUnit, KubeObject, ProviderName } from "../../../operator/ports.ts";

export const POOL_UID = "0f9c2d5e-1111-2222-3333-444455556666";
export const NOW = Date.parse("2026-11-23T12:00:00Z");
export const at = (secondsAgo: number): string => new Date(NOW - secondsAgo * 1000).toISOString().replace(".000Z", "Z");

const settings: PoolSettings = { nodeLostMs: 600_000, drainGraceMs: 600_000, staticCapacityTimeoutMs: 60_000 };

export function poolOf(
  spec: Partial<GPUNodePoolSpec> = {},
  metadata: Partial<GPUNodePool["metadata"]> = {},
  status?: GPUNodePoolStatus,
): GPUNodePool {
  return {
    metadata: {
      name: "chat",
      namespace: "team",
      uid: POOL_UID,
      generation: 1,
      resourceVersion: "7",
      finalizers: ["berth.dev/pool"],
      ...metadata,
    },
    spec: {
      nodeType: "l4",
      deploymentRef: { name: "chat", uid: "dddddddd-1111-2222-3333-444455556666" },
      size: 1,
      account: "team",
      tags: {},
      template: {
        sku: "l4-1",
        gpu: { product: "NVIDIA L4", count: 1, memory: "24Gi", resourceName: "nvidia.com/gpu" },
        provider: { static: { nodeSelector: { type: "l4" } } },
      },
      ...spec,
    },
    ...(status && { status }),
  };
}

const nodeObject = (name: string): KubeObject => ({ metadata: { name, uid: `uid-${name}`, resourceVersion: "1" } });

export function unit(name: string, rest: Partial<CapacityUnit> = {}): CapacityUnit {
  return {
    claimName: `uid-${name}-1`,
    ref: { provider: "static", kind: "Node", name, uid: `uid-${name}` },
    state: "held",
    nodeName: name,
    claimedAt: { time: at(100), evidence: "test" },
    readyAt: { time: at(90), evidence: "test" },
    ready: true,
    damaged: false,
    residue: false,
    object: nodeObject(name),
    ...rest,
  };
}

export function offer(name: string, rest: Partial<CapacityOffer> = {}): CapacityOffer {
  const { claimName, ref } = unit(name);
  return { claimName, sequence: 1, recorded: false, ref, object: nodeObject(name), ...rest };
}

export function claimOf(of: CapacityUnit, status?: CapacityClaimStatus): CapacityClaim {
  const claim = claimFor(poolOf(), of);
  const { claimedAt, readyAt } = of;
  return { ...claim, status: status ?? { ...(claimedAt && { claimedAt }), ...(readyAt && { readyAt }) } };
}

export function podOn(nodeName: string, name = `pod-${nodeName}`): Pod {
  return {
    metadata: { name, namespace: "team", uid: `uid-${name}` },
    spec: { nodeName },
    status: { phase: "Running" },
  };
}

interface Seen extends Partial<Omit<LivingSnapshot, "facts">> {
  readonly provider?: ProviderName;
  readonly units?: readonly CapacityUnit[];
  readonly facts?: Partial<CapacityFacts>;
}

/** Claims are those of the units, dated, unless given. */
export function snapshot({ provider = "static", units = [], facts, ...rest }: Seen = {}): LivingSnapshot {
  return {
    now: NOW,
    pool: poolOf(),
    poolUID: POOL_UID,
    sizeSince: at(200),
    sealedThrough: undefined,
    facts: { provider, units, ...facts },
    offers: [],
    obstacle: undefined,
    claims: units.map((one) => claimOf(one)),
    pods: [],
    settings,
    ...rest,
  };
}

export function steps(plan: PoolPlan): string[][] {
  return plan.steps.map((step) => step.map(describeWrite));
}

export function readyReason(plan: PoolPlan): string | undefined {
  const ready = plan.status?.conditions?.find(({ type }) => type === "Ready");
  return ready && `${ready.status} ${ready.reason}: ${ready.message}`;
}
