/**
 * Late knowledge: what is known now of a window that is sealed, beside what its segment and earlier adjustments say. The answer is
 * a line of evidence a pool and the signed differences, never an edit; what was recorded and is forgotten by now is kept.
 */
import type { Evidence, UsageRecord } from "../../api/ledger.ts";
import { canonicalJson } from "./canonical.ts";
import { clip, evidenceOf, historyOfEvidence, touches } from "./clip.ts";
import { addQuantities, none, quantityNames } from "./fold.ts";
import { order } from "./history.ts";
import type { ClaimInterval, PoolHistory, SizeStep } from "./history.ts";
import { recordId } from "./identity.ts";
import { meterRecords } from "./records.ts";
import { isEvidence } from "./segment.ts";
import type { Line } from "./segment.ts";
import type { Window } from "./windows.ts";

/** Lines about one window in the ledger → the newest evidence of each pool. */
export function newestEvidence(lines: readonly Line[]): PoolHistory[] {
  const byPool = new Map<string, Evidence>();
  for (const line of lines) {
    if (!isEvidence(line)) continue;
    const known = byPool.get(line.poolUID);
    if (!known || line.rev > known.rev) byPool.set(line.poolUID, line);
  }
  return [...byPool.values()].map(historyOfEvidence).sort((a, b) => order(a.poolUID, b.poolUID));
}

/**
 * Lines that correct one meter's record of one sealed window; none where nothing is to be added. `stored` is everything in the
 * ledger about this meter and window; `now` the pools of the meter as they are known today.
 */
export function adjustmentLines(
  stored: readonly Line[],
  now: readonly PoolHistory[],
  at: { readonly window: Window; readonly clusterId: string },
): Line[] {
  const { window, clusterId } = at;
  const news = new Map(now.map((pool) => [pool.poolUID, pool]));
  const known = newestEvidence(stored);
  const merged = mergePools(
    known.map((pool) => withoutDisproved(pool, news.get(pool.poolUID), window)),
    now.flatMap((pool) => clip(pool, window) ?? []),
  );
  const truth = meterRecords(merged, { window, cut: window, clusterId });
  const recorded = stored.filter((line) => !isEvidence(line));
  const rev = 1 + stored.reduce((most, line) => Math.max(most, line.rev), 0);
  const records = differences(truth, recorded, rev);
  // Who held the seconds, and since when ready, is recorded also where that leaves their number: what is forgotten by then cannot say it any more.
  const restated = records.length === 0 && !sameHolders(known, merged);
  // Lines of evidence never stand alone: one adjustment that adds nothing follows them.
  if (restated) records.push(...differences(truth, recorded, rev, { withNone: true }).slice(0, 1));
  if (records.length === 0) return [];
  return [...merged.map((pool) => evidenceOf(pool, window, rev)), ...records];
}

function sameHolders(known: readonly PoolHistory[], merged: readonly PoolHistory[]): boolean {
  const holders = (pools: readonly PoolHistory[]) =>
    canonicalJson(
      pools.flatMap(({ claims }) =>
        claims.map(({ id, claimedAt, readyAt, releasedAt }) => ({ id, claimedAt, readyAt, releasedAt })),
      ),
    );
  return holders(known) === holders(merged);
}

/** Differences that are left between all records of one meter and window and what their newest evidence gives. */
export function netDifferences(
  lines: readonly Line[],
  { window, clusterId }: { readonly window: Window; readonly clusterId: string },
): UsageRecord[] {
  const truth = meterRecords(newestEvidence(lines), { window, cut: window, clusterId });
  return differences(
    truth,
    lines.filter((line) => !isEvidence(line)),
    1,
  );
}

