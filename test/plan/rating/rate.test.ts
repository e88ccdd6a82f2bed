/** Rating: the vectors of a session's minimum, tiers, price changes; quantity × price = cost exactly, whatever the record. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { test } from "node:test";

import type { UsageRecord } from "../../../operator/api/ledger.ts";
import { parsePriceList, priceAt } from "../../../operator/plan/rating/pricelist.ts";
import { freshRating, rateWindow } from "../../../operator/plan/rating/rate.ts";
import type { RatedLine } from "../../../operator/plan/rating/rate.ts";
import { rounded, sumOf } from "../../../operator/plan/rating/sum.ts";
import { aPriceList, aRecord } from "./samples.ts";

function rate(records: readonly (readonly UsageRecord[])[], list = aPriceList()): RatedLine[] {
  let state = freshRating;
  return records.flatMap((window) => {
    const rated = rateWindow(state, window, list);
    ({ state } = rated);
    return [...rated.lines];
  });
}

test("a node-hour at 2.75 costs 2.75, twenty minutes are rounded once, in the quantity", () => {
  const [whole] = rate([[aRecord({ billable: 3600 })]]);
  assert.deepEqual([whole?.quantity, whole?.unitPrice, whole?.cost], ["1", "2.75", "2.75"]);
  const [third] = rate([[aRecord({ billable: 1200 })]]);
  assert.deepEqual([third?.quantity, third?.cost], ["0.333333333333", "0.91666666666575"]);
  assert.equal(rounded(third?.cost ?? "", 2), "0.92");
});

test("the line names list, version and price; the record carries none of it", () => {
  const [line] = rate([[aRecord({ billable: 10 })]]);
  assert.deepEqual(
    [line?.priceList, line?.priceVersion, line?.skuPriceId, line?.currency],
    ["standard", "2026-11", "l4-1/2026-11", "EUR"],
  );
});

test("minimum of a session: 1,540 billable seconds of a node held for 1,750 are rated as 3,600", () => {
  const claims = [{ id: "n1", claimedAt: "2026-11-21T10:14:20Z", releasedAt: "2026-11-21T10:43:30Z" }];
  const lines = rate(
    [[aRecord({ billable: 1540, claimed: 1750, claims })]],
    aPriceList({ minimumSessionSeconds: 3600 }),
  );
  assert.deepEqual(
    lines.map(({ kind, seconds }) => [kind, seconds]),
    [
      ["usage", 1540],
      ["minimum", 2060],
    ],
  );
  assert.equal(sumOf(lines.map(({ cost }) => cost)).slice(0, 10), "2.75");
});

test("a session over two hours is judged where it ends, and one that lasted longer pays no more", () => {
  const list = aPriceList({ minimumSessionSeconds: 3600 });
  const open = [{ id: "n1", claimedAt: "2026-11-21T10:50:00Z" }];
  const first = aRecord({ billable: 600, claims: open });
  const short = [{ id: "n1", claimedAt: "2026-11-21T10:50:00Z", releasedAt: "2026-11-21T11:05:00Z" }];
  const long = [{ id: "n1", claimedAt: "2026-11-21T10:50:00Z", releasedAt: "2026-11-21T11:51:00Z" }];
  const second = (claims: UsageRecord["claims"], billable: number) => aRecord({ hour: 11, billable, claims });
  const seconds = (lines: readonly RatedLine[]) => lines.map((line) => line.seconds);
  assert.deepEqual(seconds(rate([[first], [second(short, 300)]], list)), [600, 300, 2700]);
  assert.deepEqual(seconds(rate([[first], [second(long, 3060)]], list)), [600, 3060]);
});

test("a node that only stood in for another has no minimum", () => {
  const claims = [
    { id: "a", claimedAt: "2026-11-21T08:00:00Z" },
    { id: "b", claimedAt: "2026-11-21T10:40:00Z", releasedAt: "2026-11-21T10:50:00Z" },
  ];
  const lines = rate([[aRecord({ billable: 3600, claims })]], aPriceList({ minimumSessionSeconds: 3600 }));
  assert.deepEqual(
    lines.map(({ seconds }) => seconds),
    [3600],
  );
});

const instantAt = (seconds: number) => new Date(seconds * 1000).toISOString().replace(".000Z", "Z");

/** Hours from 10:00 on that a session of one node touches; the first `late` of them were sealed without it and are adjusted afterwards. */
function sessionOf(begin: number, length: number, late: number): UsageRecord[][] {
  const [start, end] = [Date.parse("2026-11-21T10:00:00Z") / 1000, begin + length];
  const claims = [{ id: "n1", claimedAt: instantAt(start + begin), releasedAt: instantAt(start + end) }];
  const open = claims.map(({ id, claimedAt }) => ({ id, claimedAt }));
  const hours = Array.from({ length: Math.ceil(end / 3600) }, (_, i) => {
    const billable = Math.max(0, Math.min(end, (i + 1) * 3600) - Math.max(begin, i * 3600));
    const held = billable === 0 ? [] : end <= (i + 1) * 3600 ? claims : open;
    return aRecord({ hour: 10 + i, billable, claims: held });
  });
  const adjusted = hours.slice(0, late).map((record) => ({ ...record, kind: "adjustment" as const, rev: 1 }));
  const empty = hours.slice(0, late).map((_, i) => [aRecord({ hour: 10 + i, billable: 0 })]);
  const rest = hours.slice(late).map((record) => [record]);
  // They lie behind the records of the window that was sealed next.
  rest[0] = [...(rest[0] ?? [aRecord({ hour: 10 + hours.length, billable: 0 })]), ...adjusted];
  return [...empty, ...rest];
}

