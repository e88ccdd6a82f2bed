// Threads that hash: what they say is tested with what asks them; here, that they leave the event loop its turn.
import assert from "node:assert/strict";
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
