/** Histories → records. Same histories in, same records out. */
import { RECORD_SCHEMA } from "../../api/ledger.ts";
import type { UsageRecord } from "../../api/ledger.ts";
import { canonicalJson } from "./canonical.ts";
import { foldWindow, lifeOf } from "./fold.ts";
import type { Life, Part } from "./fold.ts";
import { order } from "./history.ts";
import type { PoolHistory } from "./history.ts";
import { recordId } from "./identity.ts";
import { instantOfSeconds, windowAt } from "./windows.ts";
import type { Window } from "./windows.ts";

/** All pools of one deployment that are recorded under one SKU, in a fixed order. */
export function metersOf(histories: readonly PoolHistory[]): PoolHistory[][] {
  const groups = Map.groupBy(histories, ({ deploymentUID, sku }) => canonicalJson([deploymentUID, sku]));
  return [...groups]
    .sort(([a], [b]) => order(a, b))
    .map(([, pools]) => pools.toSorted((a, b) => order(a.poolUID, b.poolUID)));
}

/**
 * Records of one window, sorted by deployment, SKU and time. `upTo` (seconds) cuts an open window at the present; nothing that
 * lies after the window's end, or after `upTo`, shows in a record.
 */
export function recordsOf(
  histories: readonly PoolHistory[],
  window: Window,
  at: { readonly clusterId: string; readonly upTo?: number },
): UsageRecord[] {
  const cut = { start: window.start, end: Math.min(window.end, at.upTo ?? window.end) };
  if (cut.end <= cut.start) return [];
  return metersOf(histories).flatMap((pools) => meterRecords(pools, { window, cut, clusterId: at.clusterId }));
}

/** Records of one meter (metersOf), in the order of time; `cut` is the window or its beginning. */
export function meterRecords(
  pools: readonly PoolHistory[],
  at: { readonly window: Window; readonly cut: Window; readonly clusterId: string },
): UsageRecord[] {
  const { window, cut, clusterId } = at;
  return foldWindow(pools, cut).map((part, index) => recordOf(pools, part, { window, index, clusterId }));
}

interface Place {
  readonly window: Window;
  readonly index: number;
  readonly clusterId: string;
}

function recordOf(pools: readonly PoolHistory[], part: Part, place: Place): UsageRecord {
  const [pool] = pools;
  if (!pool) throw new TypeError("a meter without a pool");
  const { window, index, clusterId } = place;
  const identity = {
    cluster: clusterId,
    deploymentUID: pool.deploymentUID,
    sku: pool.sku,
    account: part.account,
    windowStart: instantOfSeconds(window.start),
    windowEnd: instantOfSeconds(window.end),
    part: index,
    rev: 0,
  };
  return {
    ...identity,
    ...part.quantities,
    schema: RECORD_SCHEMA,
    kind: "usage",
    id: recordId(identity),
    namespace: pool.namespace,
    ...(pool.namespaceUID !== undefined && { namespaceUID: pool.namespaceUID }),
    deploymentName: pool.deploymentName,
    gpus: pool.gpus,
    tags: part.tags,
    windowSeconds: window.end - window.start,
    from: instantOfSeconds(part.from),
    to: instantOfSeconds(part.to),
    claims: part.claims.map(({ id, claimedAt, releasedAt }) => ({
      id,
      claimedAt: instantOfSeconds(claimedAt),
      ...(releasedAt === undefined ? {} : { releasedAt: instantOfSeconds(releasedAt) }),
    })),
  };
}

export interface WindowQuestion {
  readonly sealedThrough: number | undefined;
  readonly dueEnd: number;
  readonly windowSeconds: number;
}

/**
 * The first window at or after `sealedThrough` in which anybody had capacity and that ends by `dueEnd`; windows before it are
 * empty and get no object. All in seconds.
 */
export function nextWindow(histories: readonly PoolHistory[], at: WindowQuestion): Window | undefined {
  return nextWindowOf(
    histories.flatMap((pool) => lifeOf([pool]) ?? []),
    at,
  );
}

/** As nextWindow(), from the lives of all pools. */
export function nextWindowOf(lives: readonly Life[], at: WindowQuestion): Window | undefined {
  const floor = at.sealedThrough ?? -Infinity;
  let first = Infinity;
  for (const { start, end = Infinity } of lives) if (end > floor) first = Math.min(first, Math.max(start, floor));
  if (first === Infinity) return undefined;
  const window = windowAt(first, at.windowSeconds, at.sealedThrough);
  return window.end <= at.dueEnd ? window : undefined;
}
