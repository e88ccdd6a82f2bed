/** Reading sealed windows for the usage page: of each only what the caller may read and asked for, and within a bound what others may ask for next. */
import type { UsageRecord } from "../api/ledger.ts";
import type { RecordedNamespace } from "../api/usage.ts";
import type { Ledger } from "../ports.ts";
import { inTurns } from "./closing.ts";
import { recordsOfWindow } from "./ledgerreads.ts";
import type { Head, RecordedWindow } from "./ledgerreads.ts";

/** A day and the one before it is what people look at. */
const windowsKept = 48;
/** Of some 1.1 kB each, over all windows that are kept. */
const recordsKept = 20_000;
/** Of a window that may be read beside others. */
export const recordsOfSmall = 2_000;
/** How many records wait for the answer about rights: enough to ask about many namespaces at once. */
const recordsAsked = 1_000;

/** Which records were asked for, and which of their namespaces the caller may read. */
export interface Wanted {
  readonly isAskedFor: (record: UsageRecord) => boolean;
  readonly mayRead: (namespace: RecordedNamespace) => Promise<boolean>;
}

export async function onlyWanted(
  records: Iterable<UsageRecord> | AsyncIterable<UsageRecord>,
  { isAskedFor, mayRead }: Wanted,
): Promise<UsageRecord[]> {
  const wanted: UsageRecord[] = [];
  let waiting: UsageRecord[] = [];
  const answer = async (): Promise<void> => {
    const namespaces = new Map(waiting.map((record) => [namespaceKey(record), namespaceOf(record)]));
    const answers = await inTurns([...namespaces], 8, async ([key, one]) => [key, await mayRead(one)] as const);
    const allowed = new Map(answers);
    wanted.push(...waiting.filter((record) => allowed.get(namespaceKey(record)) === true));
    waiting = [];
  };
  for await (const record of records) {
    if (!isAskedFor(record)) continue;
    waiting.push(record);
    if (waiting.length === recordsAsked) await answer();
  }
  await answer();
  return wanted;
}

const namespaceKey = ({ namespace, namespaceUID = "" }: UsageRecord): string => `${namespace}/${namespaceUID}`;

function namespaceOf({ namespace: name, namespaceUID: uid }: UsageRecord): RecordedNamespace {
  return { name, ...(uid !== undefined && { uid }) };
}

/** What was read, up to a bound; what was not asked for longest goes first. */
function newKeptWindows() {
  const kept = new Map<string, readonly UsageRecord[]>();
  let records = 0;
  return {
    get: (key: string) => kept.get(key),
    keep(key: string, own: readonly UsageRecord[]): void {
      records += own.length - (kept.get(key)?.length ?? 0);
      kept.delete(key);
      kept.set(key, own);
      for (const [oldest, lines] of kept) {
        if (kept.size <= windowsKept && records <= recordsKept) break;
        kept.delete(oldest);
        records -= lines.length;
      }
    },
  };
}

/**
 * A window changes only by adjustments, whose places are part of the question, as long as each newest window follows the one before:
 * one that was put in may be gone again, and ours in its place. Of a large window only one reader at a time gathers all for those
 * that come after it: of what a caller may not read, or did not ask for, no more is ever held.
 */
export function newSealedReader(ledger: Ledger) {
  let kept = newKeptWindows();
  let last: Head | undefined;
  let isGathering = false;
  const follow = (head: Head | undefined): void => {
    if (last && head?.sha256 !== last.sha256 && head?.previousSha256 !== last.sha256) kept = newKeptWindows();
    last = head;
  };
  async function gathered(window: RecordedWindow, wanted: Wanted, keep: (all: readonly UsageRecord[]) => void) {
    const gathers = !isGathering;
    const most = gathers ? recordsKept : recordsOfSmall;
    let all: UsageRecord[] | undefined = [];
    const isAskedFor = (record: UsageRecord): boolean => {
      if (all && all.length < most) all.push(record);
      else all = undefined;
      return wanted.isAskedFor(record);
    };
    isGathering = true;
    try {
      const found = await onlyWanted(recordsOfWindow(ledger, window), { ...wanted, isAskedFor });
      if (all) keep(all);
      return found;
    } finally {
      if (gathers) isGathering = false;
    }
  }
  const read = async (window: RecordedWindow, uid: string | undefined, wanted: Wanted): Promise<UsageRecord[]> => {
    // What is kept are whole windows: one deployment's lines cost less to read than a window to keep.
    if (uid !== undefined) return onlyWanted(recordsOfWindow(ledger, window, uid), wanted);
    const into = kept;
    const key = [window.start, ...window.adjustedBy].join();
    const known = into.get(key);
    if (!known) return gathered(window, wanted, (all) => into.keep(key, all));
    into.keep(key, known);
    return onlyWanted(known, wanted);
  };
  return { follow, read };
}
