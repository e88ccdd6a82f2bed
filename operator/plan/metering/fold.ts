/**
 * The fold: histories of one meter over a window → integer node-seconds. A meter is a deployment and a SKU; its pools add up.
 * Seconds are half-open and whole, so any two adjoining windows give the same sums as the one that spans both.
 */
import type { Quantities } from "../../api/ledger.ts";
import { canonicalJson } from "./canonical.ts";
import { clip } from "./clip.ts";
import type { ClaimInterval, PoolHistory, SizeStep } from "./history.ts";
import type { Window } from "./windows.ts";

/** A stretch of one window in which account and tags stay the same. */
export interface Part {
  readonly from: number;
  readonly to: number;
  readonly account: string;
  readonly tags: Readonly<Record<string, string>>;
  readonly quantities: Quantities;
  /** Claims that held a node in this stretch. */
  readonly claims: readonly ClaimInterval[];
}

/** In seconds; open while `end` is undefined. */
export interface Life {
  readonly start: number;
  readonly end?: number;
}

/**
 * From the first logged size (0 counts: the pool is there) or claim to the last release; `end` is undefined while that is open.
 * Undefined where there never was a second. Several pools: the span over all of them.
 */
export function lifeOf(pools: readonly PoolHistory[]): Life | undefined {
  const starts = pools.flatMap((pool) => [
    ...stepsInForce(pool)
      .slice(0, 1)
      .map(({ since }) => since),
    ...pool.claims.map(({ claimedAt }) => claimedAt),
  ]);
  if (starts.length === 0) return undefined;
  const start = minOf(starts);
  const ends = pools.flatMap((pool) => [pool.endedAt, ...pool.claims.map(({ releasedAt }) => releasedAt)]);
  if (ends.includes(undefined)) return { start };
  const end = maxOf(ends.filter((at) => at !== undefined));
  return end > start ? { start, end } : undefined;
}

/**
 * Parts of one meter within `window`, in order and without gaps, cut to its life. Empty outside of it. Only what touches the window
 * and had happened by its end counts (clip.ts), so the answer does not depend on when it is computed, nor on what is forgotten.
 */
export function foldWindow(all: readonly PoolHistory[], window: Window): Part[] {
  const pools = all.flatMap((pool) => clip(pool, window) ?? []);
  const life = lifeOf(pools);
  if (!life) return [];
  const from = Math.max(window.start, life.start);
  const to = Math.min(window.end, life.end ?? window.end);
  const parts: { from: number; to: number; step: SizeStep }[] = [];
  const bounds = changesOf(pools, from, to);
  bounds.slice(0, -1).forEach((start, i) => {
    const end = bounds[i + 1] ?? to;
    const step = labelAt(pools, start);
    const last = parts.at(-1);
    if (last && sameLabel(last.step, step)) last.to = end;
    else parts.push({ from: start, to: end, step });
  });
  return parts.map(({ from, to, step }) => ({
    from,
    to,
    account: step.account,
    tags: step.tags,
    quantities: quantitiesOf(pools, { start: from, end: to }, window),
    claims: pools.flatMap(({ claims }) => claims).filter((claim) => overlaps(claim, from, to)),
  }));
}

/** Sum of quantities, field by field. */
export function addQuantities(all: readonly Quantities[]): Quantities {
  const sum = { ...none };
  for (const one of all) for (const key of quantityNames) sum[key] += one[key];
  return sum;
}

export const none: Quantities = {
  claimedNodeSeconds: 0,
  readyNodeSeconds: 0,
  desiredNodeSeconds: 0,
  billableNodeSeconds: 0,
  surgeNodeSeconds: 0,
  shortfallNodeSeconds: 0,
  estimatedNodeSeconds: 0,
  gpuSeconds: 0,
};
export const quantityNames = Object.keys(none) as (keyof Quantities)[];