test("property: a session is charged its seconds or its minimum, once; one that is known late in part never more than the two", () => {
  const minimum = 5400;
  const list = aPriceList({ minimumSessionSeconds: minimum });
  const seconds = fc.integer({ min: 1, max: 3 * 3600 });
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 3599 }), seconds, fc.integer({ min: 0, max: 4 }), (begin, length, late) => {
      const lines = rate(sessionOf(begin, length, late), list);
      const charged = lines.reduce((sum, line) => sum + line.seconds, 0);
      const known = late === 0 ? Math.max(minimum, length) : length;
      assert.equal(charged, known);
    }),
  );
});

test("tiers of a month: a record over a tier's end gives a line for each, and the next month begins anew", () => {
  const list = aPriceList({ unitPrice: undefined, tiers: [{ upTo: "2", unitPrice: "3" }, { unitPrice: "1" }] });
  const hours = [10, 11, 12].map((hour) => [aRecord({ hour, billable: 5400 })]);
  const parts = (lines: readonly RatedLine[]) => lines.map(({ tier, seconds, cost }) => [tier, seconds, cost]);
  assert.deepEqual(parts(rate(hours, list)), [
    [0, 5400, "4.5"],
    [0, 1800, "1.5"],
    [1, 3600, "1"],
    [1, 5400, "1.5"],
  ]);
  assert.deepEqual(parts(rate([...hours, [aRecord({ day: "2026-12-01", billable: 3600 })]], list)).at(-1), [
    0,
    3600,
    "3",
  ]);
});

test("tiers of a month go on where a version of the list begins in it, also in another unit", () => {
  const tiers = [{ upTo: "2", unitPrice: "3" }, { unitPrice: "1" }];
  const list = aPriceList({ unitPrice: undefined, tiers });
  const [first] = list.versions;
  const [price] = first?.prices ?? [];
  assert.ok(first && price);
  const until = "2026-11-21T13:00:00Z";
  const byGpu = { ...price, unit: "gpu-hour", tiers: [{ upTo: "16", unitPrice: "3" }, { unitPrice: "1" }] };
  for (const [prices, gpus] of [
    [[price], 1],
    [[byGpu], 8],
  ] as const) {
    const versions = [
      { ...first, validUntil: until },
      { ...first, version: "b", validFrom: until, prices },
    ];
    const { list: two } = parsePriceList({ ...list, versions });
    assert.ok(two);
    const hours = [10, 11, 12, 13, 14].map((hour) => [aRecord({ hour, gpus })]);
    assert.deepEqual(
      rate(hours, two).map(({ tier, priceVersion }) => [tier, priceVersion]),
      [0, 0, 1, 1, 1].map((tier, i) => [tier, i < 3 ? "2026-11" : "b"]),
    );
  }
});

test("basis and GPU units are the price's choice", () => {
  const record = aRecord({ billable: 100, claimed: 400, ready: 50, desired: 200, gpus: 8 });
  for (const [basis, seconds] of [
    ["billable", 100],
    ["claimed", 400],
    ["ready", 50],
    ["desired", 200],
  ] as const) {
    assert.equal(rate([[record]], aPriceList({ basis }))[0]?.seconds, seconds);
    assert.equal(rate([[record]], aPriceList({ basis, unit: "gpu-second" }))[0]?.seconds, seconds * 8);
  }
});

