/** Late knowledge → lines for the next segment: what the ledger says of the windows in question, beside what is known now. */
import type { Manifest } from "../api/ledger.ts";
import { adjustmentLines } from "../plan/metering/adjust.ts";
import { canonicalJson } from "../plan/metering/canonical.ts";
import { order } from "../plan/metering/history.ts";
import type { PoolHistory } from "../plan/metering/history.ts";
import { shardOf } from "../plan/metering/identity.ts";
import type { LateSpan } from "../plan/metering/late.ts";
import type { Line } from "../plan/metering/segment.ts";
import { endOfDay, instantOfSeconds, secondsOf, startOfManifestKey, windowAt } from "../plan/metering/windows.ts";
import type { Window } from "../plan/metering/windows.ts";
import type { Ledger } from "../ports.ts";
import { newestCheckpoint } from "./checkpoints.ts";
import { committedLines, corrupt, readManifest, recordedWindows, sealedKeys } from "./ledgerreads.ts";
import type { RecordedWindow } from "./ledgerreads.ts";

export interface LateQuestion {
  readonly spans: readonly LateSpan[];
  /** Meters of these deployments, and perhaps of others; asked for once a shard. */
  readonly metersOf: (deploymentUIDs: ReadonlySet<string>) => readonly (readonly PoolHistory[])[];
  readonly clusterId: string;
  readonly windowSeconds: number;
  readonly shards: number;
  /** Manifests from here on (seconds of their window's begin) are not asked: they are what is computed. */
  readonly before: number;
}

/**
 * By shard; undefined where nothing is to be added. The same ledger and facts give the same lines. After a death before the marks
 * the whole fleet is asked for, so no more than one shard of what is known, and of one window, is held at a time.
 */
export async function lateLines(ledger: Ledger, question: LateQuestion): Promise<Line[][] | undefined> {
  const { spans, shards } = question;
  const known = { ...question, windows: await windowsOf(ledger, question), manifestOf: manifestsOf(ledger) };
  const spansByShard = Map.groupBy(spans, ({ deploymentUID }) => shardOf(deploymentUID, shards));
  const byShard: Line[][] = [];
  for (let shard = 0; shard < shards; shard++) {
    const own = spansByShard.get(shard) ?? [];
    byShard.push(own.length === 0 ? [] : await linesOfShard(ledger, { ...known, spans: own, shard }));
  }
  return byShard.some((lines) => lines.length > 0) ? byShard : undefined;
}

/**
 * Before this second a window that is not there is none that was taken for empty: retention removed it, nothing can be told of it any
 * more, and nothing is. Windows that are there are adjusted, whatever a checkpoint says. Throws where a checkpoint cannot be one that
 * retention of this cluster wrote: it would end late knowledge.
 */
async function removedBefore(ledger: Ledger, { clusterId, before }: LateQuestion): Promise<number> {
  const found = await newestCheckpoint(ledger);
  if (found === undefined) return -Infinity;
  if (typeof found === "string") throw corrupt(found);
  const { cluster, removedThrough, lastManifestSha256 } = found.checkpoint;
  const end = secondsOf(removedThrough);
  const [next] = await sealedKeys(ledger, end, Infinity);
  const manifest = next === undefined ? undefined : (await readManifest(ledger, next)).manifest;
  // The newest day with a window always stays, and follows the last one that went.
  // Older builds wrote no digest.
  const isFollowed =
    manifest?.previousWindowEnd === removedThrough &&
    (manifest.previousManifestSha256 ?? lastManifestSha256) === lastManifestSha256;
  if (cluster !== clusterId || end >= before || !isFollowed) throw corrupt(found.key);
  return endOfDay(end - 1);
}

type ManifestOf = (key: string) => Promise<Manifest | undefined>;

/** Each is read once, whatever the number of shards; undefined where there is none. */
function manifestsOf(ledger: Ledger): ManifestOf {
  const known = new Map<string, Promise<Manifest | undefined>>();
  const read = async (key: string): Promise<Manifest | undefined> =>
    (await ledger.get(key)) ? (await readManifest(ledger, key)).manifest : undefined;
  return async (key) => {
    const found = known.get(key) ?? read(key);
    known.set(key, found);
    return found;
  };
}

interface ShardQuestion extends LateQuestion {
  /** The one that all spans belong to. */
  readonly shard: number;
  readonly windows: readonly Questioned[];
  readonly manifestOf: ManifestOf;
}

