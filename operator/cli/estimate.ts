/** What the hours of a report would cost by a price list: one line a currency and list, for people. An estimate, no invoice. */
import type { PriceList } from "../api/pricelist.ts";
import type { UsageReport } from "../api/usage.ts";
import { freshRating, rateWindow } from "../plan/rating/rate.ts";
import type { RatedLine } from "../plan/rating/rate.ts";
import { decimalsOf, rounded, sumOf } from "../plan/rating/sum.ts";

/** Tiers and minimums see only the records of the report, so a report of less than a month may estimate too high or too low. */
export function estimateOf({ records }: UsageReport, list: PriceList): string {
  let state = freshRating;
  const lines: RatedLine[] = [];
  const unpriced = new Set<string>();
  const windows = Map.groupBy(records, ({ windowStart }) => windowStart);
  for (const [, window] of [...windows].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const rated = rateWindow(state, window, list);
    ({ state } = rated);
    lines.push(...rated.lines);
    for (const { sku } of rated.unpriced) unpriced.add(sku);
  }
  const total = rounded(sumOf(lines.map(({ cost }) => cost)), decimalsOf(list.currency));
  const versions = [...new Set(lines.map(({ priceVersion }) => priceVersion))].join(", ");
  const missing = unpriced.size > 0 ? `not priced and not in it: ${[...unpriced].sort().join(", ")}\n` : "";
  return `estimate: ${total} ${list.currency} (${list.name}${versions === "" ? "" : `, ${versions}`})\n${missing}`;
}
