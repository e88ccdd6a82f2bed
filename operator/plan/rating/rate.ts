/**
 * Windows in order → rated lines. What must be known of earlier windows (units of the month for tiers, seconds of sessions for
 * minimums) is the state, a pure fold over the same records: rating again from the begin of a month gives the same lines.
 */
import Big from "big.js";

import type { UsageRecord } from "../../api/ledger.ts";
import type { BillingBasis, PriceList, SkuPrice } from "../../api/pricelist.ts";
import { secondsOf } from "../metering/windows.ts";
import { priceAt, unitSeconds } from "./pricelist.ts";
import type { PriceAt } from "./pricelist.ts";

/** Decimals of a quantity: 20 minutes are no finite number of hours. The one rounding of a line (half to even). */
export const QUANTITY_DECIMALS = 12;

/** One charge. `quantity × unitPrice = cost` exactly, as decimals in text. */
export interface RatedLine {
  readonly recordId: string;
  /** A record may give several lines: one a tier, one for the minimum of its sessions. */
  readonly kind: "usage" | "minimum";
  readonly tier: number;
  readonly priceList: string;
  readonly priceVersion: string;
  readonly skuPriceId: string;
  readonly currency: string;
  readonly unit: SkuPrice["unit"];
  readonly basis: BillingBasis;
  /** What was counted: node- or GPU-seconds, an integer; negative in adjustments. */
  readonly seconds: number;
  readonly quantity: string;
  readonly unitPrice: string;
  readonly cost: string;
}

export interface RatingState {
  /** Node- and GPU-seconds by UTC month (like 2026-11), and in it by account, SKU and which of the two; versions of the list share them. */
  readonly used: ReadonlyMap<string, ReadonlyMap<string, number>>;
  /** Seconds charged to sessions that have not ended; infinite where they are not all known, so that no minimum lacks any. */
  readonly sessions: ReadonlyMap<string, number>;
}

export const freshRating: RatingState = { used: new Map(), sessions: new Map() };

/** Only months from this one on are counted further; what is forgotten cannot be corrected any more without rating it again. */
export function fromMonth(state: RatingState, month: string): RatingState {
  return { ...state, used: new Map([...state.used].filter(([one]) => one >= month)) };
}

export interface RatedWindow {
  readonly lines: readonly RatedLine[];
  /** Records whose SKU has no price at that hour: they are reported, never taken as free. */
  readonly unpriced: readonly UsageRecord[];
  readonly state: RatingState;
}

/**
 * `records` are those of one window, in the ledger's order; windows are rated in order of time. An adjustment to an earlier hour
 * is rated by itself, by the price of that hour and the tiers of its month; minimums see usage only.
 */
export function rateWindow(before: RatingState, records: readonly UsageRecord[], list: PriceList): RatedWindow {
  const used = new Map([...before.used].map(([month, counted]) => [month, new Map(counted)]));
  const sessions = new Map(before.sessions);
  const lines: RatedLine[] = [];
  const unpriced: UsageRecord[] = [];
  for (const record of records) {
    const found = priceAt(list, record.sku, record.windowStart);
    if (!found) {
      unpriced.push(record);
      continue;
    }
    const extra = record.kind === "usage" ? minimumSeconds(record, found.price, sessions) : 0;
    const month = record.windowStart.slice(0, 7);
    const counted = used.get(month) ?? new Map<string, number>();
    used.set(month, counted);
    for (const [kind, seconds] of [
      ["usage", basisSeconds(record, found.price)],
      ["minimum", extra],
    ] as const) {
      if (kind === "minimum" && seconds === 0) continue;
      const start = counted.get(countKey(record, isByGpu(found.price))) ?? 0;
      for (const slice of tierSlices(found.price, start, seconds)) lines.push(lineOf(record, kind, slice, found, list));
      const nodes = isByGpu(found.price) ? seconds / record.gpus : seconds;
      add(counted, countKey(record, false), nodes);
      add(counted, countKey(record, true), nodes * record.gpus);
    }
  }
  return { lines, unpriced, state: { used, sessions } };
}

function isByGpu({ unit }: Pick<SkuPrice, "unit">): boolean {
  return unit.startsWith("gpu");
}

/** Both are counted, so that a version with the other unit goes on in the tier that the month has reached. */
function countKey({ account, sku }: UsageRecord, byGpu: boolean): string {
  return JSON.stringify([account, sku, byGpu ? "gpu" : "node"]);
}

function add(counted: Map<string, number>, key: string, seconds: number): void {
  counted.set(key, (counted.get(key) ?? 0) + seconds);
}