async function linesOfShard(ledger: Ledger, question: ShardQuestion): Promise<Line[]> {
  const { spans, clusterId, windows } = question;
  const meters = question.metersOf(new Set(spans.map(({ deploymentUID }) => deploymentUID)));
  const found: Line[] = [];
  for (const questioned of windows) {
    const { window } = questioned;
    const overlapping = spans.filter(({ from, to }) => from < window.end && to > window.start);
    const uids = new Set(overlapping.map(({ deploymentUID }) => deploymentUID));
    if (uids.size === 0) continue;
    const stored = await storedLines(ledger, question, { ...questioned, uids });
    for (const pools of meters) {
      const [first] = pools;
      if (!first || !uids.has(first.deploymentUID)) continue;
      found.push(...adjustmentLines(stored.get(meterKey(first)) ?? [], pools, { window, clusterId }));
    }
  }
  return found;
}

interface Questioned {
  readonly window: Window;
  readonly recorded: RecordedWindow | undefined;
}

/** Every window that a span touches, in the order of time: those that were sealed, and those between them that were taken for empty. */
async function windowsOf(ledger: Ledger, question: LateQuestion): Promise<Questioned[]> {
  const { spans, windowSeconds, before } = question;
  const from = spans.reduce((least, span) => Math.min(least, span.from), Infinity);
  const to = spans.reduce((most, span) => Math.max(most, span.to), -Infinity);
  const longest = Math.max(3600, windowSeconds);
  const recorded = (await recordedWindows(ledger, from - longest, to))
    .map((one) => ({ ...one, adjustedBy: one.adjustedBy.filter((by) => (startOfManifestKey(by) ?? before) < before) }))
    .filter((one) => one.start < before);
  const sealed = await Promise.all(
    recorded.map(async (one) => {
      const start = one.start;
      if (one.key === undefined) return { window: windowAt(start, windowSeconds), recorded: one };
      const { manifest } = await readManifest(ledger, one.key);
      return { window: { start, end: secondsOf(manifest.windowEnd) }, recorded: one };
    }),
  );
  const removed = await removedBefore(ledger, question);
  const found = new Map<number, Questioned>();
  for (const span of spans) {
    for (let at = span.from; at < span.to;) {
      const inside = sealed.find(({ window }) => window.start <= at && at < window.end);
      const next = inside ?? { window: gapAt(at, sealed, windowSeconds), recorded: undefined };
      if (next.recorded || next.window.start >= removed) found.set(next.window.start, next);
      at = next.window.end;
    }
  }
  return [...found.values()].sort((a, b) => a.window.start - b.window.start);
}

function gapAt(at: number, sealed: readonly { readonly window: Window }[], windowSeconds: number): Window {
  const { start, end } = windowAt(at, windowSeconds);
  const floor = sealed.reduce((most, { window }) => (window.end <= at ? Math.max(most, window.end) : most), start);
  const ceiling = sealed.reduce(
    (least, { window }) => (window.start > at ? Math.min(least, window.start) : least),
    end,
  );
  return { start: floor, end: ceiling };
}

const meterKey = ({ deploymentUID, sku }: { readonly deploymentUID: string; readonly sku: string }): string =>
  canonicalJson([deploymentUID, sku]);

/** By meter: its lines about the window, the window's own first and adjustments in the order of their revisions. */
async function storedLines(
  ledger: Ledger,
  { shard, shards, manifestOf }: ShardQuestion,
  { window, recorded, uids }: Questioned & { readonly uids: ReadonlySet<string> },
): Promise<ReadonlyMap<string, readonly Line[]>> {
  const lines: Line[] = [];
  const windowStart = instantOfSeconds(window.start);
  const keys = [recorded?.key, ...(recorded?.adjustedBy ?? [])].filter((key) => key !== undefined);
  for (const key of new Set(keys)) {
    const manifest = await manifestOf(key);
    if (!manifest) continue;
    // Where the number of shards was another one, they may lie in any of them.
    const segments = manifest.segments.filter((one) => manifest.shards !== shards || one.shard === shard);
    const only = uids.size === 1 ? [...uids][0] : undefined;
    for await (const line of committedLines(ledger, { ...manifest, segments }, only))
      if (line.windowStart === windowStart && uids.has(line.deploymentUID)) lines.push(line);
  }
  lines.sort((a, b) => a.rev - b.rev || order(meterKey(a), meterKey(b)));
  return Map.groupBy(lines, meterKey);
}
