/**
 * Segments that no manifest commits. Readers never see them. Their form tells what Berth never writes; one in good form was left by a
 * process that died, or by a leader that came late, or was put in: the ledger alone cannot tell which, so that is a doubt, no damage.
 */
import type { Manifest } from "../api/ledger.ts";
import { instantOfSeconds, manifestKey, secondsOf, startOfSegmentKey } from "../plan/metering/windows.ts";
import type { Ledger } from "../ports.ts";
import { formOf } from "./segmentform.ts";
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
    // How many shards there were is not known, so that is not asked.
    const { problems: wrong } = await formOf(ledger, { key, start, cluster: chain.last?.cluster });
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
