// Imports that take longer than the collection of garbage waits, on both kinds of store: what is alive is left alone, however long ago it began.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readdir, utimes } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { crc32 } from "node:zlib";
import { CLAIM_KEY } from "../../operator/plan/model/manifest.ts";
import { nothingKnown } from "../../operator/plan/store/inuse.ts";
import type { ObjectStore } from "../../operator/ports.ts";
import { systemClock } from "../../operator/runtime/clock.ts";
import { collectGarbage } from "../../operator/transfer/garbage.ts";
import { importModel } from "../../operator/transfer/import.ts";
import { newPartPlaces } from "../../operator/transfer/places.ts";
import { newSlots } from "../../operator/transfer/slots.ts";
import { eventually } from "../cluster/eventually.ts";
import { startS3 } from "../cluster/s3.ts";
import type { S3Server } from "../cluster/s3.ts";
import { safetensors, tinyModel, uploadFiles } from "../models/tiny.ts";
import { hooked, jobFor, kinds, newObserver, newSource, newStore } from "./bench.ts";
import type { Seen } from "./bench.ts";

const PART = 5 << 20;
const DAY_MS = 86_400_000;
const folder = "models/local/m/1/";
const weightBytes = PART * 8;
const weights = safetensors({ w: { dtype: "U8", shape: [weightBytes], data_offsets: [0, weightBytes] } }, weightBytes);

let s3: S3Server;
before(async () => {
  s3 = await startS3();
  await s3.createBucket("source");
  const client = s3.client();
  await uploadFiles(client, "source", "m/", tinyModel({ "model.safetensors": weights }));
  client.destroy();
});
after(() => s3.stop());

const rootOf = ({ url }: ObjectStore): string =>
  url.startsWith("file:") ? fileURLToPath(url) : join(s3.dir, url.split("/")[2] ?? "");

/** Sets back by two days when everything in the store was written, or what is chosen. */
async function age(store: ObjectStore, isChosen: (path: string) => boolean = () => true): Promise<void> {
  const root = rootOf(store);
  const then = new Date(Date.now() - 2 * DAY_MS);
  for (const path of (await readdir(root, { recursive: true })).filter(isChosen))
    await utimes(join(root, path), then, then);
}

/** What would be collected, or is. */
async function collected(store: ObjectStore, act: boolean): Promise<string[]> {
  const options = { inUse: nothingKnown, now: Date.now(), olderThanMs: DAY_MS, act };
  const { fences, removals } = await collectGarbage(store, options);
  return [...new Set([...fences, ...removals].map((one) => one.folder))];
}

async function begin(t: TestContext, store: ObjectStore, key: string) {
  const bytes = randomBytes(2 * PART + 9);
  const upload = await store.upload(key, { sizeBytes: bytes.length, partBytes: PART, content: "one" });
  t.after(() => upload.leave());
  const part = (number: number): Promise<void> => {
    const piece = bytes.subarray(number * PART, (number + 1) * PART);
    return upload.part(number, piece, crc32(piece));
  };
  return { part, commit: () => upload.commit(crc32(bytes)) };
}

/** An import that has died in its middle two days ago, and a second one that waits for its turn. `remind` lets ten minutes pass. */
async function newWaiting(t: TestContext, kind: (typeof kinds)[number]) {
  const store = await newStore(t, s3, kind);
  const source = newSource(t, s3, "source");
  const owner = { namespaceUID: "local", modelUID: "m" };
  const places = () => newPartPlaces({ clock: systemClock, bufferBytes: PART, partBytes: PART });
  const stop = new AbortController();
  const dying: Seen = newObserver({ bytes: () => dying.copiedBytes >= 5 * PART && stop.abort() });
  const first = { source, store, owner, prefix: "m", places: places(), observer: dying, signal: stop.signal };
  await assert.rejects(importModel(jobFor(first)), { name: "AbortError" });
  await age(store);
  const copies = newSlots(1);
  const turn = await copies.take();
  const reminders = new Set<() => void>();
  const after = (delayMs: number, run: () => void): (() => void) => {
    if (delayMs !== 600_000) return systemClock.after(delayMs, run);
    reminders.add(run);
    return () => void reminders.delete(run);
  };
  const observer = newObserver();
  const clock = { ...systemClock, after };
  const result = importModel(jobFor({ source, store, owner, prefix: "m", places: places(), copies, clock, observer }));
  const remind = async (): Promise<void> => {
    await eventually(() => reminders.size > 0, { what: "it will speak again", deadlineMs: 5_000 });
    for (const run of reminders) {
      reminders.delete(run);
      run();
    }
  };
  return { store, waiting: { result, observer }, remind, turn };
}

