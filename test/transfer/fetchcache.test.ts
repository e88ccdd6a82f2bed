// The cache of models on a node: who may use it, what makes room for what, and what a killed fetch leaves. Real folders.
import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { existsSync, mkdirSync, readFileSync, readdirSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import type { Clock, Log } from "../../operator/ports.ts";
import { systemClock as clock } from "../../operator/runtime/clock.ts";
import { CACHE_NOTES, cacheFolderOf, enterCache, wipeCache } from "../../operator/transfer/fetchcache.ts";
import type { CacheOptions } from "../../operator/transfer/fetchcache.ts";
import { eventually } from "../cluster/eventually.ts";
import { newFolder } from "./storerig.ts";

const digest = (digit: string): string => `sha256:${digit.repeat(64)}`;

function cacheOf(t: TestContext, options: Partial<CacheOptions> = {}) {
  const root = options.root ?? newFolder(t);
  const said: string[] = [];
  const say = (_fields: object, message: string): void => void said.push(message);
  const log: Log = { debug: say, info: say, warn: say, error: say, child: () => log } as Log;
  const ending = new AbortController();
  t.after(() => ending.abort());
  const all = { root, limitBytes: 100, nodeName: "node-1", clock, log, signal: ending.signal, ...options };
  return { root, said, ending, enter: (digit: string, bytes: number) => enterCache(all, digest(digit), bytes) };
}

/** Leaves a model in the cache whose last use was so many seconds ago. */
async function use(at: ReturnType<typeof cacheOf>, digit: string, bytes: number, secondsAgo: number): Promise<void> {
  const place = await at.enter(digit, bytes);
  mkdirSync(cacheFolderOf(at.root, digest(digit)), { recursive: true });
  await place.release();
  const then = Date.now() / 1000 - secondsAgo;
  utimesSync(join(at.root, CACHE_NOTES, `${digit.repeat(64)}.use`), then, then);
}

/** A hundred times as fast where it waits, so that there are many meetings. */
const fast: Clock = { ...clock, after: (ms, run) => clock.after(ms / 100, run) };

const models = (root: string): string[] =>
  readdirSync(root)
    .filter((name) => name !== CACHE_NOTES)
    .map((name) => name.slice(0, 1))
    .sort();

test("the least recently used models make room, and no more of them than needed", async (t) => {
  const at = cacheOf(t);
  await use(at, "a", 40, 300);
  await use(at, "b", 30, 100);
  await use(at, "c", 30, 200);
  await (await at.enter("d", 25)).release();
  assert.deepEqual(models(at.root), ["b", "c"]);
  await (await at.enter("e", 75)).release();
  assert.deepEqual(models(at.root), []);
});

test("using a model again keeps it; its own bytes are not counted twice", async (t) => {
  const at = cacheOf(t);
  await use(at, "a", 60, 300);
  await use(at, "b", 40, 200);
  await (await at.enter("a", 60)).release();
  assert.deepEqual(models(at.root), ["a", "b"]);
  await (await at.enter("c", 40)).release();
  assert.deepEqual(models(at.root), ["a"]);
});

test("a folder of which nobody knows its size goes first", async (t) => {
  const at = cacheOf(t);
  await use(at, "a", 50, 1000);
  mkdirSync(cacheFolderOf(at.root, digest("f")));
  await (await at.enter("b", 50)).release();
  assert.deepEqual(models(at.root), ["a"]);
});

test("a note of use that is empty is of no model of 0 bytes", async (t) => {
  const at = cacheOf(t);
  await use(at, "a", 50, 10);
  writeFileSync(join(at.root, CACHE_NOTES, `${"a".repeat(64)}.use`), "");
  await (await at.enter("b", 50)).release();
  assert.deepEqual(models(at.root), []);
});

test("a model that is larger than the cache is refused with both sizes, and nothing is removed for it", async (t) => {
  const at = cacheOf(t, { limitBytes: 2 ** 30 });
  await use(at, "a", 10, 10);
  await assert.rejects(at.enter("b", 2 ** 31), /NoSpace|needs 2\.00 GiB.*may hold 1\.00 GiB.*spec\.cache\.size/);
  assert.deepEqual(models(at.root), ["a"]);
  // The refused one holds no lock.
  await (await at.enter("b", 1)).release();
});

test("one fetch at a time fills a model's folder; what another fetch holds is not removed", async (t) => {
  const at = cacheOf(t);
  const held = await at.enter("a", 60);
  mkdirSync(cacheFolderOf(at.root, digest("a")));
  const same = at.enter("a", 60);
  const other = at.enter("b", 60);
  await eventually(() => at.said.some((words) => words.startsWith("waiting")), { what: "the second one waits" });
  assert.deepEqual(models(at.root), ["a"]);
  await held.release();
  // Either may be next; both come in the end, and each only while the other is not there.
  await Promise.all([same, other].map(async (place) => (await place).release()));
});

test("no model goes for one that does not fit beside what other fetches hold, whatever goes", async (t) => {
  const at = cacheOf(t);
  await use(at, "c", 10, 300);
  await use(at, "d", 10, 200);
  const held = await at.enter("a", 60);
  const waiting = at.enter("b", 60);
  await eventually(() => at.said.some((words) => words.startsWith("waiting for room")), { what: "it waits for room" });
  assert.deepEqual(models(at.root), ["c", "d"]);
  await held.release();
  await (await waiting).release();
});

test("a fetch that is over listens to nothing any more", async (t) => {
  const at = cacheOf(t);
  for (const digit of ["a", "b", "c"]) await (await at.enter(digit, 60)).release();
  assert.deepEqual(getEventListeners(at.ending.signal, "abort"), []);
});

test(
  "two fetches that would have to remove each other's model both come in the end",
  { timeout: 60_000 },
  async (t) => {
    const at = cacheOf(t, { clock: fast });
    for (let round = 0; round < 20; round++) {
      for (const digit of ["a", "b"]) {
        mkdirSync(cacheFolderOf(at.root, digest(digit)), { recursive: true });
        mkdirSync(join(at.root, CACHE_NOTES), { recursive: true });
        writeFileSync(join(at.root, CACHE_NOTES, `${digit.repeat(64)}.use`), "60");
      }
      const entering = ["a", "b"].map((digit) => at.enter(digit, 60).then((place) => ({ digit, place })));
      const one = await Promise.race(entering);
      assert.deepEqual(models(at.root), [one.digit]);
      await one.place.release();
      await Promise.all(entering.map(async (other) => (await other).place.release()));
    }
  },
);

test(
  "a model is not removed under a fetch that has just come to it, and no two are there that do not fit",
  { timeout: 120_000 },
  async (t) => {
    const at = cacheOf(t, { clock: fast });
    const inside = new Set<string>();
    const visits = async (digit: string): Promise<void> => {
      const marker = join(cacheFolderOf(at.root, digest(digit)), "weights");
      for (let visit = 0; visit < 40; visit++) {
        const place = await at.enter(digit, 60);
        inside.add(digit);
        assert.deepEqual([...inside], [digit]);
        mkdirSync(cacheFolderOf(at.root, digest(digit)), { recursive: true });
        writeFileSync(marker, "");
        for (let look = 0; look < 5; look++) await stat(marker);
        inside.delete(digit);
        await place.release();
      }
    };
    await Promise.all(["a", "b", "c"].map(visits));
  },
);

test("who waits half an hour for others' fetches is told what holds the cache", { timeout: 60_000 }, async (t) => {
  let skippedMs = 0;
  const skipping: Clock = { ...clock, monotonicMs: () => clock.monotonicMs() + skippedMs };
  const at = cacheOf(t, { clock: skipping });
  const held = await at.enter("a", 60);
  const waiting = assert.rejects(at.enter("b", 60), /for half an hour other fetches on this node.*spec\.cache\.size/);
  await eventually(() => at.said.includes("waiting for room in the cache of this node"), {
    what: "it says that it waits",
  });
  skippedMs = 1_900_000;
  await waiting;
  await held.release();
});

test("the lock of a fetch that was killed is taken over after a minute without a heartbeat, and not before", async (t) => {
  const at = cacheOf(t);
  await at.enter("a", 10);
  const lock = join(at.root, CACHE_NOTES, `${"a".repeat(64)}.lock`);
  const beat = (secondsAgo: number): void =>
    utimesSync(lock, Date.now() / 1000 - secondsAgo, Date.now() / 1000 - secondsAgo);
  beat(50);
  const next = at.enter("a", 10);
  await eventually(() => at.said.some((words) => words.startsWith("waiting")), { what: "it waits" });
  beat(61);
  await (await next).release();
  assert.ok(!existsSync(lock));
});

test("who waits is told to stop at once", async (t) => {
  const at = cacheOf(t);
  const held = await at.enter("a", 10);
  const next = at.enter("a", 10);
  at.ending.abort();
  await assert.rejects(next, { name: "AbortError" });
  await held.release();
});

test("a folder that two nodes see is refused by name", async (t) => {
  const at = cacheOf(t);
  await use(at, "a", 1, 1);
  const neighbour = cacheOf(t, { root: at.root, nodeName: "node-2" });
  await assert.rejects(neighbour.enter("a", 1), /belongs to node node-1, and this is node-2.*storage class/);
});

test("wiping leaves nothing, and follows no link", async (t) => {
  const at = cacheOf(t);
  const outside = join(newFolder(t), "keep");
  writeFileSync(outside, "kept");
  await use(at, "a", 1, 1);
  symlinkSync(join(outside, ".."), join(at.root, "link"));
  writeFileSync(join(at.root, ".hidden"), "");
  assert.equal(await wipeCache(at.root), 4);
  assert.deepEqual(readdirSync(at.root), []);
  assert.equal(readFileSync(outside, "utf8"), "kept");
});
