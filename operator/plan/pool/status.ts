/** The pool's status: counts, size log, and one condition that names what stands in the way in the provider's words. */
import { findCondition, mergeConditions } from "../../api/conditions.ts";
import type { GPUNodePoolStatus } from "../../api/gpunodepool.ts";
import type { GPUNodePoolReason as PoolReason } from "../../api/reasons.ts";
import type { CapacityUnit } from "../../ports.ts";
import type { PlannedEvent } from "../plan.ts";
import { nextSizeLog } from "./sizelog.ts";
import type { LivingSnapshot } from "./snapshot.ts";
import { sortUnits } from "./units.ts";
import type { Sorted } from "./units.ts";

export interface PoolState {
  readonly status: "True" | "False";
  readonly reason: PoolReason;
  readonly message: string;
}

/** The whole status for this pass; `state` is what the Ready condition says. */
export function poolStatus(seen: LivingSnapshot, state: PoolState): GPUNodePoolStatus {
  const { pool, now } = seen;
  const { kept, lost, leaving } = sortUnits(seen.facts.units, now, seen.settings);
  const before = pool.status;
  const generation = pool.metadata.generation ?? 0;
  return {
    observedGeneration: generation,
    claimed: kept.length + lost.length + leaving.filter((unit) => unit.claimedAt && !unit.releasedAt).length,
    ready: kept.filter((unit) => unit.ready).length,
    sizeLog: [...nextSizeLog(before?.sizeLog ?? [], pool.spec, seen.sizeSince, seen.sealedThrough)],
    conditions: mergeConditions(before?.conditions, [{ type: "Ready", ...state }], { now, generation }),
  };
}

/** What the Ready condition of a pool that is not being deleted says. */
export function livingState(seen: LivingSnapshot): PoolState {
  const sorted = sortUnits(seen.facts.units, seen.now, seen.settings);
  const { size } = seen.pool.spec;
  const ready = sorted.kept.filter((unit) => unit.ready).length;
  if (ready >= size) return { status: "True", reason: "NodesReady", message: readyMessage(ready, size) };
  return { status: "False", ...blocker(seen, sorted, `${ready} of ${size} nodes ready`) };
}

function readyMessage(ready: number, size: number): string {
  return size === 0 ? "no nodes are wanted" : `${ready} of ${size} nodes ready`;
}

function blocker(seen: LivingSnapshot, sorted: Sorted, count: string): Pick<PoolState, "reason" | "message"> {
  const { kept, lost, leaving, intended } = sorted;
  const say = (reason: PoolReason, text: string) => ({ reason, message: `${count}: ${text}` });
  const obstacle = seen.obstacle ?? seen.facts.obstacle;
  if (kept.length < seen.pool.spec.size) {
    if (obstacle && obstacle.reason !== "Provisioning") return say(obstacle.reason, obstacle.message);
    if (isIgnored(seen)) return say("StaticCapacityNotActing", notActing);
    const gone = [...lost, ...leaving].find((unit) => unit.unreadySince !== undefined);
    if (gone) return say("NodeLost", `node ${nodeOf(gone)} is being replaced: ${gone.problem ?? "not ready"}`);
  }
  const unwell = kept.find((unit) => !unit.ready && wasReady(seen, unit));
  if (unwell) return say("NodeNotReady", `node ${nodeOf(unwell)}: ${unwell.problem ?? "not ready"}`);
  const starting = [...kept, ...intended].find((unit) => !unit.ready && unit.problem !== undefined);
  if (starting) return say("Provisioning", `node ${nodeOf(starting)}: ${starting.problem ?? ""}`);
  return say("Provisioning", obstacle?.message ?? "nodes are on their way");
}

const notActing =
  "Karpenter has a ready NodePool with replicas and makes no NodeClaim: turn its feature gate StaticCapacity on (FEATURE_GATES=StaticCapacity=true)";

/** An order that could have been acted on for the whole time-out and has no unit at all. */
export function isIgnored(seen: LivingSnapshot): boolean {
  const since = ignoredSince(seen);
  return since !== undefined && seen.now - since >= seen.settings.staticCapacityTimeoutMs;
}

/** Since when the order has been without any sign of a node; undefined where there is none or it shows signs. */
export function ignoredSince({ facts, pool, sizeSince }: LivingSnapshot): number | undefined {
  const since = facts.order?.actionableSince;
  if (since === undefined || pool.spec.size === 0 || facts.units.length > 0 || facts.obstacle) return undefined;
  return Math.max(since, sizeSince === undefined ? 0 : Date.parse(sizeSince));
}

function nodeOf(unit: CapacityUnit): string {
  return unit.nodeName ?? unit.ref.name;
}

function wasReady(seen: LivingSnapshot, unit: CapacityUnit): boolean {
  return seen.claims.some((claim) => claim.metadata.name === unit.claimName && claim.status?.readyAt !== undefined);
}

/** An event when the Ready condition flips, or gives another reason for not being True; none while nothing changes. */
export function transitionEvents(seen: LivingSnapshot, state: PoolState): readonly PlannedEvent[] {
  const before = findCondition(seen.pool.status?.conditions, "Ready");
  if (before?.status === state.status && before.reason === state.reason) return [];
  const calm = state.status === "True" || ["Provisioning", "Draining"].includes(state.reason);
  return [{ type: calm ? "Normal" : "Warning", reason: state.reason, message: state.message }];
}
