import assert from "node:assert/strict";
import { setImmediate } from "node:timers/promises";
import { test } from "node:test";
import { isAbort, newSlots } from "../../operator/transfer/slots.ts";

/** Asks in this order while the only place is taken; resolves with the order in which they had it. */
async function servedInTurn(asked: readonly string[], leaves: readonly string[] = []): Promise<string[]> {
  const slots = newSlots(1);
  const release = await slots.take();
  const served: string[] = [];
  const run = async (one: string): Promise<void> => {
    const stop = new AbortController();
    const taking = slots.take(stop.signal, one.slice(0, 1));
    if (leaves.includes(one)) stop.abort();
    const leave = await taking;
    served.push(one);
    await setImmediate();
    leave();
    leave();
  };
  const all = asked.map((one) => run(one).catch((error: unknown) => assert.ok(isAbort(error))));
  release();
  await Promise.all(all);
  assert.equal(slots.free, 1);
  return served;
}

test("whoever has many that wait holds up nobody else for more than one of them", async () => {
  assert.deepEqual(await servedInTurn(["a1", "a2", "a3", "a4", "b1", "c1", "c2"]), [
    "a1",
    "b1",
    "c1",
    "a2",
    "c2",
    "a3",
    "a4",
  ]);
});

test("of one who asks the first is served first, and who has left is passed by", async () => {
  assert.deepEqual(await servedInTurn(["a1", "a2", "a3"]), ["a1", "a2", "a3"]);
  assert.deepEqual(await servedInTurn(["a1", "a2", "b1", "c1"], ["a1", "b1"]), ["a2", "c1"]);
});
