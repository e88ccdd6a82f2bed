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
import { instantOfSeconds, secondsOf, startOfManifestKey } from "../plan/metering/windows.ts";
import type { Clock, Ledger } from "../ports.ts";
import { inTurns } from "./closing.ts";
import type { ClosingRegister } from "./closingregister.ts";
import { withClosings } from "./facts.ts";
import type { MeteredObjects } from "./facts.ts";
import { newHead, recordedWindows } from "./ledgerreads.ts";
import type { RecordedWindow } from "./ledgerreads.ts";
import { newSealedReader, onlyWanted, recordsOfSmall } from "./usagewindows.ts";
import type { Wanted } from "./usagewindows.ts";

export interface UsageDeps {
  readonly ledger: Ledger;
  readonly clock: Pick<Clock, "now">;
  readonly clusterId: string;
  readonly register?: Pick<ClosingRegister, "peek">;
  readonly windowSeconds: number;
  /** The caches as they are (facts.ts: cachedObjects); need not be the leader's. Absent: only what is sealed. */
  readonly objects?: () => MeteredObjects;
}

const nothingOpen = { pools: [], claims: [], deployments: [], closings: [] };
const mostGroups = 50_000;
const readAtOnce = 8;

interface Answer {
  readonly query: UsageQuery;
  /** What all answers begin with. */
  readonly head: Pick<UsageReport, "from" | "to" | "asOf" | "sealedThrough">;
  /** Place after which the answer begins. */
  readonly after: readonly string[] | undefined;
}

function closingsOf({ ledger, clusterId, register }: UsageDeps, objects: MeteredObjects) {
  return withClosings(objects, ledger, { clusterId, ...(register && { noted: register.peek }) });
}

export function newUsageSource(deps: UsageDeps): UsageSource {
  const findHead = newHead(deps.ledger);
  const sealed = newSealedReader(deps.ledger);
  return async function usage(query, mayRead): Promise<UsageReport | GroupedUsage> {
    const after = query.cursor === undefined ? undefined : placeOfCursor(query.cursor);
    if (query.cursor !== undefined && !after) throw new BadCursor();
    const now = Math.floor(deps.clock.now() / 1000);
    // Caches, then closings, then the watermark: what is missing in an earlier one is sealed by the time of the later one.
    const facts = deps.objects ? await closingsOf(deps, deps.objects()) : nothingOpen;
    const newest = await findHead();
    sealed.follow(newest);
    const sealedThrough = newest?.end;
    const head = {
      from: instantOfSeconds(query.from),
      to: instantOfSeconds(query.to),
      asOf: instantOfSeconds(now),
      ...(sealedThrough === undefined ? {} : { sealedThrough: instantOfSeconds(sealedThrough) }),
    };
    // Pages of records begin at the window of the last one; sums need every window again.
    const from = query.sums ? query.from : Math.max(query.from, secondsOf(after?.[0] ?? head.from));
    const to = Math.min(query.to, sealedThrough ?? -Infinity);
    const windows = (await recordedWindows(deps.ledger, from, to)).map((window) => committedBy(window, sealedThrough));
    const pools = historiesOf(facts);
    const open = (): UsageRecord[] => openRecords(pools, { deps, query, now, sealedThrough });
    const answer = { query, head, after };
    const wanted: Wanted = { isAskedFor: (record) => matches(record, query), mayRead: remembered(mayRead) };
    const read = (window: RecordedWindow) => sealed.read(window, query.deploymentUID, wanted);
    const batches = batchesOf(windows, { read, open, wanted });
    return query.sums ? groupsOf(batches, { ...answer, sums: query.sums }) : pageOf(batches, answer);
  };
}

interface Batch {
  readonly records: readonly UsageRecord[];
  readonly open: boolean;
}

/** Windows in the order of time, a few in memory at once; the open ones last. Only what is wanted. */
async function* batchesOf(
  sealed: readonly RecordedWindow[],
  at: {
    readonly read: (window: RecordedWindow) => Promise<readonly UsageRecord[]>;
    readonly open: () => UsageRecord[];
    readonly wanted: Wanted;
  },
): AsyncGenerator<Batch> {
  // Many at once only after one that was small: neighbours are alike.
  let width = 1;
  for (let from = 0; from < sealed.length;) {
    const windows = await inTurns(sealed.slice(from, from + width), width, at.read);
    from += width;
    width = windows.some((records) => records.length > recordsOfSmall) ? 1 : readAtOnce;
    for (const records of windows) yield { records, open: false };
  }
  const byWindow = Map.groupBy(at.open(), ({ windowStart }) => windowStart);
  for (const records of byWindow.values()) yield { records: await onlyWanted(records, at.wanted), open: true };
}

async function pageOf(batches: AsyncGenerator<Batch>, answer: Answer): Promise<UsageReport> {
  const { head, query, after } = answer;
  const records: UsageLine[] = [];
  for await (const batch of batches) {
    const lines = linesOf(batch);
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
    for (const line of linesOf(batch)) addToGroups(groups, line, sums);
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

function linesOf({ records, open }: Batch): UsageLine[] {
  return records.map((record) => ({ ...record, open }));
}

/** Without what says that a window is adjusted by one that is not committed: it may never be, or hold something else in the end. */
function committedBy(window: RecordedWindow, sealedThrough = -Infinity): RecordedWindow {
  const adjustedBy = window.adjustedBy.filter((by) => (startOfManifestKey(by) ?? Infinity) < sealedThrough);
  return { ...window, adjustedBy };
}

/** Each namespace is asked about once an answer, so that an answer is of one mind. */
function remembered(
  mayRead: (namespace: RecordedNamespace) => Promise<boolean>,
): (namespace: RecordedNamespace) => Promise<boolean> {
  const asked = new Map<string, Promise<boolean>>();
  return (namespace) => {
    const key = `${namespace.name}/${namespace.uid ?? ""}`;
    const answer = asked.get(key) ?? mayRead(namespace);
    asked.set(key, answer);
    return answer;
  };
}
