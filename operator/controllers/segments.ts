/**
 * Writing a sealed window: a segment a shard, each read back, then the manifest, read back. The manifest is the commit; what was
 * stored first wins, if it has the form of what Berth writes. Nothing is ever overwritten.
 */
import type { Manifest, UsageRecord } from "../api/ledger.ts";
import { canonicalBytes } from "../plan/metering/canonical.ts";
import type { PoolHistory } from "../plan/metering/history.ts";
import { newDigest, sha256Hex } from "../plan/metering/identity.ts";
import { lineChunks, manifestBytes, manifestOf, newTally, usageLines } from "../plan/metering/segment.ts";
import type { ChainHead, Line, MeterSum, Tally } from "../plan/metering/segment.ts";
import { adjustedKey, manifestKey, secondsOf, segmentKey, windowFolder } from "../plan/metering/windows.ts";
import type { Window } from "../plan/metering/windows.ts";
import type { Ledger } from "../ports.ts";
import { TerminalError } from "../runtime/errors.ts";
import { corrupt, isCorrupt, linesBefore, readManifest } from "./ledgerreads.ts";
import { formOf } from "./segmentform.ts";
import type { Finding } from "./verifysegment.ts";

export interface SealedWindow {
  readonly window: Window;
  readonly manifest: Manifest;
  /** What its segments add to each deployment, adjustments included. */
  readonly meters: readonly MeterSum[];
}

export interface SealResult extends SealedWindow {
  /** Keys at which something else was stored than we would have written; what is stored was kept. */
  readonly differing: readonly string[];
  /** Of the manifest's stored bytes: what the next manifest is chained to. */
  readonly manifestSha256: string;
}

export interface Sealing {
  readonly window: Window;
  /** By shard (segment.ts: shardMeters); as many as there are shards. */
  readonly meters: readonly Iterable<readonly PoolHistory[]>[];
  /** By shard: what became known of earlier windows. */
  readonly adjustments?: readonly (readonly Line[])[];
  readonly clusterId: string;
  readonly previous: ChainHead | undefined;
  /** Told of the manifest that is about to be put. */
  readonly announce?: (manifest: { readonly key: string; readonly sha256: string }) => Promise<void>;
}

/** Writes one window so that a crash at any point, or another writer, leads to one and the same result. */
export async function sealWindow(ledger: Ledger, sealing: Sealing): Promise<SealResult> {
  const { window, previous, clusterId } = sealing;
  const shards = sealing.meters.length;
  const differing: string[] = [];
  const sealed: { shard: number; tally: Tally }[] = [];
  let found: ReadonlySet<string> | undefined;
  for (let shard = 0; shard < shards; shard++) {
    const key = segmentKey(window, shard, shards);
    const lines = linesOf(sealing, shard);
    if (lines === undefined) {
      found ??= new Set(await ledger.list(`${windowFolder(window)}/`));
      if (!found.has(key)) continue;
    }
    const { tally, differs } = await sealSegment(ledger, { key, shard, lines }, sealing);
    if (differs) differing.push(key);
    if (tally.lines > 0) sealed.push({ shard, tally });
  }
  await pointToAdjusted(
    ledger,
    window,
    sealed.flatMap(({ tally }) => tally.adjusts),
  );
  const wanted = manifestBytes(manifestOf(window, sealed, { clusterId, shards, previous }));
  const [key, sha256] = [manifestKey(window), sha256Hex(wanted)];
  await sealing.announce?.({ key, sha256 });
  const put = await ledger.putOnce(key, wanted);
  const { manifest, sha256: manifestSha256 } = await readManifest(ledger, key);
  if (manifestSha256 !== sha256) {
    if (put === "created") throw corrupt(key);
    differing.push(key);
  }
  return { window, manifest, meters: sealed.flatMap(({ tally }) => tally.meters), differing, manifestSha256 };
}

/** The lines of a shard; undefined where there is none. */
function linesOf({ window, meters, adjustments, clusterId }: Sealing, shard: number): Iterable<Line> | undefined {
  const late = adjustments?.[shard] ?? [];
  const lines = usageLines(meters[shard] ?? [], window, clusterId);
  const first = lines.next();
  if (first.done) return late.length > 0 ? late : undefined;
  return (function* () {
    yield first.value;
    yield* lines;
    yield* late;
  })();
}

interface ShardOfWindow {
  readonly key: string;
  readonly shard: number;
  /** undefined where we have nothing to write, and something is stored. */
  readonly lines: Iterable<Line> | undefined;
}

async function sealSegment(ledger: Ledger, own: ShardOfWindow, sealing: Sealing) {
  const { key, lines } = own;
  const counted = newTally();
  if (lines) {
    const put = await ledger.putOnce(key, lineChunks(lines, counted.add));
    const ours = counted.result();
    if ((await storedSha256(ledger, key)) === ours.sha256) return { tally: ours, differs: false };
    if (put === "created") throw corrupt(key);
  }
  return { tally: await takenIn(ledger, own, sealing), differs: true };
}

/** What another process stored first. Anything but what Berth writes would stay in the chain for ever, and be named by every audit. */
async function takenIn(ledger: Ledger, { key, shard }: ShardOfWindow, sealing: Sealing): Promise<Tally> {
  const { window, clusterId, meters } = sealing;
  const place = { key, ...window, cluster: clusterId, shard, shards: meters.length };
  const storedBefore = (record: UsageRecord) => linesBefore(ledger, record, manifestKey(window));
  const { tally, problems } = await formOf(ledger, place, storedBefore);
  const [first] = problems;
  if (first) throw foreign(first);
  return tally;
}

function foreign({ key, line, problem }: Finding): TerminalError {
  const what = line === undefined ? `it ${problem}` : `line ${line} ${problem}`;
  const remedy =
    "move it out of the ledger, where no manifest names it and nobody has read it, and look into the store's log for who wrote it; " +
    "where the number of shards or the length of windows was changed since, setting that back has it sealed as it is";
  return new TerminalError(
    "LedgerSegmentForeign",
    `${key} was there before its window was sealed and is not what Berth writes there: ${what}; nothing is sealed: ${remedy}`,
  );
}

async function storedSha256(ledger: Ledger, key: string): Promise<string | undefined> {
  const digest = newDigest();
  try {
    for await (const piece of (await ledger.read(key)) ?? []) digest.add(piece);
  } catch (error) {
    if (!isCorrupt(error)) throw error;
    return undefined;
  }
  return digest.hex();
}

/** Before the manifest, so that no committed adjustment is ever without its pointer. */
async function pointToAdjusted(ledger: Ledger, window: Window, intervals: readonly string[]): Promise<void> {
  for (const adjusted of new Set(intervals)) {
    const { key, bytes } = adjustedPointer(adjusted, window);
    await ledger.putOnce(key, bytes);
  }
}

/** What lies in the folder of an adjusted window, given as begin/end; `by` is the window that holds the adjustments. */
export function adjustedPointer(adjusted: string, by: Window): { readonly key: string; readonly bytes: Uint8Array } {
  const [start = "", end = ""] = adjusted.split("/");
  const key = adjustedKey({ start: secondsOf(start), end: secondsOf(end) }, by);
  return { key, bytes: canonicalBytes({ by: manifestKey(by), window: adjusted }) };
}
