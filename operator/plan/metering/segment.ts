/** Lines, segments and the manifest of a sealed window. Same histories in, same bytes out, on any machine. */
import { FIRST_MANIFEST_SCHEMA, MANIFEST_SCHEMA } from "../../api/ledger.ts";
import type { Evidence, FirstManifest, Manifest, Quantities, Segment, UsageRecord } from "../../api/ledger.ts";
import { canonicalBytes, canonicalJson } from "./canonical.ts";
import { clip, evidenceOf } from "./clip.ts";
import { addQuantities, none, quantityNames } from "./fold.ts";
import type { PoolHistory } from "./history.ts";
import { newDigest, sha256Hex, shardOf } from "./identity.ts";
import { meterRecords } from "./records.ts";
import { instantOfSeconds, segmentKey } from "./windows.ts";
import type { Window } from "./windows.ts";

export type Line = UsageRecord | Evidence;

export function isEvidence(line: Line): line is Evidence {
  return !("kind" in line);
}

/** Meters (records.ts: metersOf) by shard, each shard in the same order. */
export function shardMeters(meters: readonly (readonly PoolHistory[])[], shards: number): PoolHistory[][][] {
  const byShard = Array.from({ length: shards }, (): PoolHistory[][] => []);
  for (const pools of meters) byShard[shardOf(pools[0]?.deploymentUID ?? "", shards)]?.push([...pools]);
  return byShard;
}

/** Lines of one shard: for each meter the evidence of its pools, then its records. Nothing is kept, so any number may follow. */
export function* usageLines(
  meters: Iterable<readonly PoolHistory[]>,
  window: Window,
  clusterId: string,
): Generator<Line> {
  for (const pools of meters) {
    const clipped = pools.flatMap((pool) => clip(pool, window) ?? []);
    if (clipped.length === 0) continue;
    for (const pool of clipped) yield evidenceOf(pool, window);
    yield* meterRecords(clipped, { window, cut: window, clusterId });
  }
}

/** What a segment is sealed by: counted while its lines go by. */
export interface Tally {
  readonly lines: number;
  readonly records: number;
  readonly totals: Quantities;
  readonly sha256: string;
  readonly meters: readonly MeterSum[];
  /** Other windows that adjustments belong to, as begin/end. */
  readonly adjusts: readonly string[];
}

/** What a segment adds to one deployment and SKU, whatever window it belongs to. */
export type MeterSum = Pick<UsageRecord, "namespace" | "deploymentName" | "deploymentUID" | "sku"> & Quantities;

/** Sums of records by deployment and SKU, as they are counted while a segment is written. */
export function meterSums(records: readonly UsageRecord[]): MeterSum[] {
  const meters = new Map<string, MeterSum>();
  for (const record of records) addToMeters(meters, record);
  return [...meters.values()];
}

function addToMeters(meters: Map<string, MeterSum>, record: UsageRecord): void {
  const { namespace, deploymentName, deploymentUID, sku } = record;
  const key = `${deploymentUID} ${sku}`;
  const known = meters.get(key);
  const sums = addQuantities(known ? [known, record] : [record]);
  meters.set(key, { namespace, deploymentName, deploymentUID, sku, ...sums });
}

export function newTally(): { add(line: Line, text: string): void; result(): Tally } {
  const digest = newDigest();
  const totals = { ...none };
  const meters = new Map<string, MeterSum>();
  const adjusts = new Set<string>();
  let [lines, records] = [0, 0];
  return {
    add(line, text) {
      digest.add(text);
      lines += 1;
      if (isEvidence(line)) return;
      records += 1;
      for (const key of quantityNames) totals[key] += line[key];
      if (line.kind === "adjustment") adjusts.add(`${line.windowStart}/${line.windowEnd}`);
      addToMeters(meters, line);
    },
    result: () => ({
      ...{ lines, records, totals, sha256: digest.hex() },
      meters: [...meters.values()],
      adjusts: [...adjusts].sort(),
    }),
  };
}

const encoder = new TextEncoder();
const chunkLength = 1 << 16;

/** Canonical lines in pieces of some 64 KiB; `seen` gets each line and its text with the line feed. */
export function* lineChunks(lines: Iterable<Line>, seen: (line: Line, text: string) => void): Generator<Uint8Array> {
  let pending = "";
  for (const line of lines) {
    const text = `${canonicalJson(line)}\n`;
    seen(line, text);
    pending += text;
    if (pending.length < chunkLength) continue;
    yield encoder.encode(pending);
    pending = "";
  }
  if (pending !== "") yield encoder.encode(pending);
}

/** What the next manifest is chained to. */
export interface ChainHead {
  /** End of its window in seconds. */
  readonly end: number;
  /** Of its stored bytes. */
  readonly sha256: string;
  readonly chains: readonly string[];
}

export interface SealedShard {
  readonly shard: number;
  readonly tally: Omit<Tally, "meters">;
}

/** The commit of a window: written last, it names the digest of each segment's uncompressed bytes. */
export function manifestOf(
  window: Window,
  sealed: readonly SealedShard[],
  at: { readonly clusterId: string; readonly shards: number; readonly previous: ChainHead | undefined },
): Manifest {
  const { shards, previous, clusterId } = at;
  const segments = sealed.map(({ shard, tally: { lines, records, sha256, totals } }): Segment => ({
    ...{ shard, key: segmentKey(window, shard, shards), lines, records, sha256, totals },
  }));
  const adjusts = [...new Set(sealed.flatMap(({ tally }) => tally.adjusts))].sort();
  return {
    schema: MANIFEST_SCHEMA,
    cluster: clusterId,
    windowStart: instantOfSeconds(window.start),
    windowEnd: instantOfSeconds(window.end),
    windowSeconds: window.end - window.start,
    ...(previous && { previousWindowEnd: instantOfSeconds(previous.end), previousManifestSha256: previous.sha256 }),
    shards,
    segments,
    chains: chainsAfter(previous?.chains ?? [], segments, shards),
    records: segments.reduce((sum, { records }) => sum + records, 0),
    totals: addQuantities(segments.map(({ totals }) => totals)),
    ...(adjusts.length > 0 && { adjusts }),
  };
}

/** A change of the number of shards begins every chain anew; the chain of manifests goes on. */
export function chainsAfter(
  before: readonly string[],
  segments: readonly Pick<Segment, "shard" | "sha256">[],
  shards: number,
): string[] {
  const added = new Map(segments.map(({ shard, sha256 }) => [shard, sha256]));
  return Array.from({ length: shards }, (_, shard) => {
    const chain = before.length === shards ? (before[shard] ?? "") : "";
    const sha256 = added.get(shard);
    return sha256 === undefined ? chain : sha256Hex(encoder.encode(chain + sha256));
  });
}

export function manifestBytes(manifest: Manifest | FirstManifest): Uint8Array {
  return canonicalBytes(manifest);
}

/** The first form of manifests as if it were the present one, for readers. */
export function asManifest(read: Manifest | FirstManifest): Manifest {
  if (read.schema === MANIFEST_SCHEMA) return read;
  const { schema: _, segment: key, sha256, ...rest } = read;
  const { records, totals } = rest;
  const segment = { shard: 0, key, lines: records, records, sha256, totals };
  return { ...rest, schema: MANIFEST_SCHEMA, shards: 1, segments: [segment], chains: [] };
}

/** Was it written in the first form? */
export function isFirstForm(read: Manifest | FirstManifest): read is FirstManifest {
  return read.schema === FIRST_MANIFEST_SCHEMA;
}
