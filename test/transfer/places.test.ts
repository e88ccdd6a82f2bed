import assert from "node:assert/strict";
import { test } from "node:test";
import type { Clock } from "../../operator/ports.ts";
import { newPartPlaces } from "../../operator/transfer/places.ts";

/** Time stands still but where the test moves it. */
function newClock() {
  let nowMs = 0;
  let timers: { atMs: number; run: () => void }[] = [];
  const clock: Clock = {
    now: () => nowMs,
    monotonicMs: () => nowMs,
    after: (delayMs, run) => {
      const timer = { atMs: nowMs + delayMs, run };
      timers.push(timer);
      return () => (timers = timers.filter((one) => one !== timer));
    },
  };
  const pass = (ms: number): void => {
    nowMs += ms;
    const due = timers.filter(({ atMs }) => atMs <= nowMs);
    timers = timers.filter((timer) => !due.includes(timer));
    for (const { run } of due) run();
  };
  return { clock, pass };
}

const settled = async (work: Promise<unknown>): Promise<boolean> =>
  Promise.race([work.then(() => true), new Promise<boolean>((resolve) => setImmediate(() => resolve(false)))]);

test("memory is as much as was allowed, is used again, and is given in the order of asking", async () => {
  const places = newPartPlaces({ clock: newClock().clock, bufferBytes: 3000, partBytes: 1000 });
  const held = [await places.take(1000), await places.take(10), await places.take(1000)];
  assert.deepEqual(
    held.map(({ buffer }) => buffer.length),
    [1000, 10, 1000],
  );
  const fourth = places.take(500);
  const fifth = places.take(500);
  assert.equal(await settled(fourth), false);
  held[1]?.release();
  held[1]?.release();
  const given = await fourth;
  assert.equal(given.buffer.buffer, held[1]?.buffer.buffer, "the same memory");
  assert.equal(await settled(fifth), false, "giving back twice frees nothing twice");
  given.release();
  await fifth;
});

test("small files share places, but a server that asks for less gets less of them too", async () => {
  const mib = 1 << 20;
  const places = newPartPlaces({ clock: newClock().clock, bufferBytes: 4 * mib, partBytes: 2 * mib });
  const small = await Promise.all(Array.from({ length: 16 }, () => places.take(256 << 10)));
  const memory = new Set(small.map(({ buffer }) => buffer.buffer));
  assert.deepEqual([memory.size, [...memory][0]?.byteLength], [16, 256 << 10]);
  const next = places.take(1);
  assert.equal(await settled(next), false);
  small[3]?.release();
  assert.equal((await next).buffer.buffer, small[3]?.buffer.buffer, "the same memory");
  const large = places.take(2 * mib);
  for (const place of small) place.release();
  assert.equal((await large).buffer.length, 2 * mib);
});

test("a part that is larger than a buffer waits for several and starves nobody", async () => {
  const places = newPartPlaces({ clock: newClock().clock, bufferBytes: 4000, partBytes: 1000 });
  const one = await places.take(1000);
  const large = places.take(4000);
  const after = places.take(1000);
  assert.deepEqual([await settled(large), await settled(after)], [false, false]);
  one.release();
  const whole = await large;
  assert.equal(whole.buffer.length, 4000);
  assert.equal(await settled(after), false);
  whole.release();
  (await after).release();
});

test("who is told to stop leaves the queue", async () => {
  const places = newPartPlaces({ clock: newClock().clock, bufferBytes: 1000, partBytes: 1000 });
  const one = await places.take(1000);
  const stop = new AbortController();
  const waiting = places.take(1000, stop.signal);
  const next = places.take(1000);
  stop.abort();
  await assert.rejects(waiting, { name: "AbortError" });
  one.release();
  (await next).release();
  await assert.rejects(places.take(1, AbortSignal.abort()), { name: "AbortError" });
});

