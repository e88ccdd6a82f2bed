// What only a store on a folder does: flushes that are shared, writes past the page cache, folders that come and go beside each other.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { truncate, writeFile } from "node:fs/promises";
import { appendFileSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { newFileStore } from "../../../operator/adapters/store/file.ts";
import { newFolderSync } from "../../../operator/adapters/store/incoming.ts";
import { openPartFile } from "../../../operator/adapters/store/partfile.ts";
import { systemClock } from "../../../operator/runtime/clock.ts";
import { newPartPlaces } from "../../../operator/transfer/places.ts";
import { newFailingDisk } from "../../transfer/failingdisk.ts";

function tempFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "berth-file-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

test("files that are put side by side into folders that come and go are all there at the first try", async (t) => {
  const store = newFileStore(tempFolder(t));
  const keys = Array.from({ length: 400 }, (_, n) => `a/${String(n % 3)}/b/${String(n)}`);
  const queue = keys.values();
  const worker = async (): Promise<void> => {
    for (const key of queue) assert.equal(await store.put(key, new Uint8Array(10), { ifAbsent: true }), "written");
  };
  await Promise.all(Array.from({ length: 8 }, worker));
  const found: string[] = [];
  for await (const { key } of store.list("")) found.push(key);
  assert.deepEqual(found.sort(), keys.sort());
  for await (const { key } of store.listUploads("")) assert.fail(`${key} was left behind`);
});

test("whoever asks for a flush gets one that began after the asking, and shares it", async () => {
  const begun: PromiseWithResolvers<void>[] = [];
  const sync = newFolderSync(() => {
    const flush = Promise.withResolvers<void>();
    begun.push(flush);
    return flush.promise;
  });
  const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  const first = sync("a");
  await turn();
  assert.equal(begun.length, 1);
  const late = [sync("a"), sync("a"), sync("a")];
  const other = sync("b");
  await turn();
  assert.equal(begun.length, 2, "another folder waits for nobody, those of the same for the one that runs");
  begun[0]?.resolve();
  await first;
  await turn();
  assert.equal(begun.length, 3, "one flush for all three");
  begun[1]?.resolve();
  begun[2]?.reject(new Error("no space"));
  await other;
  for (const one of late) await assert.rejects(one, /no space/);
  const again = sync("a");
  await turn();
  begun[3]?.resolve();
  await again;
});

test("names that another process gave are flushed with every folder above them, and what is not there is passed over", async (t) => {
  const root = tempFolder(t);
  const store = newFileStore(root);
  await store.put("a/b/one", new Uint8Array(1));
  await store.put("a/c/other", new Uint8Array(1));
  const disk = newFailingDisk(root);
  t.after(() => disk.restore());
  await newFileStore(root).settle?.(["a/b/one", "a/b/two", "a/c/other", "gone/with/all"]);
  assert.deepEqual(disk.steps.sort(), ["sync ", "sync /a", "sync /a/b", "sync /a/c"]);
  disk.fullAt = "sync /a";
  await assert.rejects(newFileStore(root).settle?.(["a/b/one"]) ?? Promise.resolve(), { name: "RetryError" });
});

test("a line of a journal that was torn takes no part with it that is written after it", async (t) => {
  const root = tempFolder(t);
  const plan = { sizeBytes: 40, partBytes: 10, content: "weights" };
  const begin = () => newFileStore(root).upload("a/weights", plan);
  const first = await begin();
  await first.part(0, new Uint8Array(10), 7);
  await first.leave();
  // As a disk without room leaves it.
  const [name = ""] = readdirSync(join(root, ".incoming/a"));
  appendFileSync(join(root, ".incoming/a", name, "journal"), "1 ab");
  const second = await begin();
  assert.deepEqual([...second.found], [[0, 7]]);
  await second.part(2, new Uint8Array(10), 8);
  await second.leave();
  const third = await begin();
  assert.deepEqual([...third.found], [[0, 7], [2, 8]]); // prettier-ignore
  await third.abort();
});

test("parts come back as they were written, wherever they begin and end and however memory lies", async (t) => {
  const path = join(tempFolder(t), "data");
  const sizeBytes = (1 << 20) + 1234;
  await writeFile(path, "");
  await truncate(path, sizeBytes);
  const file = await openPartFile(path);
  t.after(() => file.close());
  const { buffer } = await newPartPlaces({ clock: systemClock, bufferBytes: 1 << 21, partBytes: 1 << 21 }).take(
    1 << 21,
  );
  const wanted = randomBytes(sizeBytes);
  const into = Buffer.alloc(sizeBytes);
  const cuts = [0, 4096, 8192, 10_000, 500_000, 1 << 19, (1 << 20) - 4096, sizeBytes];
  for (const shift of [0, 1, 512, 4096]) {
    const bytes = buffer.subarray(shift, shift + sizeBytes);
    bytes.set(wanted);
    const pieces = cuts.slice(1).map((end, n) => [cuts[n] ?? 0, end] as const);
    await Promise.all(pieces.map(([from, to]) => file.write(bytes.subarray(from, to), from)));
    await file.sync();
    await file.read(into.fill(0), 0);
    assert.ok(into.equals(wanted), `memory shifted by ${String(shift)}`);
  }
  await assert.rejects(file.read(into, 1), /became shorter/);
});
