/** Histories → records, and the bytes of a sealed window: segment and manifest. Same histories in, same bytes out. */
import { MANIFEST_SCHEMA, RECORD_SCHEMA } from "../../api/ledger.ts";
import type { Manifest, UsageRecord } from "../../api/ledger.ts";
import { canonicalBytes, canonicalJson, ndjsonBytes } from "./canonical.ts";
import { addQuantities, foldWindow, lifeOf } from "./fold.ts";
import type { Part } from "./fold.ts";
import { order } from "./history.ts";
import type { PoolHistory } from "./history.ts";
import { recordId, sha256Hex } from "./identity.ts";
import { instantOfSeconds, segmentKey, windowAt } from "./windows.ts";
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
  return metersOf(histories).flatMap((pools) =>
    foldWindow(pools, cut).map((part, index) => recordOf(pools, part, { window, index, clusterId: at.clusterId })),
  );
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

/**
 * The first window at or after `sealedThrough` in which anybody had capacity and that ends by `dueEnd`; windows before it are
 * empty and get no object. All in seconds.
 */
export function nextWindow(
  histories: readonly PoolHistory[],
  at: { readonly sealedThrough: number | undefined; readonly dueEnd: number; readonly windowSeconds: number },
): Window | undefined {
  const floor = at.sealedThrough ?? -Infinity;
  const starts = histories.flatMap((pool) => {
    const life = lifeOf([pool]);
    return life && (life.end ?? Infinity) > floor ? [Math.max(life.start, floor)] : [];
  });
  if (starts.length === 0) return undefined;
  const first = starts.reduce((a, b) => Math.min(a, b));
  const window = windowAt(first, at.windowSeconds, at.sealedThrough);
  return window.end <= at.dueEnd ? window : undefined;
}

/** Uncompressed bytes of a segment: one record a line. */
export function segmentBytes(records: readonly UsageRecord[]): Uint8Array {
  return ndjsonBytes(records);
}

/** The commit of a window: written last, it names the digest of the segment's uncompressed bytes. */
export function manifestOf(
  window: Window,
  records: readonly UsageRecord[],
  at: {
    readonly clusterId: string;
    readonly sealedThrough: number | undefined;
    /** Digest of the stored bytes of the manifest before this one, if there is one. */
    readonly previousManifestSha256?: string | undefined;
  },
): Manifest {
  return {
    schema: MANIFEST_SCHEMA,
    cluster: at.clusterId,
    windowStart: instantOfSeconds(window.start),
    windowEnd: instantOfSeconds(window.end),
    windowSeconds: window.end - window.start,
    ...(at.sealedThrough === undefined ? {} : { previousWindowEnd: instantOfSeconds(at.sealedThrough) }),
    ...(at.previousManifestSha256 === undefined ? {} : { previousManifestSha256: at.previousManifestSha256 }),
    segment: segmentKey(window),
    records: records.length,
    sha256: sha256Hex(segmentBytes(records)),
    totals: addQuantities(records),
  };
}

export function manifestBytes(manifest: Manifest): Uint8Array {
  return canonicalBytes(manifest);
}