test("a server that asks for less gets half of the requests, once a window", async () => {
  const { clock, pass } = newClock();
  const places = newPartPlaces({ clock, bufferBytes: 16_000, partBytes: 1000 });
  assert.equal(places.limit, 8);
  for (let refused = 0; refused < 5; refused++) places.slowDown();
  assert.equal(places.limit, 4);
  pass(1001);
  places.came(1);
  places.slowDown();
  assert.equal(places.limit, 2);
  const held = [await places.take(1000), await places.take(1000)];
  assert.equal(await settled(places.take(1000)), false);
  for (const place of held) place.release();
});

test("bytes a second are no more than allowed", async () => {
  const { clock, pass } = newClock();
  const places = newPartPlaces({ clock, bufferBytes: 4000, partBytes: 1000, maxBytesPerSecond: 1000 });
  await places.allow(1000);
  const second = places.allow(500);
  const third = places.allow(1000);
  pass(999);
  assert.equal(await settled(second), false);
  pass(1);
  await second;
  assert.equal(await settled(third), false);
  pass(500);
  await third;
});

test("an import whose places all wait leaves others their own, and slows down nobody but itself", async () => {
  const places = newPartPlaces({ clock: newClock().clock, bufferBytes: 8000, partBytes: 1000, imports: 2 });
  const [asleep, awake] = [places.share(), places.share()];
  for (let taken = 0; taken < 6; taken++) await asleep.take(1000);
  assert.equal(await settled(asleep.take(1000)), false, "the last two are another's");
  asleep.slowDown();
  assert.deepEqual([asleep.limit, awake.limit], [4, 8]);
  for (let parts = 0; parts < 5; parts++) {
    const both = await Promise.all([awake.take(1000), awake.take(1000)]);
    assert.equal(await settled(awake.take(1000, AbortSignal.abort()).catch(() => false)), true);
    for (const one of both) one.release();
  }
});

test("parts that are larger than a buffer stay within the memory after smaller ones", async () => {
  const places = newPartPlaces({ clock: newClock().clock, bufferBytes: 8000, partBytes: 1000 });
  const small = await Promise.all(Array.from({ length: 8 }, () => places.take(1000)));
  for (const one of small) one.release();
  const large = await Promise.all(Array.from({ length: 4 }, () => places.take(2000)));
  for (const one of large) one.release();
  const held = new Set(large.map(({ buffer }) => buffer.buffer));
  const again = await Promise.all(Array.from({ length: 8 }, () => places.take(1000)));
  const kept = again.filter(({ buffer }) => small.some((one) => one.buffer.buffer === buffer.buffer));
  assert.deepEqual([held.size, kept.length], [4, 0], "the idle ones made room");
});

test("small buffers and large ones that lie idle stay within the memory together", async () => {
  const mib = 1 << 20;
  const places = newPartPlaces({ clock: newClock().clock, bufferBytes: 8 * mib, partBytes: 2 * mib });
  const use = async (count: number, bytes: number): Promise<Set<ArrayBufferLike>> => {
    const held = await Promise.all(Array.from({ length: count }, () => places.take(bytes)));
    for (const one of held) one.release();
    return new Set(held.map(({ buffer }) => buffer.buffer));
  };
  const common = (one: Set<ArrayBufferLike>, other: Set<ArrayBufferLike>): number =>
    [...one].filter((memory) => other.has(memory)).length;
  const large = await use(4, 2 * mib);
  const small = await use(9, 256 << 10);
  const again = await use(4, 2 * mib);
  assert.equal(common(large, again), 2, "nine small ones took the room of two");
  assert.equal(common(small, await use(9, 256 << 10)), 0, "and gave it back");
  assert.equal(common(again, await use(2, 2 * mib)), 2, "what fits stays");
});

test("a part that is larger than all of the memory has as much as it is long, alone", async () => {
  const places = newPartPlaces({ clock: newClock().clock, bufferBytes: 1000, partBytes: 1000 });
  const one = await places.take(1500);
  assert.equal(one.buffer.length, 1500);
  const next = places.take(10);
  assert.equal(await settled(next), false);
  one.release();
  (await next).release();
});