/** Seconds of the record by the price's basis: nodes, or GPUs where the unit says so. */
export function basisSeconds(record: UsageRecord, { basis, unit }: Pick<SkuPrice, "basis" | "unit">): number {
  const nodes = record[`${basis}NodeSeconds`];
  return isByGpu({ unit }) ? nodes * record.gpus : nodes;
}

/**
 * Seconds that the sessions which end in this record lack to the minimum. The record's seconds are given to its claims from
 * the oldest on, each at most the time that it was held; a claim that got none (it only stood in for another) has no minimum.
 */
function minimumSeconds(record: UsageRecord, price: SkuPrice, sessions: Map<string, number>): number {
  const minimum = price.minimumSessionSeconds;
  // An adjustment changes seconds; whether its session reached the minimum was decided by the records that it corrects.
  if (minimum === 0 || record.kind === "adjustment") return 0;
  const [from, to] = [secondsOf(record.from), secondsOf(record.to)];
  let left = basisSeconds(record, price);
  let extra = 0;
  const inOrder = record.claims.toSorted((a, b) => compare(a.claimedAt, b.claimedAt) || compare(a.id, b.id));
  for (const { id, claimedAt, releasedAt } of inOrder) {
    const begin = secondsOf(claimedAt);
    const end = releasedAt === undefined ? undefined : secondsOf(releasedAt);
    const held = Math.max(0, Math.min(to, end ?? to) - Math.max(from, begin));
    const given = Math.min(held, Math.max(0, left));
    left -= given;
    const charged = (sessions.get(id) ?? chargedBefore(begin, from)) + given;
    if (end === undefined || end > to) {
      sessions.set(id, charged);
      continue;
    }
    sessions.delete(id);
    if (charged > 0 && end - begin < minimum) extra += Math.max(0, minimum - charged);
  }
  return extra;
}

/**
 * Of a session that is seen for the first time: nothing where it begins here. Else its first seconds came, or will come, as adjustments,
 * which do not say whose they are, so no minimum can be told to lack any.
 */
function chargedBefore(begin: number, from: number): number {
  return begin < from ? Infinity : 0;
}

interface Slice {
  readonly tier: number;
  readonly unitPrice: string;
  readonly seconds: number;
}

/** Cuts `seconds` at the ends of tiers, counted from `start`; what is taken back leaves the tier that it came from. */
function tierSlices(price: SkuPrice, start: number, seconds: number): Slice[] {
  if (!price.tiers) return [{ tier: 0, unitPrice: price.unitPrice ?? "0", seconds }];
  const [low, high] = seconds < 0 ? [start + seconds, start] : [start, start + seconds];
  let floor = -Infinity;
  const slices = price.tiers.flatMap(({ upTo, unitPrice }, tier) => {
    const ceiling = upTo === undefined ? Infinity : Number(upTo) * unitSeconds(price);
    const inside = Math.min(high, ceiling) - Math.max(low, floor);
    floor = ceiling;
    return inside > 0 ? [{ tier, unitPrice, seconds: seconds < 0 ? -inside : inside }] : [];
  });
  if (slices.length > 0) return slices;
  const tier = price.tiers.findIndex(({ upTo }) => upTo === undefined || start < Number(upTo) * unitSeconds(price));
  return [{ tier, unitPrice: price.tiers[tier]?.unitPrice ?? "0", seconds: 0 }];
}

function lineOf(
  record: UsageRecord,
  kind: RatedLine["kind"],
  { tier, unitPrice, seconds }: Slice,
  { version, price }: PriceAt,
  list: PriceList,
): RatedLine {
  const quantity = quotient(seconds, unitSeconds(price));
  return {
    recordId: record.id,
    kind,
    tier,
    priceList: list.name,
    priceVersion: version.version,
    skuPriceId: price.skuPriceId ?? `${price.sku}/${version.version}`,
    currency: list.currency,
    unit: price.unit,
    basis: price.basis,
    seconds,
    quantity: quantity.toFixed(),
    unitPrice: new Big(unitPrice).toFixed(),
    cost: quantity.times(unitPrice).toFixed(),
  };
}

const Quotient = Big();
Quotient.DP = QUANTITY_DECIMALS;
Quotient.RM = Big.roundHalfEven;

function quotient(seconds: number, perUnit: number): Big {
  const value = new Quotient(String(seconds)).div(String(perUnit));
  // A quantity of no seconds is 0, never -0.
  return seconds === 0 ? new Big("0") : new Big(value.toFixed());
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
