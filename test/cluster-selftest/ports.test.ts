import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { clusterDir } from "../cluster/paths.ts";
import { freePort } from "../cluster/process.ts";

const count = 40;

/** Ports that a harness in another process would choose, at the same time as we do. */
async function portsOfAnotherProcess(): Promise<number[]> {
  const module = JSON.stringify(join(clusterDir, "process.ts"));
  const program = `import { freePort } from ${module}; for (let i = 0; i < ${String(count)}; i++) console.log(await freePort());`;
  const args = ["--input-type=module", "--eval", program];
  const { stdout } = await promisify(execFile)(process.execPath, args);
  return stdout.trim().split("\n").map(Number);
}

test("two harnesses that start together are given different ports, none of them a client's", async () => {
  const theirs = portsOfAnotherProcess();
  const ours: number[] = [];
  while (ours.length < count) ours.push(await freePort());
  const all = [...ours, ...(await theirs)];
  assert.equal(new Set(all).size, 2 * count);
  assert.ok(all.every((port) => port >= 1024 && port < 32_768));
});
