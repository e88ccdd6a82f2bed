/** Records beside a batch that is refused as a whole: whether the sink takes any of them tells a wrong batch from a broken sink. */
import type { UsageRecord } from "../api/ledger.ts";
import type { SinkWindow } from "../ports.ts";
import type { ReadWindow } from "./ledgerreads.ts";
import type { SealedWindows } from "./vouched.ts";

export interface Other {
  readonly record: UsageRecord;
  readonly window: SinkWindow;
}

export type Others = (refused: readonly UsageRecord[]) => Promise<readonly Other[]>;

const mostOthers = 25;
/** How many windows are read for them at most: those that follow, and the newest ones. */
const mostWindows = 24;

/**
 * Of windows that are owed like the batch's own, so that nothing is sent again that was counted long ago. One a deployment, those of
 * other accounts first: an account that the receiver does not know is the likeliest cause.
 */
export function othersIn(
  windows: SealedWindows,
  first: ReadWindow,
  { later, windowOf }: { readonly later: readonly string[]; readonly windowOf: (sealed: ReadWindow) => SinkWindow },
): Others {
  return async (refused) => {
    const ids = new Set(refused.map(({ id }) => id));
    const accounts = new Set(refused.map(({ account }) => account));
    const found = new Map<string, Other>();
    const foreign = (): Other[] => [...found.values()].filter(({ record }) => !accounts.has(record.account));
    const look = (sealed: ReadWindow, records: readonly UsageRecord[]): void => {
      const window = windowOf(sealed);
      for (const record of records) {
        const key = JSON.stringify([record.account, record.deploymentUID]);
        if (!ids.has(record.id) && !found.has(key)) found.set(key, { record, window });
      }
    };
    const last = first.records.findLastIndex(({ id }) => ids.has(id));
    look(first, first.records.slice(last + 1));
    for (const key of sampleOf(later)) {
      if (foreign().length >= mostOthers) break;
      const sealed = await windows.read(key);
      look(sealed, sealed.records);
    }
    const same = [...found.values()].filter(({ record }) => accounts.has(record.account));
    return [...foreign(), ...same].slice(0, mostOthers);
  };
}

/** The newest first: it is what a receiver takes most likely. */
function sampleOf(later: readonly string[]): readonly string[] {
  const newest = later.slice(-mostWindows / 2).toReversed();
  return [...new Set([...newest, ...later.slice(0, mostWindows / 2)])];
}
