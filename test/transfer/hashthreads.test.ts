// Threads that hash: that they leave the event loop its turn, and the checksum that stands in no standard.
import assert from "node:assert/strict";
import { createCipheriv } from "node:crypto";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";
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

test("with a key it is the whole tag", async () => {
  const threads = newHashThreads(1);
  const bytes = new Uint8Array(new SharedArrayBuffer(100_003)).fill(7);
  const [key, nonce] = [new Uint8Array(32).fill(1), new Uint8Array(12).fill(2)];
  const mac = createCipheriv("aes-256-gcm", key, nonce).setAAD(Buffer.from(bytes));
  mac.final();
  assert.equal(await threads.gmac(bytes, { key, nonce }), mac.getAuthTag().toString("hex"));
  await threads.close();
});
