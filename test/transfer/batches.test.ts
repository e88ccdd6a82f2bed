import assert from "node:assert/strict";
import { test } from "node:test";
import type { Clock } from "../../operator/ports.ts";
import { MOST_UNWRITTEN, newBatches } from "../../operator/transfer/batches.ts";

function newRig() {
  let nowMs = 0;
  const clock: Clock = { now: () => nowMs, monotonicMs: () => nowMs, after: () => () => undefined };
  const writes: { things: readonly number[]; done: PromiseWithResolvers<void> }[] = [];
  const batches = newBatches<number>((things) => {
    const done = Promise.withResolvers<void>();
    writes.push({ things, done });
    return done.promise;
  }, clock);
  const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  return { batches, writes, turn, pass: (ms: number) => void (nowMs += ms) };
}

test("many small things are written together, while as many again come", async () => {
  const { batches, writes, turn } = newRig();
  for (let n = 0; n < 31; n++) void batches.add(n);
  await turn();
  assert.equal(writes.length, 0);
  void batches.add(31);
  await turn();
  assert.equal(writes[0]?.things.length, 32);
  for (let n = 0; n < 32; n++) void batches.add(n);
  await turn();
  assert.equal(writes.length, 1, "one write at a time");
  writes[0].done.resolve();
  await turn();
  assert.equal(writes[1]?.things.length, 32, "what came meanwhile goes together");
});

test("no more than 64 are unwritten at any time, however slow the writing is: the others wait", async () => {
  const { batches, writes, turn } = newRig();
  let added = 0;
  for (let n = 0; n < 200; n++) void batches.add(n).then(() => added++);
  await turn();
  assert.equal(added, MOST_UNWRITTEN);
  for (let written = 0; written < writes.length; written++) {
    const gone = writes.slice(0, written + 1).reduce((sum, { things }) => sum + things.length, 0);
    writes[written]?.done.resolve();
    await turn();
    assert.equal(added, Math.min(200, gone + MOST_UNWRITTEN));
  }
  const flushed = batches.flush();
  await turn();
  writes.at(-1)?.done.resolve();
  await flushed;
  const all = writes.flatMap(({ things }) => things);
  assert.deepEqual(all, [...Array(200).keys()]);
});

test("what a write has failed with counts as before and comes again first; those who wait and come later are told", async () => {
  const { batches, writes, turn } = newRig();
  const ended = { added: 0, refused: 0 };
  const add = (n: number): Promise<number> => batches.add(n).then(() => ended.added++, () => ended.refused++); // prettier-ignore
  for (let n = 0; n < 32; n++) void add(n);
  await turn();
  for (let n = 32; n < 100; n++) void add(n);
  batches.throwIfFailed();
  assert.equal(writes[0]?.things.length, 32);
  writes[0].done.reject(new Error("no space"));
  await turn();
  assert.deepEqual(ended, { added: MOST_UNWRITTEN, refused: 100 - MOST_UNWRITTEN });
  assert.throws(() => batches.throwIfFailed(), /no space/);
  await assert.rejects(batches.add(100), /no space/);
  const flushed = batches.flush();
  await turn();
  writes[1]?.done.resolve();
  await flushed;
  assert.deepEqual(writes[1]?.things, [...Array(MOST_UNWRITTEN).keys()]);
});

test("time makes a batch due as well", async () => {
  const { batches, writes, turn, pass } = newRig();
  void batches.add(2);
  pass(1_000);
  await batches.add(3);
  await turn();
  assert.deepEqual(writes[0]?.things, [2, 3]);
});

test("a flush writes the rest, and says so where that fails; another writes it all the same", async () => {
  const { batches, writes, turn } = newRig();
  await batches.add(1);
  const flushed = batches.flush();
  await turn();
  writes[0]?.done.reject(new Error("no space"));
  await assert.rejects(flushed, /no space/);
  const again = batches.flush();
  await turn();
  assert.deepEqual(writes[1]?.things, [1]);
  writes[1]?.done.resolve();
  await again;
  await batches.flush();
  assert.equal(writes.length, 2);
});
