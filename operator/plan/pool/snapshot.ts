/** What the pool's plan sees and what it answers. */
import type { CapacityClaim } from "../../api/capacityclaim.ts";
import type { GPUNodePool, GPUNodePoolStatus } from "../../api/gpunodepool.ts";
import type { Pod } from "../../api/kubernetes.ts";
import type { CapacityFacts, CapacityObstacle, CapacityOffer, CapacityUnit } from "../../ports.ts";
import type { Plan, Write } from "../plan.ts";

export interface PoolSettings {
  /** A node that is not Ready for so long is given up. */
  readonly nodeLostMs: number;
  /** How long pods may take to leave a node before they are deleted with grace 0. */
  readonly drainGraceMs: number;
  /** How long an order may stay without any sign of a node. */
  readonly staticCapacityTimeoutMs: number;
}

export interface PoolSnapshot {
  readonly now: number;
  /** undefined: the pool object is gone, and what it left behind is cleaned up. */
  readonly pool: GPUNodePool | undefined;
  readonly poolUID: string;
  /** The pool as it was last seen, where it vanished while somebody looked. */
  readonly grave?: GPUNodePool;
  /** API server's time of the last change of size, account or tags. */
  readonly sizeSince: string | undefined;
  /** Everything before it is sealed. */
  readonly sealedThrough: string | undefined;
  readonly facts: CapacityFacts;
  /** Nodes that can be had now; filled only when some are missing. */
  readonly offers: readonly CapacityOffer[];
  readonly obstacle: CapacityObstacle | undefined;
  /** All claims of the pool. */
  readonly claims: readonly CapacityClaim[];
  /** Serving pods of the pool, bound or not. */
  readonly pods: readonly Pod[];
  readonly settings: PoolSettings;
}

export interface PoolPlan extends Plan<GPUNodePoolStatus> {
  /** The closing object must be in the ledger before the first step. */
  readonly close: boolean;
  /** The steps change what the plan sees: look again at once. */
  readonly again: boolean;
}

/** How one provider carries decisions out. All of it is data: nothing is sent from here. */
export interface ProviderActs {
  /** Requests that bring the pool to `size` nodes: taking the offers, or changing the standing order. */
  resize(seen: LivingSnapshot, target: ResizeTarget): readonly (readonly Write[])[];
  /** Gives one node back. */
  release(unit: CapacityUnit, poolUID: string): readonly Write[];
  /** Restores what marks the node as ours. */
  restore(unit: CapacityUnit, poolUID: string): readonly Write[];
  /** Keeps the end of a node observable that is about to be given back. */
  secure(unit: CapacityUnit): readonly Write[];
  /** Takes the last trace of an ended claim off the provider's object. */
  clear(unit: CapacityUnit, poolUID: string): readonly Write[];
  /** Ends the standing order; empty when there is none (left). */
  close(seen: PoolSnapshot): readonly Write[];
}

export interface ResizeTarget {
  /** Nodes that the pool should have in the end. */
  readonly size: number;
  /** Nodes that are given back now. */
  readonly victims: readonly CapacityUnit[];
  /** Nodes too many that still serve. */
  readonly waiting: number;
  readonly offers: readonly CapacityOffer[];
}

export interface LivingSnapshot extends PoolSnapshot {
  readonly pool: GPUNodePool;
}

export function isLiving(seen: PoolSnapshot): seen is LivingSnapshot {
  return seen.pool !== undefined;
}

/** Serving pods that are bound to the unit's node. */
export function podsOn(seen: Pick<PoolSnapshot, "pods">, unit: CapacityUnit): readonly Pod[] {
  const finished = (pod: Pod): boolean => pod.status?.phase === "Succeeded" || pod.status?.phase === "Failed";
  return seen.pods.filter(
    (pod) => pod.spec?.nodeName !== undefined && pod.spec.nodeName === unit.nodeName && !finished(pod),
  );
}
