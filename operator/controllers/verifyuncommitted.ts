/**
 * Segments that no manifest commits. Readers never see them. Their form tells what Berth never writes; one in good form was left by a
 * process that died, or by a leader that came late, or was put in: the ledger alone cannot tell which, so that is a doubt, no damage.
 */
import { MANIFEST_SCHEMA } from "../api/ledger.ts";
import type { Manifest } from "../api/ledger.ts";
import { newTally } from "../plan/metering/segment.ts";
import { instantOfSeconds, manifestKey, secondsOf, startOfSegmentKey } from "../plan/metering/windows.ts";
import type { Ledger } from "../ports.ts";
import { TerminalError } from "../runtime/errors.ts";
import { linesIn } from "./ledgerreads.ts";
import { newSegmentCheck } from "./verifysegment.ts";
import type { Finding } from "./verifysegment.ts";

export interface Chain {
  /** Segments that some manifest names. */
  readonly named: ReadonlySet<string>;
  readonly last: Manifest | undefined;
  readonly isGone: (windowStart: string) => boolean;
}

export interface Uncommitted {
  readonly findings: readonly Finding[];
  readonly doubts: readonly Finding[];
}

const putIn = "is no segment that Berth writes: it was put in";

export async function lookAtUncommitted(ledger: Ledger, keys: readonly string[], chain: Chain): Promise<Uncommitted> {
  const present = new Set(keys);
  const findings: Finding[] = [];
  const doubts: Finding[] = [];
  for (const key of keys) {
    const start = startOfSegmentKey(key);
    if (start === undefined || chain.named.has(key) || chain.isGone(instantOfSeconds(start))) continue;
    const wrong = await formProblems(ledger, key, { start, cluster: chain.last?.cluster });
    if (wrong.length > 0) findings.push({ key, problem: putIn }, ...wrong);
    else doubts.push({ key, problem: doubtAbout(start, present, chain) });
  }
  return { findings, doubts };
}

function doubtAbout(start: number, present: ReadonlySet<string>, { last }: Chain): string {
  const either = "a process died before its manifest, or somebody put it in";
  if (!last || start >= secondsOf(last.windowEnd))
    return `waits for its window to be sealed, which takes it in: ${either}`;
  const isSealed = [1, 3600].some((length) => present.has(manifestKey({ start, end: start + length })));
  return isSealed
    ? "is not what its window was sealed with, and nobody reads it: shards were cut otherwise when a process died, another leader came late, or somebody put it in"
    : `lies in time that is sealed without it, and nobody reads it: ${either}`;
}

/** What honest lines cannot be; how many shards there were is not known, so that is not asked. */
async function formProblems(
  ledger: Ledger,
  key: string,
  { start, cluster }: { readonly start: number; readonly cluster: string | undefined },
): Promise<readonly Finding[]> {
  const tally = newTally();
  const windowStart = instantOfSeconds(start);
  let windowEnd: string | undefined;
  let found = cluster;
  try {
    for await (const { line, text } of linesIn(ledger, key)) {
      tally.add(line, text);
      if (line.windowStart === windowStart) windowEnd ??= line.windowEnd;
      if ("cluster" in line) found ??= line.cluster;
    }
  } catch (error) {
    if (!(error instanceof TerminalError)) throw error;
    return [{ key, problem: "cannot be read as one" }];
  }
  const { lines, records, sha256, totals } = tally.result();
  if (lines === 0) return [{ key, problem: "is empty" }];
  const end = windowEnd ?? instantOfSeconds(start + 3600);
  const window = { windowStart, windowEnd: end, windowSeconds: secondsOf(end) - start };
  const manifest = { schema: MANIFEST_SCHEMA, cluster: found ?? "", ...window, records, totals, shards: 1 } as const;
  const check = newSegmentCheck(ledger, async () => undefined);
  const segment = { shard: 0, key, lines, records, sha256, totals };
  return (await check({ ...manifest, segments: [segment], chains: [""] }, segment)).findings;
}
