/**
 * Windows of the ledger rated one after the other. What tiers and minimums must know of earlier windows is folded from the ledger
 * itself, from the begin of the month on; what is kept in memory only saves reading the month again.
 */
import type { UsageRecord } from "../api/ledger.ts";
import type { PriceList } from "../api/pricelist.ts";
import { periodOf } from "../plan/metering/groups.ts";
import { instantOfSeconds, secondsOf } from "../plan/metering/windows.ts";
import { chargesOf } from "../plan/rating/focus.ts";
import type { Charge } from "../plan/rating/focus.ts";
import { freshRating, fromMonth, rateWindow } from "../plan/rating/rate.ts";
import type { RatingState } from "../plan/rating/rate.ts";
import type { Ledger, SinkWindow } from "../ports.ts";
import { RetryError } from "../runtime/errors.ts";
import { newestCheckpoint } from "./checkpoints.ts";
import { corrupt } from "./ledgerreads.ts";
import type { SealedWindows } from "./vouched.ts";

/** Charges of one window's records. Throws RetryError where a SKU has no price: an hour is never taken as free. */
export type RatingBook = (
  records: readonly UsageRecord[],
  window: SinkWindow,
  list: PriceList,
) => Promise<readonly Charge[]>;

interface Folded {
  readonly list: PriceList;
  readonly state: RatingState;
  /** End of the last window that is in the state. */
  readonly through: number;
}

/** A session with a minimum lasts a day at most (api/pricelist.ts), so it began no earlier than that before the month. */
const longestMinimumSeconds = 86_400;

/** Without tiers and minimums an hour costs what it costs, whatever came before it. */
function needsMonth({ versions }: PriceList): boolean {
  return versions.some(({ prices }) =>
    prices.some(({ tiers, minimumSessionSeconds }) => tiers || minimumSessionSeconds > 0),
  );
}

/** Throws RetryError where retention removed windows from `from` (seconds) on: tiers would begin anew. */
async function checkMonth(ledger: Ledger, from: number, { name }: PriceList): Promise<void> {
  const found = await newestCheckpoint(ledger);
  if (found === undefined) return;
  if (typeof found === "string") throw corrupt(found);
  const { removedThrough } = found.checkpoint;
  if (secondsOf(removedThrough) <= from) return;
  const missing = `hours from ${instantOfSeconds(from)} on are needed for the tiers and minimums of price list ${name}, and retention removed those before ${removedThrough}`;
  throw new RetryError(
    new Error(
      `${missing}: keep at least 63 days; until the month is over only a list without tiers and minimums can rate its hours`,
    ),
  );
}

export function newRatingBook(ledger: Ledger, windows: SealedWindows): RatingBook {
  let folded: Folded | undefined;
  async function stateBefore(
    records: readonly UsageRecord[],
    window: SinkWindow,
    list: PriceList,
  ): Promise<RatingState> {
    const month = periodOf(window.start, "month").start;
    const oldest = records.reduce((first, { windowStart }) => Math.min(first, secondsOf(windowStart)), month);
    const goesOn = folded?.list === list && folded.through <= window.start && oldest >= month;
    if (goesOn && folded && folded.through === window.previousEnd) return folded.state;
    const from = goesOn && folded ? folded.through : periodOf(oldest, "month").start - longestMinimumSeconds;
    // What corrects an older month is rated by what is left of it: nothing will ever tell more.
    if (needsMonth(list)) await checkMonth(ledger, Math.max(from, month - longestMinimumSeconds), list);
    let state = goesOn && folded ? folded.state : freshRating;
    for (const key of await windows.keys(from, window.start)) {
      state = rateWindow(state, (await windows.read(key)).records, list).state;
    }
    return state;
  }
  return async (records, window, list) => {
    const before = await stateBefore(records, window, list);
    const { lines, unpriced, state } = rateWindow(before, records, list);
    const [missing] = unpriced;
    if (missing) {
      const what = `price list ${list.name} has no price for SKU ${missing.sku} at ${missing.windowStart}`;
      throw new RetryError(new Error(`${what}: add one to the version of that hour; nothing is delivered before`));
    }
    const month = instantOfSeconds(window.start).slice(0, 7);
    folded = { list, state: fromMonth(state, month), through: window.end };
    return chargesOf(records, lines, window.start);
  };
}
