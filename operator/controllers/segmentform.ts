/**
 * The form of a segment that no manifest names. Whatever Berth writes has it, and a stranger who knows it can write it, too: the
 * sealer takes in nothing else, and the auditor calls everything else damage.
 */
import { MANIFEST_SCHEMA } from "../api/ledger.ts";
import { newTally } from "../plan/metering/segment.ts";
import type { Tally } from "../plan/metering/segment.ts";
import { instantOfSeconds, secondsOf } from "../plan/metering/windows.ts";
import type { Ledger } from "../ports.ts";
import { isCorrupt, linesIn } from "./ledgerreads.ts";
import { newSegmentCheck } from "./verifysegment.ts";
import type { Finding, StoredBefore } from "./verifysegment.ts";

/** Where a segment lies. What is left out nobody knows: the segment's own lines say it, or it is not asked. */
export interface SegmentPlace {
  readonly key: string;
  /** Of its window, in seconds. */
  readonly start: number;
  readonly end?: number | undefined;
  readonly cluster?: string | undefined;
  readonly shard?: number;
  readonly shards?: number;
}

export interface SegmentForm {
  readonly tally: Tally;
  /** What honest lines cannot be. */
  readonly problems: readonly Finding[];
}

const notAsked: StoredBefore = async () => undefined;

/** Without `storedBefore` nobody asks whether adjustments add up to what their evidence gives. */
export async function formOf(
  ledger: Ledger,
  place: SegmentPlace,
  storedBefore: StoredBefore = notAsked,
): Promise<SegmentForm> {
  const { key, start, shard = 0, shards = 1 } = place;
  const tally = newTally();
  const windowStart = instantOfSeconds(start);
  let { end, cluster } = place;
  try {
    for await (const { line, text } of linesIn(ledger, key)) {
      tally.add(line, text);
      if (line.windowStart === windowStart) end ??= secondsOf(line.windowEnd);
      if ("cluster" in line) cluster ??= line.cluster;
    }
  } catch (error) {
    if (!isCorrupt(error)) throw error;
    return { tally: tally.result(), problems: [{ key, problem: "cannot be read as one" }] };
  }
  const counted = tally.result();
  const { lines, records, sha256, totals } = counted;
  if (lines === 0) return { tally: counted, problems: [{ key, problem: "is empty" }] };
  const windowSeconds = (end ?? start + 3600) - start;
  const window = { windowStart, windowEnd: instantOfSeconds(start + windowSeconds), windowSeconds };
  const segment = { shard, key, lines, records, sha256, totals };
  const sums = { records, totals, segments: [segment], chains: [""] };
  const manifest = { schema: MANIFEST_SCHEMA, cluster: cluster ?? "", ...window, shards, ...sums } as const;
  const { findings } = await newSegmentCheck(ledger, storedBefore)(manifest, segment);
  return { tally: counted, problems: findings };
}
