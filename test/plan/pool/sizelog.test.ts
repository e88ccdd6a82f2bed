import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import type { SizeLogEntry } from "../../../operator/api/gpunodepool.ts";
import { sizeLogEntry } from "../../../operator/api/gpunodepool.ts";
import { foldedSizes, unfoldedSizes } from "../../../operator/api/sizelog.ts";
import { canonicalJson } from "../../../operator/plan/metering/canonical.ts";
import { historyOfPool } from "../../../operator/plan/metering/history.ts";
import { recordsOf } from "../../../operator/plan/metering/records.ts";
import { LONGEST_SIZE_LOG, MOST_LOG_BYTES, nextSizeLog } from "../../../operator/plan/pool/sizelog.ts";
import { claimOf, poolOf, unit } from "./facts.ts";

const at = (second: number): string =>
  new Date(Date.UTC(2026, 10, 23) + second * 1000).toISOString().replace(".000Z", "Z");
const entry = (second: number, size: number): SizeLogEntry => ({ since: at(second), size, account: "team", tags: {} });
const wish = (size: number, account = "team") => ({ size, account, tags: {} });

describe("size log", () => {
  const rows: readonly (readonly [string, SizeLogEntry[], ReturnType<typeof wish>, number | undefined, string[]])[] = [
    ["the first size", [], wish(1), 5, ["5:1"]],
    ["an equal size is no step", [entry(5, 1)], wish(1), 9, ["5:1"]],
    ["another size", [entry(5, 1)], wish(2), 9, ["5:1", "9:2"]],
    ["another account is a step", [entry(5, 1)], wish(1, "other"), 9, ["5:1", "9:1"]],
    ["two sizes in one second collapse to the last", [entry(5, 1)], wish(3), 5, ["5:3"]],
    ["a clock that stepped back does not reorder", [entry(5, 1)], wish(3), 4, ["5:3"]],
    ["a size whose time is unknown is not logged", [], wish(3), undefined, []],
  ];
  for (const [name, log, spec, since, expected] of rows) {
    test(name, () => {
      const next = nextSizeLog(log, spec, since === undefined ? undefined : at(since), undefined);
      const shown = next.map((one) => `${(Date.parse(one.since) - Date.parse(at(0))) / 1000}:${one.size}`);
      assert.deepEqual(shown, expected);
    });
  }

  test("drops what was over before the watermark, but the entry in force at it", () => {
    const log = [entry(1, 1), entry(5, 2), entry(9, 3)];
    assert.deepEqual(
      nextSizeLog(log, wish(4), at(20), at(7)).map(({ size }) => size),
      [2, 3, 4],
    );
    assert.equal(nextSizeLog(log, wish(3), at(20), at(7)), log);
  });

  test("never grows beyond its bound", () => {
    const full = Array.from({ length: LONGEST_SIZE_LOG }, (_, second) => entry(second, second % 50));
    assert.equal(nextSizeLog(full, wish(7), at(3_000), undefined), full, "the hour is not over");
    const others = full.map((one, index) => ({ ...one, account: `a${index}` }));
    assert.equal(nextSizeLog(others, wish(7), at(9_999), undefined), others, "accounts are not folded");
  });

  test("600 changes of account with the longest tags stay far below what etcd takes; what is held back comes in once hours are sealed", () => {
    const longest = (change: number) =>
      Object.fromEntries(
        Array.from({ length: 16 }, (_, i) => [`${i}`.padEnd(63, "k"), `${change}${"\u{1F4B6}".repeat(62)}`]),
      );
    let log: readonly SizeLogEntry[] = [];
    let refused = 0;
    for (let change = 0; change < 600; change++) {
      const next = nextSizeLog(log, { ...wish(1, `a${change}`), tags: longest(change) }, at(change * 60), undefined);
      refused += next === log ? 1 : 0;
      log = next;
    }
    assert.ok(log.length > 90 && log.length <= LONGEST_SIZE_LOG);
    assert.ok(Buffer.byteLength(JSON.stringify(log)) <= MOST_LOG_BYTES);
    assert.ok(refused > 0, "the bound was met");
    const told = log.map(({ account }) => account);
    assert.deepEqual(
      told,
      told.map((_, i) => `a${i}`),
      "what is in the log is in order and whole",
    );
    const next = { ...wish(3, "next"), tags: longest(7) };
    assert.equal(nextSizeLog(log, next, at(40_000), undefined), log);
    const after = nextSizeLog(log, next, at(40_000), at(36_000));
    assert.deepEqual(
      after.map(({ size }) => size),
      [1, 3],
    );
  });

  test("a size that a full log could not take is counted all the same", () => {
    const full = Array.from({ length: LONGEST_SIZE_LOG }, (_, second) => entry(second, second % 2));
    assert.equal(nextSizeLog(full, wish(8), at(600), undefined), full, "it is not stored");
    const managedFields = [{ manager: "berth-size", time: at(600) }];
    const pool = poolOf({ size: 8 }, { managedFields } as never, { sizeLog: full });
    const { steps } = historyOfPool(pool, undefined, []);
    const last = steps.at(-1);
    assert.deepEqual([last?.size, last?.since], [8, Date.parse(at(600)) / 1000], "nobody gets nodes for nothing");
  });

  test("toggled 100 times an hour for a week without a ledger, it stays small and tells every step", () => {
    const week = 7 * 24 * 100;
    let log: readonly SizeLogEntry[] = [];
    const told: SizeLogEntry[] = [];
    for (let change = 0; change < week; change++) {
      const step = entry(change * 36, 1 + (change % 2));
      log = nextSizeLog(log, wish(step.size), step.since, undefined);
      told.push(step);
      assert.ok(log.length <= LONGEST_SIZE_LOG);
    }
    assert.deepEqual(unfoldedSizes(log), told);
    const bytes = JSON.stringify(log).length;
    assert.ok(bytes < 250_000, `${bytes} bytes`);
    for (const one of log) sizeLogEntry.parse(one);
    assert.ok(
      nextSizeLog(log, wish(9), at(week * 36), at(week * 36 - 7_200)).length < 250,
      "and is short when it is sealed",
    );
  });

  test("records of a folded history are those of the whole one, byte by byte", () => {
    const steps = fc.array(
      fc.tuple(fc.integer({ min: 1, max: 900 }), fc.integer({ min: 0, max: 3 }), fc.constantFrom("team", "other")),
      { minLength: 1, maxLength: 60 },
    );
    const held = fc.array(fc.tuple(fc.nat(20_000), fc.nat(9_000)), { maxLength: 5 });
    fc.assert(
      fc.property(steps, held, fc.nat(60), (drawn, claims, cut) => {
        let now = 0;
        const log = drawn.map(([gap, size, account]) => ({ ...entry((now += gap), size), account }));
        const same = (a: SizeLogEntry, b: SizeLogEntry): boolean => a.account === b.account;
        const middle = log[Math.min(cut, log.length - 1)]?.since ?? at(0);
        const folded = foldedSizes([...foldedSizes(log, middle, same)], at(now), same);
        assert.deepEqual(unfoldedSizes(folded), log);
        for (const hour of [0, 1, 2, 3]) assert.equal(bytesOf(folded, claims, hour), bytesOf(log, claims, hour));
      }),
    );
  });

  test("desired seconds after the watermark do not change by trimming", () => {
    const steps = fc.array(fc.tuple(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 0, max: 5 })), {
      maxLength: 12,
    });
    fc.assert(
      fc.property(steps, fc.integer({ min: 0, max: 200 }), (drawn, watermark) => {
        let whole: readonly SizeLogEntry[] = [];
        let trimmed: readonly SizeLogEntry[] = [];
        let now = 0;
        for (const [gap, size] of drawn) {
          now += gap;
          whole = nextSizeLog(whole, wish(size), at(now), undefined);
          trimmed = nextSizeLog(trimmed, wish(size), at(now), at(Math.min(watermark, now)));
        }
        const from = Math.min(watermark, now);
        for (let second = from; second <= now; second++) assert.equal(sizeAt(trimmed, second), sizeAt(whole, second));
      }),
    );
  });
});

/** Records of one hour of a pool with this log, and with nodes held from a second on for some seconds. */
function bytesOf(log: readonly SizeLogEntry[], held: readonly (readonly [number, number])[], hour: number): string {
  const pool = poolOf({}, {}, { sizeLog: [...log] });
  const claims = held.map(([from, seconds], index) =>
    claimOf(unit(`n${index}`), {
      claimedAt: { time: at(from), evidence: "test" },
      releasedAt: { time: at(from + seconds), evidence: "test" },
    }),
  );
  const start = Date.parse(at(0)) / 1000 + hour * 3_600;
  const history = historyOfPool(pool, undefined, claims);
  return canonicalJson(recordsOf([history], { start, end: start + 3_600 }, { clusterId: "cluster" }));
}

function sizeAt(log: readonly SizeLogEntry[], second: number): number | undefined {
  return log.findLast(({ since }) => Date.parse(since) <= Date.parse(at(second)))?.size;
}
