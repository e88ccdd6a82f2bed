/** Reads usage: sealed windows from the ledger, the open ones from the caches by the same fold that will seal them. */
import type { UsageRecord } from "../api/ledger.ts";
import { BadCursor, TooMuchUsage } from "../api/usage.ts";
import type {
  GroupedUsage,
  RecordedNamespace,
  UsageGroup,
  UsageLine,
  UsageQuery,
  UsageReport,
  UsageSource,
} from "../api/usage.ts";
import {
  addToGroups,
  comparePlaces,
  cursorOf,
  placeOfCursor,
  placeOfGroup,
  placeOfLine,
} from "../plan/metering/groups.ts";
import type { Sums } from "../plan/metering/groups.ts";
import { historiesOf } from "../plan/metering/history.ts";
import type { PoolHistory } from "../plan/metering/history.ts";
import { nextWindow, recordsOf } from "../plan/metering/records.ts";
import { instantOfSeconds, secondsOf } from "../plan/metering/windows.ts";
import type { Clock, Ledger } from "../ports.ts";
import { inTurns } from "./closing.ts";
import type { ClosingRegister } from "./closingregister.ts";
import { withClosings } from "./facts.ts";
import type { MeteredObjects } from "./facts.ts";
import { newWatermark, readRecorded, recordedWindows } from "./ledgerreads.ts";
import type { RecordedWindow } from "./ledgerreads.ts";

export interface UsageDeps {
  readonly ledger: Ledger;
  readonly clock: Pick<Clock, "now">;
  readonly clusterId: string;
  readonly register?: Pick<ClosingRegister, "read">;
  readonly windowSeconds: number;
  /** The caches as they are (facts.ts: cachedObjects); need not be the leader's. Absent: only what is sealed. */
  readonly objects?: () => MeteredObjects;
}

const nothingOpen = { pools: [], claims: [], deployments: [], closings: [] };
const mostGroups = 50_000;
/** Sealed windows never change, so they may be kept; a day and the one before it is what people look at. */
const windowsKept = 48;
const readAtOnce = 8;

interface Answer {
  readonly query: UsageQuery;
  /** What all answers begin with. */
  readonly head: Pick<UsageReport, "from" | "to" | "asOf" | "sealedThrough">;
  readonly mayRead: (namespace: RecordedNamespace) => Promise<boolean>;
  /** Place after which the answer begins. */
  readonly after: readonly string[] | undefined;
}

export function newUsageSource(deps: UsageDeps): UsageSource {
  const watermark = newWatermark(deps.ledger);
  const read = newSealedReader(deps.ledger);
  return async function usage(query, mayRead): Promise<UsageReport | GroupedUsage> {
    const after = query.cursor === undefined ? undefined : placeOfCursor(query.cursor);
    if (query.cursor !== undefined && !after) throw new BadCursor();
    const now = Math.floor(deps.clock.now() / 1000);
    // Caches, then closings, then the watermark: what is missing in an earlier one is sealed by the time of the later one.
    const facts = deps.objects ? await withClosings(deps.objects(), deps.ledger, deps) : nothingOpen;
    const sealedThrough = await watermark();
    const head = {
      from: instantOfSeconds(query.from),
      to: instantOfSeconds(query.to),
      asOf: instantOfSeconds(now),
      ...(sealedThrough === undefined ? {} : { sealedThrough: instantOfSeconds(sealedThrough) }),
    };
    // Pages of records begin at the window of the last one; sums need every window again.
    const from = query.sums ? query.from : Math.max(query.from, secondsOf(after?.[0] ?? head.from));
    const windows = await recordedWindows(deps.ledger, from, Math.min(query.to, sealedThrough ?? -Infinity));
    const pools = historiesOf(facts);
    const open = (): UsageRecord[] => openRecords(pools, { deps, query, now, sealedThrough });
    const answer = { query, head, mayRead: remembered(mayRead), after };
    const { deploymentUID } = query;
    // What is kept are whole windows: one deployment's lines cost less to read than a window to keep.
    const readOne = (window: RecordedWindow) => readRecorded(deps.ledger, window, deploymentUID);
    const batches = batchesOf(windows, deploymentUID === undefined ? read : readOne, open);
    return query.sums ? groupsOf(batches, { ...answer, sums: query.sums }) : pageOf(batches, answer);
  };
}

interface Batch {
  readonly records: readonly UsageRecord[];
  readonly open: boolean;
}

