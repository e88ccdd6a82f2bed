import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { firstPace, nextPace } from "../../../operator/plan/model/pace.ts";
import type { Pace, PaceWindow } from "../../../operator/plan/model/pace.ts";

const full = (bytesPerSecond: number): PaceWindow => ({ bytesPerSecond, wasFull: true, wasAskedToSlow: false });
const asked: PaceWindow = { bytesPerSecond: 0, wasFull: true, wasAskedToSlow: true };
const run = (pace: Pace, windows: readonly PaceWindow[], most = 64): Pace =>
  windows.reduce((now, window) => nextPace(now, window, most), pace);

test("eight parts at first, fewer where the memory holds fewer", () => {
  assert.deepEqual([firstPace(16).limit, firstPace(3).limit, firstPace(0).limit], [8, 3, 1]);
});

test("it grows while that brings more, and goes back and rests where it does not", () => {
  const better = Array.from({ length: 6 }, (_, n) => full(100 * 1.2 ** n));
  assert.equal(run(firstPace(64), better).limit, 13);
  const vain = run(firstPace(64), [full(100), full(100), full(101)]);
  assert.equal(vain.limit, 8);
  assert.equal(
    run(
      vain,
      Array.from({ length: 10 }, () => full(100)),
    ).limit,
    8,
    "it does not try again at once",
  );
  assert.equal(
    run(
      vain,
      Array.from({ length: 11 }, () => full(100)),
    ).limit,
    9,
  );
});

test("it is halved where the server asks for less, and never stands still", () => {
  assert.equal(run(firstPace(64), [asked]).limit, 4);
  assert.equal(run(firstPace(64), [asked, asked, asked, asked, asked]).limit, 1);
});

test("a window in which places were free says nothing", () => {
  const pace = firstPace(64);
  assert.deepEqual(nextPace(pace, { bytesPerSecond: 5, wasFull: false, wasAskedToSlow: false }, 64), pace);
});

test("whatever is measured, the limit stays between one and what the memory holds", () => {
  const window = fc.record({ bytesPerSecond: fc.double({ min: 0, max: 1e12, noNaN: true }), wasFull: fc.boolean(), wasAskedToSlow: fc.boolean() }); // prettier-ignore
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 100 }), fc.array(window, { maxLength: 60 }), (most, windows) => {
      let pace = firstPace(most);
      for (const seen of windows) {
        pace = nextPace(pace, seen, most);
        assert.ok(pace.limit >= 1 && pace.limit <= most);
      }
    }),
  );
});
