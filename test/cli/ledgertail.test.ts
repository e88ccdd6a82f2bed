/** `berth ledger tail` as a process: follows what is sealed, and ends well at a signal or when nobody reads any more. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { pathToFileURL } from "node:url";

import type { UsageRecord } from "../../operator/api/ledger.ts";
import { eventually } from "../cluster/eventually.ts";
import { sealHour, sealed } from "../controllers/sinkrig.ts";

async function tailed(t: TestContext, ...args: string[]) {
  const { ledger, folder } = await sealed(t, 11);
  const program = join(import.meta.dirname, "../../operator/main.ts");
  const flags = ["--ledger-url", pathToFileURL(join(folder, "ledger")).href, "--interval", "1", ...args];
  const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", program, "ledger", "tail", ...flags]);
  t.after(() => child.kill("SIGKILL"));
  const said = { out: "", err: "" };
  child.stdout.on("data", (piece: Buffer) => (said.out += piece.toString()));
  child.stderr.on("data", (piece: Buffer) => (said.err += piece.toString()));
  const hours = (): readonly string[] => {
    const lines = said.out.split("\n").slice(0, -1);
    return [...new Set(lines.map((line) => (JSON.parse(line) as UsageRecord).windowStart.slice(11, 13)))];
  };
  const sees = (...expected: string[]) =>
    eventually(() => hours().join() === expected.join(), { what: `hours ${expected.join()}`, deadlineMs: 60_000 });
  return { ledger, child, said, sees };
}

const exitOf = async (child: ChildProcess): Promise<unknown[]> =>
  child.exitCode !== null || child.signalCode !== null ? [child.exitCode, child.signalCode] : once(child, "exit");

for (const signal of ["SIGINT", "SIGTERM"] as const)
  test(`tail prints each window once, also those that are sealed while it runs, until ${signal}: exit code 0`, async (t) => {
    const { ledger, child, said, sees } = await tailed(t);
    await sees("11");
    await sealHour(ledger, 12);
    await sees("11", "12");
    child.kill(signal);
    assert.deepEqual(await exitOf(child), [0, null]);
    assert.equal(said.err, "");
    assert.equal(said.out.split("\n").length - 1, 50, "each record once, and the last line whole");
  });

test("tail ends without a word when whoever reads it has gone", async (t) => {
  const { ledger, child, said, sees } = await tailed(t, "-n", "2");
  await sees("10", "11");
  child.stdout?.destroy();
  await sealHour(ledger, 12);
  assert.deepEqual(await exitOf(child), [0, null]);
  assert.equal(said.err, "");
});