test("what has no price is reported, not free", () => {
  const rated = rateWindow(freshRating, [aRecord({ sku: "unknown" }), aRecord({ day: "2026-10-31" })], aPriceList());
  assert.deepEqual([rated.lines.length, rated.unpriced.length], [0, 2]);
});

test("a price holds from its hour on, to the one before the next version's", () => {
  const list = aPriceList();
  const [first] = list.versions;
  assert.ok(first);
  const until = "2026-12-01T00:00:00Z";
  const { list: two } = parsePriceList({
    ...list,
    versions: [
      { ...first, validUntil: until },
      { ...first, version: "2026-12", validFrom: until },
    ],
  });
  assert.ok(two);
  const at = (time: string) => priceAt(two, "l4-1", time)?.version.version;
  assert.deepEqual(["2026-10-31T23:00:00Z", "2026-11-01T00:00:00Z", "2026-11-30T23:59:50Z", until].map(at), [
    undefined,
    "2026-11",
    "2026-11",
    "2026-12",
  ]);
});

test("a list that cannot be meant is refused with field, value and remedy", () => {
  const list = aPriceList();
  const [first] = list.versions;
  assert.ok(first);
  const [price] = first.prices;
  const bad: readonly [object, RegExp][] = [
    [{ ...list, currency: "euro" }, /currency: write an ISO 4217 code/],
    [{ ...list, versions: [{ ...first, prices: [{ ...price, unitPrice: 2.75 }] }] }, /unitPrice: /],
    [{ ...list, versions: [{ ...first, prices: [{ ...price, unitPrice: "-1" }] }] }, /at least 0/],
    [{ ...list, versions: [{ ...first, validFrom: "2026-11-01T00:30:00Z" }] }, /whole hour/],
    [
      { ...list, versions: [first, { ...first, version: "b", validFrom: "2027-01-01T00:00:00Z" }] },
      /validUntil: missing/,
    ],
    [{ ...list, versions: [{ ...first, prices: [price, price] }] }, /l4-1: is there twice/],
    [
      { ...list, versions: [{ ...first, prices: [{ ...price, tiers: [{ unitPrice: "1" }] }] }] },
      /either unitPrice or tiers/,
    ],
    [{ ...list, surprise: 1 }, /surprise/],
    [
      { ...list, versions: [{ ...first, prices: ["a", "b"].map((sku) => ({ ...price, sku, skuPriceId: "p" })) }] },
      /SKU b: skuPriceId p is a price of a already; give each/,
    ],
  ];
  for (const [given, message] of bad) {
    assert.match(parsePriceList(given).problems?.join("\n") ?? "", message);
  }
});

const price = fc
  .tuple(fc.integer({ min: 0, max: 9999 }), fc.integer({ min: 0, max: 999_999_999 }))
  .map(([whole, part]) => `${String(whole)}.${String(part).padStart(9, "0")}`);

test("property: quantity × price = cost exactly, and the sum over tiers is what was counted", () => {
  const unit = fc.constantFrom("node-second", "node-minute", "node-hour", "gpu-hour" as const);
  const amounts = fc.array(fc.integer({ min: 0, max: 3600 * 50 }), { maxLength: 20 });
  fc.assert(
    fc.property(amounts, price, price, unit, fc.integer({ min: 1, max: 40 }), (all, dear, cheap, one, end) => {
      const tiers = [{ upTo: String(end), unitPrice: dear }, { unitPrice: cheap }];
      const list = aPriceList({ unit: one, unitPrice: undefined, tiers });
      const windows = all.map((billable, i) => [aRecord({ hour: i, billable, gpus: 2 })]);
      const lines = rate(windows, list);
      for (const { quantity, unitPrice, cost } of lines) assert.equal(product(quantity, unitPrice), scaled(cost));
      const counted = lines.reduce((sum, { seconds }) => sum + seconds, 0);
      assert.equal(counted, all.reduce((sum, seconds) => sum + seconds, 0) * (one === "gpu-hour" ? 2 : 1));
    }),
  );
});

/** An independent check with integers: value × 10^40. */
function scaled(decimal: string, digits = 40): bigint {
  const [whole = "0", part = ""] = decimal.split(".");
  return BigInt(whole + part.padEnd(digits, "0"));
}

function product(a: string, b: string): bigint {
  return scaled(a, 20) * scaled(b, 20);
}
