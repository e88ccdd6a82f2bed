/** What lies at a segment's place before its window is sealed: taken in only where Berth could have written it. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { pathToFileURL } from "node:url";
import { openLedger } from "../../operator/adapters/ledger/open.ts";
import type { MeteredObjects } from "../../operator/controllers/facts.ts";
import { parseLine, readSealed } from "../../operator/controllers/ledgerreads.ts";
import { verifyLedger } from "../../operator/controllers/verify.ts";
import { canonicalBytes } from "../../operator/plan/metering/canonical.ts";
import { historiesOf } from "../../operator/plan/metering/history.ts";
import { shardOf } from "../../operator/plan/metering/identity.ts";
import { metersOf } from "../../operator/plan/metering/records.ts";
import { isEvidence, lineChunks, newTally, usageLines } from "../../operator/plan/metering/segment.ts";
import type { Line } from "../../operator/plan/metering/segment.ts";
import type { Window } from "../../operator/plan/metering/windows.ts";
import type { Ledger } from "../../operator/ports.ts";
import { hour } from "../plan/metering/histories.ts";
import { CLUSTER, claim, pool } from "./meteringobjects.ts";
import { sealerAt } from "./sealerrig.ts";

function freshLedger(t: TestContext): { readonly folder: string; readonly ledger: Ledger } {
  const folder = mkdtempSync(join(tmpdir(), "berth-ledger-"));
  t.after(() => rmSync(folder, { recursive: true }));
  return { folder, ledger: openLedger({ url: pathToFileURL(folder).href }) };
}

test("an hour whose object has gone from the ledger is named", async (t) => {
  const { ledger } = freshLedger(t);
  const key = "v1/dt=2026-01-01/hr=10/manifest.json";
  await assert.rejects(readSealed(ledger, key), { reason: "LedgerObjectMissing", message: new RegExp(key) });
});

const names = ["a", "b", "c", "d", "e", "f", "g", "h"];
const ofShard = (shard: number) => names.filter((name) => shardOf(`uid-${name}`, 2) === shard);

const factsOf = (deployments: readonly string[]): MeteredObjects => ({
  deployments: [],
  pools: deployments.map((deployment) => pool({ deployment, sizes: [["10:10:00", 1]] })),
  claims: deployments.map((deployment) => claim({ id: `c-${deployment}`, deployment, claimed: "10:20:00" })),
});

function linesOf(deployments: readonly string[], window: Window = hour(11), cluster = CLUSTER): Line[] {
  return [...usageLines(metersOf(historiesOf({ ...factsOf(deployments), closings: [] })), window, cluster)];
}

const put = (ledger: Ledger, key: string, lines: readonly Line[]) =>
  ledger.putOnce(key, lineChunks(lines, newTally().add));

const sealAt = (ledger: Ledger, at: string, objects = factsOf(names), shards = 2) =>
  sealerAt({ ledger, at, objects, shards }).sealer.pass();

const second = "v1/dt=2026-11-21/hr=11/shard=01/segment-r0.ndjson.gz";
const manifest = "v1/dt=2026-11-21/hr=11/manifest.json";

test("what Berth does not write at a segment's place stops sealing with its key, its fault and a remedy; once it is gone, sealing goes on", async (t) => {
  const own = linesOf(ofShard(1));
  const raw = async (folder: string, bytes: Uint8Array) => {
    await mkdir(dirname(join(folder, second)), { recursive: true });
    await writeFile(join(folder, second), bytes);
  };
  const wrong: Readonly<Record<string, (ledger: Ledger, folder: string) => Promise<unknown>>> = {
    "it cannot be read as one": (ledger) => ledger.putOnce(second, canonicalBytes({})),
    "it cannot be read as one;": (_, folder) => raw(folder, Buffer.from("no gzip")),
    "it is empty": (ledger) => ledger.putOnce(second, Buffer.alloc(0)),
    "line 1 belongs to another shard": (ledger) => put(ledger, second, linesOf(ofShard(0))),
    "line 2 belongs to another window or cluster": (ledger) =>
      put(ledger, second, linesOf(ofShard(1), hour(11), "11111111-0000-4000-8000-000000000000")),
    "line 1 belongs to another window or cluster": (ledger) =>
      put(ledger, second, linesOf(ofShard(1), { start: hour(11).start, end: hour(11).end + 3600 })),
    "line 2 does not add up": (ledger) =>
      put(
        ledger,
        second,
        own.map((line) => (isEvidence(line) ? line : { ...line, billableNodeSeconds: 1 })),
      ),
    "line 1 has no evidence before it": (ledger) =>
      put(
        ledger,
        second,
        own.filter((line) => !isEvidence(line)),
      ),
  };
  for (const [fault, harm] of Object.entries(wrong)) {
    const { ledger, folder } = freshLedger(t);
    await sealAt(ledger, "11:06:00");
    await harm(ledger, folder);
    await assert.rejects(sealAt(ledger, "12:06:00"), (error: Error & { reason?: string }) => {
      assert.equal(error.reason, "LedgerSegmentForeign", `${fault}: ${error.message}`);
      assert.ok(error.message.startsWith(`${second} was there before its window was sealed`), error.message);
      assert.ok(error.message.includes(`: ${fault}`) && error.message.includes("move it out"), error.message);
      return true;
    });
    assert.equal(await ledger.get(manifest), undefined, fault);
    await ledger.remove(second);
    await sealAt(ledger, "12:06:00");
    assert.deepEqual((await verifyLedger(ledger)).findings, [], fault);
  }
});

test("what a process left that died, and that knew less, is taken in; verify has nothing to say of it, nor has it after the next window", async (t) => {
  const { ledger } = freshLedger(t);
  await sealAt(ledger, "11:06:00");
  await put(ledger, second, linesOf(ofShard(1).slice(0, 1)));
  await sealAt(ledger, "12:06:00");
  const { records } = await readSealed(ledger, manifest);
  assert.equal(records.length, ofShard(0).length + 1);
  assert.deepEqual((await verifyLedger(ledger)).findings, []);
  await sealAt(ledger, "13:06:00");
  assert.deepEqual((await verifyLedger(ledger)).findings, []);
});

test("a dead process's adjustments are taken in by one that does not know them; the same once more, after they were sealed, are not", async (t) => {
  const single = "v1/dt=2026-11-21/hr=11/segment-r0.ndjson.gz";
  const [late, early] = [factsOf(["a"]), { ...factsOf(["a"]), claims: [] }];
  const [{ ledger: other }, { ledger }] = [freshLedger(t), freshLedger(t)];
  for (const one of [other, ledger]) await sealAt(one, "11:06:00", early, 1);
  await sealAt(other, "12:06:00", late, 1);
  const stored = Buffer.from((await other.get(single)) ?? []);
  await ledger.putOnce(single, stored);
  await sealAt(ledger, "12:06:00", early, 1);
  const { manifest: sealed } = await readSealed(ledger, manifest);
  assert.deepEqual(sealed.adjusts, ["2026-11-21T10:00:00Z/2026-11-21T11:00:00Z"]);
  assert.deepEqual((await verifyLedger(ledger)).findings, []);

  const lines = stored.toString().trimEnd().split("\n").map(parseLine);
  const again = lines.filter(({ windowStart }) => windowStart === "2026-11-21T10:00:00Z");
  assert.equal(again.length, 2);
  await put(ledger, single.replace("hr=11", "hr=12"), [...linesOf(["a"], hour(12)), ...again]);
  await assert.rejects(sealAt(ledger, "13:06:00", late, 1), {
    reason: "LedgerSegmentForeign",
    message: /line 4 does not lead to what its evidence gives/,
  });
});