for (const kind of kinds) {
  test(`${kind}: an upload whose parts go on coming is alive, however long ago it was begun`, async (t) => {
    const store = await newStore(t, s3, kind);
    const { part, commit } = await begin(t, store, `${folder}weights`);
    await part(0);
    await age(store);
    assert.deepEqual(await collected(store, false), [folder], "nothing was written for two days");
    await part(1);
    // This server renews with each part what it says of the whole upload; others keep to when it was begun.
    if (kind === "s3") await age(store, (path) => !/\/2$/.test(path));
    assert.deepEqual(await collected(store, true), []);
    await part(2);
    assert.equal(await commit(), "written");
  });

  test(`${kind}: an import that only reads again what an earlier attempt had brought is alive`, async (t) => {
    const store = await newStore(t, s3, kind);
    const source = newSource(t, s3, "source");
    const owner = { namespaceUID: "local", modelUID: "m" };
    let skippedMs = 0;
    const clock = { ...systemClock, monotonicMs: () => systemClock.monotonicMs() + skippedMs };
    const places = () => newPartPlaces({ clock: systemClock, bufferBytes: PART, partBytes: PART });
    const stop = new AbortController();
    const observer: Seen = newObserver({ bytes: () => observer.copiedBytes >= 5 * PART && stop.abort() });
    const first = { source, store, owner, prefix: "m", places: places(), observer, signal: stop.signal };
    await assert.rejects(importModel(jobFor(first)), { name: "AbortError" });
    await age(store);
    assert.deepEqual(await collected(store, false), [folder]);
    const isLeftAlone = (): Promise<unknown> =>
      eventually(async () => (await collected(store, false)).length === 0, { what: "it is alive", deadlineMs: 5_000 });
    let reads = 0;
    /** Before each part that is read again; parts come one after the other. */
    const reading = async (): Promise<void> => {
      reads++;
      if (reads === 1 || reads === 3) await isLeftAlone();
      if (reads !== 2) return;
      await age(store);
      skippedMs += 60 * 60_000;
    };
    const watched = hooked(source, async ({ key }) => {
      if (kind === "s3" && key.endsWith(".safetensors")) await reading();
    });
    const upload: ObjectStore["upload"] = async (...args) => {
      const begun = await store.upload(...args);
      const { readBack } = begun;
      return readBack ? { ...begun, readBack: async (...one) => (await reading(), readBack(...one)) } : begun;
    };
    const again = {
      source: watched,
      store: { ...store, upload },
      owner,
      prefix: "m",
      places: places(),
      clock,
    };
    const result = await importModel(jobFor(again));
    assert.deepEqual([result.kind, reads >= 3], ["imported", true]);
  });

  test(`${kind}: an import that waits for its turn holds what an earlier attempt had brought`, async (t) => {
    const { store, waiting, remind, turn } = await newWaiting(t, kind);
    const isLeftAlone = (): Promise<unknown> =>
      eventually(async () => (await collected(store, false)).length === 0, { what: "it is alive", deadlineMs: 5_000 });
    await isLeftAlone();
    await age(store);
    assert.deepEqual(await collected(store, false), [folder]);
    await remind();
    await isLeftAlone();
    turn();
    const result = await waiting.result;
    assert.deepEqual([result.kind, waiting.observer.skippedBytes >= 5 * PART], ["imported", true]);
    for await (const { key } of store.list(folder)) assert.doesNotMatch(key, /importing/);
  });

  test(`${kind}: an import whose place was given up while it waited takes the next one, and copies once`, async (t) => {
    const { store, waiting, turn } = await newWaiting(t, kind);
    const hasSpoken = async (): Promise<boolean> => (await store.head(`${folder}${CLAIM_KEY}`)) !== undefined;
    await eventually(hasSpoken, { what: "it waits", deadlineMs: 5_000 });
    await age(store);
    assert.deepEqual(await collected(store, true), [folder]);
    turn();
    const result = await waiting.result;
    assert.ok(result.kind === "imported");
    assert.deepEqual(result.revisions.map(({ number }) => number), [2]); // prettier-ignore
    const { sizeBytes } = result.revisions[0] ?? assert.fail();
    assert.equal(waiting.observer.copiedBytes, sizeBytes);
    const left: string[] = [];
    for await (const { key } of store.list(folder)) left.push(key);
    assert.deepEqual(left, [`${folder}MANIFEST.json`], "nothing was written under the tombstone");
  });
}