/** Signed differences by account and tags, in a fixed order. */
function differences(
  truth: readonly UsageRecord[],
  recorded: readonly UsageRecord[],
  rev: number,
  { withNone = false } = {},
): UsageRecord[] {
  const labelOf = ({ account, tags }: UsageRecord) => canonicalJson([account, tags]);
  const [wanted, found] = [Map.groupBy(truth, labelOf), Map.groupBy(recorded, labelOf)];
  let free = 1 + [...recorded, ...truth].reduce((most, { part }) => Math.max(most, part), -1);
  return [...new Set([...wanted.keys(), ...found.keys()])].sort(order).flatMap((label) => {
    const [is, was] = [wanted.get(label) ?? [], found.get(label) ?? []];
    const [sum, before] = [addQuantities(is), addQuantities(was)];
    const delta = { ...none };
    for (const key of quantityNames) delta[key] = sum[key] - before[key];
    const model = is[0] ?? was[0];
    if (!model || (!withNone && quantityNames.every((key) => delta[key] === 0))) return [];
    // Its base has the same label, or it is a part of its own: an id is never given twice.
    const base = was.find(({ kind }) => kind === "usage") ?? was[0];
    const identity = { ...model, part: base?.part ?? free++, rev };
    const claims = new Map(is.flatMap((record) => record.claims).map((claim) => [claim.id, claim]));
    return {
      ...model,
      ...delta,
      part: identity.part,
      ...{ rev, kind: "adjustment" as const },
      to: is.at(-1)?.to ?? model.to,
      claims: [...claims.values()],
      id: recordId(identity),
      corrects: recordId({ ...identity, rev: 0 }),
    };
  });
}

/**
 * What is known now to have ended before the window, or to have begun after it, shows in nothing that is clipped to the window, and
 * yet is not forgotten: the whole window is taken back.
 */
function withoutDisproved(stored: PoolHistory, now: PoolHistory | undefined, window: Window): PoolHistory {
  if (!now) return stored;
  const known = new Map(now.claims.map((claim) => [claim.id, claim]));
  const claims = stored.claims.filter((claim) => {
    const one = known.get(claim.id);
    return !one || touches(mergeClaim(claim, one), window);
  });
  const isOver = now.steps.length > 0 && now.endedAt !== undefined && now.endedAt <= window.start;
  return { ...stored, claims, ...(isOver && { endedAt: now.endedAt }) };
}

function mergePools(stored: readonly PoolHistory[], now: readonly PoolHistory[]): PoolHistory[] {
  const pools = new Map(stored.map((pool) => [pool.poolUID, pool]));
  for (const pool of now) {
    const known = pools.get(pool.poolUID);
    pools.set(pool.poolUID, known ? mergePool(known, pool) : pool);
  }
  return [...pools.values()].sort((a, b) => order(a.poolUID, b.poolUID));
}

function mergePool(stored: PoolHistory, now: PoolHistory): PoolHistory {
  const claims = new Map(stored.claims.map((claim) => [claim.id, claim]));
  for (const claim of now.claims) {
    const known = claims.get(claim.id);
    claims.set(claim.id, known ? mergeClaim(known, claim) : claim);
  }
  // Claims whose pool object is lost (no steps) say nothing of an end.
  const ends = [stored.endedAt, now.steps.length > 0 ? now.endedAt : undefined].filter((at) => at !== undefined);
  return {
    ...now,
    steps: mergeSteps(stored.steps, now.steps),
    endedAt: ends.length === 0 ? undefined : Math.min(...ends),
    claims: [...claims.values()].sort((a, b) => a.claimedAt - b.claimedAt || order(a.id, b.id)),
  };
}

/** A proven instant is not given up for an estimate, nor a known one for none, nor a first one for a later one of its kind. */
function mergeClaim(stored: ClaimInterval, now: ClaimInterval): ClaimInterval {
  const end =
    now.releasedAt === undefined || (now.estimatedEnd && stored.releasedAt !== undefined && !stored.estimatedEnd);
  const start = now.estimatedStart && !stored.estimatedStart;
  const [ended, begun] = [end ? stored : now, start ? stored : now];
  const ready = (now.readyAt ?? Infinity) < (stored.readyAt ?? Infinity) ? now : stored;
  return {
    id: now.id,
    claimedAt: begun.claimedAt,
    estimatedStart: begun.estimatedStart,
    readyAt: ready.readyAt && Math.max(ready.readyAt, begun.claimedAt),
    releasedAt: ended.releasedAt,
    estimatedEnd: ended.estimatedEnd,
    sources: {
      ...(now.sources?.object !== undefined && { object: now.sources.object }),
      ...(begun.sources?.claimedAt !== undefined && { claimedAt: begun.sources.claimedAt }),
      ...(ready.sources?.readyAt !== undefined && { readyAt: ready.sources.readyAt }),
      ...(ended.sources?.releasedAt !== undefined && { releasedAt: ended.sources.releasedAt }),
    },
  };
}

function mergeSteps(stored: readonly SizeStep[], now: readonly SizeStep[]): SizeStep[] {
  const steps = new Map([...stored, ...now].map((step) => [step.since, step]));
  return [...steps.values()].sort((a, b) => a.since - b.since);
}
