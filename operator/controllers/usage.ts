/** Reads usage: sealed windows from the ledger, the open ones from the caches by the same fold that will seal them. */
import type { UsageRecord } from "../api/ledger.ts";
import { TooMuchUsage } from "../api/usage.ts";
import type { UsageLine, UsageQuery, UsageReport, UsageSource } from "../api/usage.ts";
import { historiesOf } from "../plan/metering/history.ts";
import type { PoolHistory } from "../plan/metering/history.ts";
import { nextWindow, recordsOf } from "../plan/metering/records.ts";
import { instantOfSeconds } from "../plan/metering/windows.ts";
import type { Clock, Ledger } from "../ports.ts";
import { inTurns } from "./closing.ts";
import { withClosings } from "./facts.ts";
import type { MeteredObjects } from "./facts.ts";
import { newWatermark, readSealed, sealedKeys } from "./segments.ts";
import type { SealedWindow } from "./segments.ts";

export interface UsageDeps {
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly clusterId: string;
  readonly windowSeconds: number;
  /** The caches as they are (facts.ts: cachedObjects); need not be the leader's. */
  readonly objects: () => MeteredObjects;
}

const mostRecords = 200_000;
/** Sealed windows never change, so they may be kept; a day and the one before it is what people look at. */
const windowsKept = 48;

export function newUsageSource(deps: UsageDeps): UsageSource {
  const watermark = newWatermark(deps.ledger);
  const read = newSealedReader(deps.ledger);
  return async function usage(query, mayRead): Promise<UsageReport> {
    const now = Math.floor(deps.clock.now() / 1000);
    // Caches, then closings, then the watermark: what is missing in an earlier one is sealed by the time of the later one.
    const facts = await withClosings(deps.objects(), deps.ledger);
    const sealedThrough = await watermark();
    const keys = await sealedKeys(deps.ledger, query.from, Math.min(query.to, sealedThrough ?? -Infinity));
    const lines: UsageLine[] = [];
    const take = (records: readonly UsageRecord[], open: boolean): void => {
      for (const record of records) if (matches(record, query)) lines.push({ ...record, open });
      if (lines.length > mostRecords) throw new TooMuchUsage(mostRecords);
    };
    for (const { records } of await inTurns(keys, 8, read)) take(records, false);
    take(openRecords(historiesOf(facts), { deps, query, now, sealedThrough }), true);
    return {
      from: instantOfSeconds(query.from),
      to: instantOfSeconds(query.to),
      asOf: instantOfSeconds(now),
      ...(sealedThrough === undefined ? {} : { sealedThrough: instantOfSeconds(sealedThrough) }),
      records: await readable(lines, mayRead),
    };
  };
}

function matches(record: UsageRecord, { namespace, deployment }: UsageQuery): boolean {
  return (
    (namespace === undefined || record.namespace === namespace) &&
    (deployment === undefined || record.deploymentName === deployment)
  );
}

/** Records of every window after the sealed ones that begins in the query's time, each cut at `now`. */
function openRecords(
  histories: readonly PoolHistory[],
  at: {
    readonly deps: UsageDeps;
    readonly query: UsageQuery;
    readonly now: number;
    readonly sealedThrough: number | undefined;
  },
): UsageRecord[] {
  const { clusterId, windowSeconds } = at.deps;
  const end = Math.min(at.query.to, at.now);
  const records: UsageRecord[] = [];
  const begin = Math.ceil(at.query.from / windowSeconds) * windowSeconds;
  let after = Math.max(at.sealedThrough ?? -Infinity, begin);
  for (;;) {
    const window = nextWindow(histories, { sealedThrough: after, dueEnd: Infinity, windowSeconds });
    if (!window || window.start >= end) return records;
    records.push(...recordsOf(histories, window, { clusterId, upTo: at.now }));
    after = window.end;
  }
}

async function readable(
  lines: readonly UsageLine[],
  mayRead: (namespace: string) => Promise<boolean>,
): Promise<UsageLine[]> {
  const namespaces = [...new Set(lines.map(({ namespace }) => namespace))];
  const answers = await inTurns(namespaces, 8, async (namespace) => [namespace, await mayRead(namespace)] as const);
  const allowed = new Map(answers);
  return lines.filter(({ namespace }) => allowed.get(namespace) === true);
}

function newSealedReader(ledger: Ledger): (key: string) => Promise<SealedWindow> {
  const kept = new Map<string, SealedWindow>();
  return async (key) => {
    const known = kept.get(key) ?? (await readSealed(ledger, key));
    kept.delete(key);
    kept.set(key, known);
    const [oldest] = kept.keys();
    if (kept.size > windowsKept && oldest !== undefined) kept.delete(oldest);
    return known;
  };
}