/** Windows in the order of time, a few in memory at once; the open ones last. */
async function* batchesOf(
  sealed: readonly RecordedWindow[],
  read: (window: RecordedWindow) => Promise<readonly UsageRecord[]>,
  open: () => UsageRecord[],
): AsyncGenerator<Batch> {
  for (let at = 0; at < sealed.length; at += readAtOnce) {
    const windows = await inTurns(sealed.slice(at, at + readAtOnce), readAtOnce, read);
    for (const records of windows) yield { records, open: false };
  }
  const byWindow = Map.groupBy(open(), ({ windowStart }) => windowStart);
  for (const records of byWindow.values()) yield { records, open: true };
}

async function pageOf(batches: AsyncGenerator<Batch>, answer: Answer): Promise<UsageReport> {
  const { head, query, after } = answer;
  const records: UsageLine[] = [];
  for await (const batch of batches) {
    const lines = await readable(batch, answer);
    lines.sort((a, b) => comparePlaces(placeOfLine(a), placeOfLine(b)));
    // One more than asked for tells whether anything follows.
    for (const line of lines) if (!after || comparePlaces(placeOfLine(line), after) > 0) records.push(line);
    if (records.length > query.limit) break;
  }
  return { ...head, ...paged("records", records, query.limit, placeOfLine) };
}

async function groupsOf(
  batches: AsyncGenerator<Batch>,
  answer: Answer & { readonly sums: Sums },
): Promise<GroupedUsage> {
  const { head, query, after, sums } = answer;
  const groups = new Map<string, UsageGroup>();
  for await (const batch of batches) {
    for (const line of await readable(batch, answer)) addToGroups(groups, line, sums);
    if (groups.size > mostGroups) throw new TooMuchUsage(mostGroups);
  }
  const following = [...groups.values()]
    .filter((group) => !after || comparePlaces(placeOfGroup(group), after) > 0)
    .sort((a, b) => comparePlaces(placeOfGroup(a), placeOfGroup(b)));
  const { granularity, groupBy } = sums;
  return { ...head, granularity, groupBy: [...groupBy], ...paged("groups", following, query.limit, placeOfGroup) };
}

function paged<K extends string, T>(
  name: K,
  all: readonly T[],
  limit: number,
  placeOf: (one: T) => readonly string[],
): { [key in K]: T[] } & { next?: string } {
  const page = all.slice(0, limit);
  const last = page.at(-1);
  const next = all.length > limit && last !== undefined ? { next: cursorOf(placeOf(last)) } : {};
  return { [name]: page, ...next } as { [key in K]: T[] } & { next?: string };
}

function matches(record: UsageRecord, { account, namespace, deployment, deploymentUID }: UsageQuery): boolean {
  return (
    (account === undefined || record.account === account) &&
    (namespace === undefined || record.namespace === namespace) &&
    (deployment === undefined || record.deploymentName === deployment) &&
    (deploymentUID === undefined || record.deploymentUID === deploymentUID)
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

/** The records that were asked for and that the caller may read. */
async function readable({ records, open }: Batch, { query, mayRead }: Answer): Promise<UsageLine[]> {
  const lines = records.filter((record) => matches(record, query));
  const namespaces = new Map(lines.map((line) => [namespaceKey(line), namespaceOf(line)]));
  const answers = await inTurns(
    [...namespaces],
    8,
    async ([key, namespace]) => [key, await mayRead(namespace)] as const,
  );
  const allowed = new Map(answers);
  return lines.filter((line) => allowed.get(namespaceKey(line)) === true).map((line) => ({ ...line, open }));
}

const namespaceKey = ({ namespace, namespaceUID = "" }: UsageRecord): string => `${namespace}/${namespaceUID}`;

function namespaceOf({ namespace: name, namespaceUID: uid }: UsageRecord): RecordedNamespace {
  return { name, ...(uid !== undefined && { uid }) };
}

/** Each namespace is asked about once an answer, so that an answer is of one mind. */
function remembered(mayRead: Answer["mayRead"]): Answer["mayRead"] {
  const asked = new Map<string, Promise<boolean>>();
  return (namespace) => {
    const key = `${namespace.name}/${namespace.uid ?? ""}`;
    const answer = asked.get(key) ?? mayRead(namespace);
    asked.set(key, answer);
    return answer;
  };
}

/** A window changes only by adjustments, whose places are part of the question. */
function newSealedReader(ledger: Ledger): (window: RecordedWindow) => Promise<readonly UsageRecord[]> {
  const kept = new Map<string, readonly UsageRecord[]>();
  return async (window) => {
    const key = [window.start, ...window.adjustedBy].join();
    const known = kept.get(key) ?? (await readRecorded(ledger, window));
    kept.delete(key);
    kept.set(key, known);
    const [oldest] = kept.keys();
    if (kept.size > windowsKept && oldest !== undefined) kept.delete(oldest);
    return known;
  };
}
