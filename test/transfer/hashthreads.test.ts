// Threads that hash: that they leave the event loop its turn, that a dead one refuses, and the checksum that stands in no standard.
import assert from "node:assert/strict";
import { createCipheriv } from "node:crypto";
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { Worker } from "node:worker_threads";
import { newFileStore } from "../../operator/adapters/store/file.ts";
import { newObjectHasher } from "../../operator/transfer/filehash.ts";
import { newHashThreads } from "../../operator/transfer/hashthreads.ts";

/** By thread, from Linux's own count. */
function nicenesses(): number[] {
  return readdirSync("/proc/self/task").map((thread) => {
    const stat = readFileSync(`/proc/self/task/${thread}/stat`, "utf8");
    return Number(stat.slice(stat.lastIndexOf(")")).split(" ")[17]);
  });
}

test("a thread that hashes has less priority than all others", { skip: process.platform !== "linux" }, async () => {
  const before = Math.max(...nicenesses());
  const threads = newHashThreads(1);
  await threads.crc32(new Uint8Array(new SharedArrayBuffer(1)));
  const after = nicenesses();
  assert.equal(Math.max(...after), Math.min(19, before + 10));
  assert.equal(after.filter((niceness) => niceness > before).length, 1);
  await threads.close();
});

test("the checksum of a journal's parts is the beginning of GCM's tag over nothing but the part, and a changed bit changes it", async () => {
  const threads = newHashThreads(1);
  const bytes = new Uint8Array(new SharedArrayBuffer(100_003)).fill(7);
  const tagOf = (of: Uint8Array): number => {
    const mac = createCipheriv("aes-128-gcm", Buffer.alloc(16), Buffer.alloc(12)).setAAD(Buffer.from(of));
    mac.final();
    return mac.getAuthTag().readUInt32LE(0);
  };
  const before = await threads.gmac32(bytes);
  assert.equal(before, tagOf(bytes));
  bytes[99_999] = 6;
  assert.notEqual(await threads.gmac32(bytes), before);
  assert.equal(await threads.gmac32(bytes), tagOf(bytes));
  await threads.close();
});

/** The threads that `work` starts, in order. */
async function startedBy<T>(
  work: () => T | Promise<T>,
): Promise<{ readonly workers: readonly Worker[]; readonly result: T }> {
  const workers: Worker[] = [];
  const see = (worker: Worker): void => void workers.push(worker);
  process.on("worker", see);
  const result = await work();
  // They are told of a moment after they were made.
  await new Promise((resolve) => setImmediate(resolve));
  process.off("worker", see);
  return { workers, result };
}

/** Ends a thread as a fault of its own would: what it is sent makes it throw. */
async function killed(worker: Worker | undefined): Promise<void> {
  assert.ok(worker);
  const gone = new Promise((resolve) => worker.once("exit", resolve));
  worker.postMessage(undefined);
  await gone;
}

test(
  "what is asked of a hash thread that died is refused, whether its hash had begun or not",
  { timeout: 10_000 },
  async () => {
    const threads = newHashThreads(1);
    const bytes = new Uint8Array(new SharedArrayBuffer(8));
    const { workers, result: begun } = await startedBy(() => threads.open());
    await begun.update(bytes);
    await killed(workers[0]);
    const died = { name: "TypeError" };
    await assert.rejects(begun.update(bytes), died);
    await assert.rejects(begun.digest(), died);
    await assert.rejects(threads.open().update(bytes), died);
    for (const count of [threads.crc32, threads.gmac32]) await assert.rejects(count(bytes), died);
    await assert.rejects(threads.crc64(bytes, 0n), died);
    await threads.close();
  },
);

test("a thread that reads files and died refuses the next file", { timeout: 10_000 }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "berth-hash-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  writeFileSync(join(folder, "a"), "weights");
  const { workers, result: hasher } = await startedBy(() => newObjectHasher(newFileStore(folder)));
  assert.equal((await hasher.hash("a", 7)).sizeBytes, 7);
  for (const worker of workers) await killed(worker);
  await assert.rejects(hasher.hash("a", 7), { name: "TypeError" });
  await hasher.close();
});
