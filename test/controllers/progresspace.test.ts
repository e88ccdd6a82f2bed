// How often the progress of an import is written, under a clock that the test turns.
import assert from "node:assert/strict";
import { test } from "node:test";
import { newProgressPace, newTeller } from "../../operator/controllers/progresspace.ts";
import type { Clock } from "../../operator/ports.ts";

/** Turns time forward: what is due runs in its order, and what it begins ends before time goes on. */
function newHandClock() {
  let nowMs = 0;
  let due: { readonly atMs: number; readonly run: () => void }[] = [];
  const clock: Clock = {
    now: () => nowMs,
    monotonicMs: () => nowMs,
    after(delayMs, run) {
      const entry = { atMs: nowMs + delayMs, run };
      due.push(entry);
      return () => void (due = due.filter((one) => one !== entry));
    },
  };
  const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  async function turnTo(atMs: number): Promise<void> {
    for (;;) {
      await settled();
      const [next] = due.filter((one) => one.atMs <= atMs).sort((a, b) => a.atMs - b.atMs);
      if (!next) break;
      due = due.filter((one) => one !== next);
      nowMs = Math.max(nowMs, next.atMs);
      next.run();
    }
    nowMs = atMs;
  }
  return { clock, turnTo };
}

function newRig() {
  const { clock, turnTo } = newHandClock();
  const pace = newProgressPace(clock, 5_000);
  const writtenMs: number[] = [];
  const state = { isNew: true, isFailing: false };
  const begin = (uid = "a") =>
    newTeller(clock, pace, uid, () => {
      if (state.isNew) writtenMs.push(clock.monotonicMs());
      return state.isFailing ? Promise.reject(new Error("away")) : Promise.resolve(state.isNew);
    });
  return { turnTo, writtenMs, state, begin };
}

test("progress is written each five seconds, and what is new is told at once only where that is long enough after", async () => {
  const { turnTo, writtenMs, begin } = newRig();
  const teller = begin();
  await turnTo(1_000);
  teller.soon();
  await turnTo(2_000);
  for (const atMs of [2_500, 3_000, 5_900, 6_100, 14_000]) {
    await turnTo(atMs);
    teller.soon();
    teller.soon();
  }
  await turnTo(17_000);
  await teller.stop();
  await turnTo(100_000);
  assert.deepEqual(writtenMs, [1_000, 6_000, 11_000, 16_000]);
});

test("where nothing is new nothing is written, and what comes then waits for nobody", async () => {
  const { turnTo, writtenMs, state, begin } = newRig();
  const teller = begin();
  await turnTo(5_000);
  state.isNew = false;
  await turnTo(600_000);
  assert.deepEqual(writtenMs, [5_000]);
  state.isNew = true;
  await turnTo(602_000);
  teller.soon();
  await turnTo(602_000);
  assert.deepEqual(writtenMs, [5_000, 602_000]);
  await teller.stop();
});

test("a write that failed counts, and so does that of the import before; another model's does not", async () => {
  const { turnTo, writtenMs, state, begin } = newRig();
  state.isFailing = true;
  const first = begin();
  first.soon();
  await turnTo(1_000);
  first.soon();
  await turnTo(2_000);
  await first.stop();
  state.isFailing = false;
  const second = begin();
  second.soon();
  const other = begin("b");
  other.soon();
  await turnTo(4_000);
  assert.deepEqual(writtenMs, [0, 2_000]);
  await turnTo(5_000);
  assert.deepEqual(writtenMs, [0, 2_000, 5_000]);
  await second.stop();
  await other.stop();
});
