/**
 * The end of a pool: drain, release, closing object, records gone, finalizer off; and what is left of a pool that vanished
 * without that. Only deletes and patches are planned here, since the namespace may be terminating.
 */
import type { CapacityClaim } from "../../api/capacityclaim.ts";
import type { GPUNodePool } from "../../api/gpunodepool.ts";
import { gpuNodePools } from "../../api/resources.ts";
import { fieldManagers, finalizers } from "../../api/keys.ts";
import type { CapacityUnit } from "../../ports.ts";
import type { Write } from "../plan.ts";
import { claimDates, closedClaims, removeClaims, voidClaims } from "./claims.ts";
import { podsOn } from "./snapshot.ts";
import type { LivingSnapshot, PoolPlan, PoolSnapshot, ProviderActs } from "./snapshot.ts";
import { poolStatus, transitionEvents } from "./status.ts";
import type { PoolState } from "./status.ts";
import { clearances, killPod, missingRecords } from "./steps.ts";

/** A pool with a deletionTimestamp. */
export function planRemoval(seen: LivingSnapshot, acts: ProviderActs): PoolPlan {
  if (!seen.pool.metadata.finalizers?.includes(finalizers.pool)) return nothing("already released");
  const drain = planDrain(seen);
  if (drain.waitMs > 0) return draining(seen, drain);
  const present = seen.facts.units.filter((unit) => unit.state !== "ended");
  const steps = [
    [...missingRecords(seen), ...present.flatMap((unit) => acts.secure(unit))],
    drain.busy.flatMap((unit) => podsOn(seen, unit)).map(killPod),
    ...claimDates(seen, []),
    acts.close(seen),
    present.filter((unit) => unit.state !== "leaving").flatMap((unit) => acts.release(unit, seen.poolUID)),
    clearances(seen, acts),
    ...removeClaims([...voidClaims(seen, new Set()), ...closedClaims(seen)]),
  ].filter((step) => step.length > 0);
  const owed = steps.length > 0 || present.length > 0 || seen.facts.order !== undefined;
  return owed || seen.claims.some((claim) => !claim.status?.releasedAt) ? releasing(seen, steps) : closing(seen);
}

interface Drain {
  readonly busy: readonly CapacityUnit[];
  /** How long the serving pods may still take; 0 when nothing is waited for. */
  readonly waitMs: number;
}

function planDrain(seen: LivingSnapshot): Drain {
  const busy = seen.facts.units.filter((unit) => unit.state !== "ended" && podsOn(seen, unit).length > 0);
  const began = Date.parse(seen.pool.metadata.deletionTimestamp ?? "");
  const left = began + seen.settings.drainGraceMs - seen.now;
  return { busy, waitMs: busy.length > 0 ? Math.max(0, left) : 0 };
}

function draining(seen: LivingSnapshot, { busy, waitMs }: Drain): PoolPlan {
  const pods = busy.reduce((count, unit) => count + podsOn(seen, unit).length, 0);
  const message = `waiting for ${pods} serving pods to leave ${busy.length} nodes`;
  const steps = [missingRecords(seen), ...claimDates(seen, [])].filter((step) => step.length > 0);
  return withState(seen, { status: "False", reason: "Draining", message }, { steps, requeueAfterMs: waitMs });
}

function releasing(seen: LivingSnapshot, steps: readonly (readonly Write[])[]): PoolPlan {
  const left = seen.facts.units.filter((unit) => unit.state !== "ended").length;
  const state = { status: "False", reason: "Draining", message: `${left} nodes are being released` } as const;
  return { ...withState(seen, state, { steps }), again: steps.length > 0 };
}

/** Everything is released and dated: the closing object first, then the records, then the finalizer. */
function closing(seen: LivingSnapshot): PoolPlan {
  const { name, namespace, resourceVersion, finalizers: all = [] } = seen.pool.metadata;
  const free: Write = {
    op: "patch",
    resource: gpuNodePools,
    namespace,
    name,
    body: { metadata: { resourceVersion, finalizers: all.filter((entry) => entry !== finalizers.pool) } },
    manager: fieldManagers.operator,
  };
  const steps = [...removeClaims(seen.claims), [free]].filter((step) => step.length > 0);
  return { ...nothing("all nodes released"), steps, close: true };
}

function withState(seen: LivingSnapshot, state: PoolState, rest: Pick<PoolPlan, "steps" | "requeueAfterMs">): PoolPlan {
  return {
    ...nothing(state.reason),
    ...rest,
    status: poolStatus(seen, state),
    events: transitionEvents(seen, state),
  };
}

function nothing(because: string): PoolPlan {
  return { steps: [], status: undefined, events: [], because, close: false, again: false };
}

/**
 * The pool object is gone (its finalizer was forced off, or the API server lost it): its nodes are given back and its
 * claims are dated. Where its last state is known a closing object tells the sealer what was wanted, and the claims go with it.
 */
export function planVanished(seen: PoolSnapshot, acts: ProviderActs): PoolPlan {
  const present = seen.facts.units.filter((unit) => unit.state === "held" || unit.state === "intended");
  const steps = [
    seen.grave ? missingRecords({ ...seen, pool: seen.grave }) : [],
    present.flatMap((unit) => podsOn(seen, unit)).map(killPod),
    ...claimDates(seen, []),
    acts.close(seen),
    present.flatMap((unit) => acts.release(unit, seen.poolUID)),
    clearances(seen, acts),
    ...removeClaims([...voidClaims(seen, new Set()), ...closedClaims(seen)]),
  ].filter((step) => step.length > 0);
  if (steps.length > 0 || !isSettled(seen)) {
    return { ...nothing("the pool has vanished"), steps, again: steps.length > 0 };
  }
  return { ...nothing("the vanished pool is settled"), steps: removeClaims(seen.claims), close: true };
}

/** What the pool wanted is known, and each of its nodes has an end on record: all of it can go into a closing object. */
function isSettled({ grave, facts, claims }: PoolSnapshot): boolean {
  const left = facts.order !== undefined || facts.units.some((unit) => unit.state !== "ended");
  return grave !== undefined && !left && claims.length > 0 && claims.every(({ status }) => status?.releasedAt);
}

/**
 * The pool with an end. Where it went without a deletionTimestamp it lived at least until the last instant that a server wrote
 * about it; whatever it wanted after that cannot be proven and is nobody's debt.
 */
export function buried(
  pool: GPUNodePool,
  sizeSince: string | undefined,
  claims: readonly CapacityClaim[],
): GPUNodePool {
  if (pool.metadata.deletionTimestamp) return pool;
  const known = [
    sizeSince ?? pool.metadata.creationTimestamp,
    ...(pool.status?.sizeLog ?? []).map(({ since }) => since),
    ...claims.flatMap(({ status }) => [status?.claimedAt?.time, status?.readyAt?.time, status?.sealedThrough]),
  ].filter((time) => time !== undefined);
  const [last] = known.sort((a, b) => Date.parse(b) - Date.parse(a));
  return { ...pool, metadata: { ...pool.metadata, deletionTimestamp: last } };
}