function quantitiesOf(pools: readonly PoolHistory[], part: Window, window: Window): Quantities {
  const sum = { ...none };
  const claims = pools.flatMap((pool) => pool.claims);
  const gpus = pools[0]?.gpus ?? 1;
  const bounds = changesOf(pools, part.start, part.end);
  bounds.slice(0, -1).forEach((at, i) => {
    const seconds = (bounds[i + 1] ?? at) - at;
    const held = claims.filter((claim) => holdsAt(claim, at));
    const claimed = held.length;
    const ready = held.filter(({ readyAt }) => readyAt !== undefined && readyAt <= at).length;
    const desired = pools.reduce((nodes, pool) => nodes + desiredAt(pool, at), 0);
    const billable = Math.min(claimed, desired);
    sum.claimedNodeSeconds += claimed * seconds;
    sum.readyNodeSeconds += Math.min(ready, desired) * seconds;
    sum.desiredNodeSeconds += desired * seconds;
    sum.billableNodeSeconds += billable * seconds;
    sum.surgeNodeSeconds += (claimed - billable) * seconds;
    sum.shortfallNodeSeconds += (desired - billable) * seconds;
    sum.estimatedNodeSeconds += held.filter((claim) => estimatedIn(claim, window)).length * seconds;
    sum.gpuSeconds += billable * gpus * seconds;
  });
  return sum;
}

/** An estimate marks the claim's seconds of the window in which the estimated instant lies, and no other window's. */
function estimatedIn(claim: ClaimInterval, window: Window): boolean {
  const { claimedAt, releasedAt } = claim;
  const start = claim.estimatedStart && claimedAt >= window.start && claimedAt < window.end;
  const end = claim.estimatedEnd && releasedAt !== undefined && releasedAt > window.start && releasedAt <= window.end;
  return start || end;
}

/** Every instant in [from, to] at which some count or label may change, sorted, `from` and `to` included. */
function changesOf(pools: readonly PoolHistory[], from: number, to: number): number[] {
  if (to <= from) return [];
  const bounds = new Set([from, to]);
  const add = (at: number | undefined): void => void (at !== undefined && at > from && at < to && bounds.add(at));
  for (const pool of pools) {
    add(pool.endedAt);
    for (const { since } of pool.steps) add(since);
    for (const { claimedAt, readyAt, releasedAt } of pool.claims) [claimedAt, readyAt, releasedAt].forEach(add);
  }
  return [...bounds].sort((a, b) => a - b);
}

/** What was written after the deletion is no wish any more. */
function stepsInForce(pool: PoolHistory): readonly SizeStep[] {
  const { endedAt } = pool;
  return endedAt === undefined ? pool.steps : pool.steps.filter(({ since }) => since < endedAt);
}

function desiredAt(pool: PoolHistory, at: number): number {
  if (pool.endedAt !== undefined && at >= pool.endedAt) return 0;
  return pool.steps.findLast(({ since }) => since <= at)?.size ?? 0;
}

/** Account and tags in force: the newest step of any pool, before the first step that one, without any the namespace. */
function labelAt(pools: readonly PoolHistory[], at: number): SizeStep {
  const steps = pools.flatMap((pool) => (stepsInForce(pool).length > 0 ? stepsInForce(pool) : pool.steps));
  const inTime = steps.toSorted((a, b) => a.since - b.since);
  const step = inTime.findLast(({ since }) => since <= at) ?? inTime[0];
  return step ?? { since: at, size: 0, account: pools[0]?.namespace ?? "", tags: {} };
}

function sameLabel(a: SizeStep, b: SizeStep): boolean {
  return a === b || (a.account === b.account && canonicalJson(a.tags) === canonicalJson(b.tags));
}

function holdsAt({ claimedAt, releasedAt }: ClaimInterval, at: number): boolean {
  return claimedAt <= at && (releasedAt === undefined || at < releasedAt);
}

function overlaps({ claimedAt, releasedAt }: ClaimInterval, from: number, to: number): boolean {
  return claimedAt < to && (releasedAt === undefined || (releasedAt > from && releasedAt > claimedAt));
}

function minOf(values: readonly number[]): number {
  return values.reduce((a, b) => Math.min(a, b), Infinity);
}

function maxOf(values: readonly number[]): number {
  return values.reduce((a, b) => Math.max(a, b), -Infinity);
}
