/** Which of a pool's nodes count, which are given up, which are given back. Deterministic: same facts, same choice. */
import type { CapacityUnit } from "../../ports.ts";
import { podsOn } from "./snapshot.ts";
import type { PoolSettings, PoolSnapshot } from "./snapshot.ts";

/** A node that has not been Ready for the node-lost time. */
export function isLost(unit: CapacityUnit, now: number, settings: PoolSettings): boolean {
  return unit.state === "held" && unit.unreadySince !== undefined && now - unit.unreadySince >= settings.nodeLostMs;
}

export interface Sorted {
  /** Held and not given up: what the pool has. */
  readonly kept: readonly CapacityUnit[];
  readonly lost: readonly CapacityUnit[];
  readonly intended: readonly CapacityUnit[];
  readonly leaving: readonly CapacityUnit[];
  readonly ended: readonly CapacityUnit[];
}

export function sortUnits(units: readonly CapacityUnit[], now: number, settings: PoolSettings): Sorted {
  const held = units.filter((unit) => unit.state === "held");
  return {
    kept: held.filter((unit) => !isLost(unit, now, settings)),
    lost: held.filter((unit) => isLost(unit, now, settings)),
    intended: units.filter((unit) => unit.state === "intended"),
    leaving: units.filter((unit) => unit.state === "leaving"),
    ended: units.filter((unit) => unit.state === "ended"),
  };
}

/** Nodes that the pool should take now; 0 while it is being deleted or was never logged. */
export function missingNodes(seen: Pick<PoolSnapshot, "pool" | "facts" | "now" | "settings">): number {
  if (!seen.pool || seen.pool.metadata.deletionTimestamp) return 0;
  const { kept } = sortUnits(seen.facts.units, seen.now, seen.settings);
  return Math.max(0, seen.pool.spec.size - kept.length);
}

/**
 * The `count` nodes to give back: those that serve nothing first, among them those not ready, then the youngest. Ties go by name.
 */
export function chooseVictims(
  seen: PoolSnapshot,
  kept: readonly CapacityUnit[],
  count: number,
): readonly CapacityUnit[] {
  if (count <= 0) return [];
  const rank = (unit: CapacityUnit) => ({ unit, ready: Number(unit.ready), pods: podsOn(seen, unit).length });
  return kept
    .map(rank)
    .sort((a, b) => a.pods - b.pods || a.ready - b.ready || youngestFirst(a.unit, b.unit))
    .slice(0, count)
    .map(({ unit }) => unit);
}

function youngestFirst(a: CapacityUnit, b: CapacityUnit): number {
  const began = (unit: CapacityUnit): string => unit.claimedAt?.time ?? "9999";
  if (began(a) !== began(b)) return began(a) > began(b) ? -1 : 1;
  return a.claimName > b.claimName ? -1 : 1;
}
