import assert from "node:assert/strict";
import { test } from "node:test";
import type { Clock } from "../../operator/ports.ts";
import { newBatches } from "../../operator/transfer/batches.ts";

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

test("many small things are written together, and no more are lost with the process than a batch holds", async () => {
  const { batches, writes, turn } = newRig();
  for (let n = 0; n < 63; n++) batches.add(n, 1);
  await turn();
  assert.equal(writes.length, 0);
  batches.add(63, 1);
  await turn();
  assert.equal(writes[0]?.things.length, 64);
  for (let n = 0; n < 200; n++) batches.add(n, 1);
  await turn();
  assert.equal(writes.length, 1, "one write at a time");
  writes[0].done.resolve();
  await turn();
  assert.equal(writes[1]?.things.length, 200, "what came meanwhile goes together");
});

test("bytes and time make a batch due as well", async () => {
  const { batches, writes, turn, pass } = newRig();
  batches.add(1, 16 << 20);
  await turn();
  assert.deepEqual(writes[0]?.things, [1]);
  writes[0]?.done.resolve();
  await turn();
  batches.add(2, 1);
  pass(1_000);
  batches.add(3, 1);
  await turn();
  assert.deepEqual(writes[1]?.things, [2, 3]);
});

test("a flush writes the rest, and says so where that fails; what comes later is written all the same", async () => {
  const { batches, writes, turn } = newRig();
  batches.add(1, 1);
  const flushed = batches.flush();
  await turn();
  writes[0]?.done.reject(new Error("no space"));
  await assert.rejects(flushed, /no space/);
  batches.add(2, 1);
  const again = batches.flush();
  await turn();
  assert.deepEqual(writes[1]?.things, [2]);
  writes[1]?.done.resolve();
  await again;
  await batches.flush();
  assert.equal(writes.length, 2);
});
