/** What retention removed is never billed anew, whatever became of the marks in the cluster. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";

import { openLedger } from "../../operator/adapters/ledger/open.ts";
import { CHECKPOINT_SCHEMA } from "../../operator/api/ledger.ts";
import { canonicalBytes } from "../../operator/plan/metering/canonical.ts";
import { readSealed, sealedKeys } from "../../operator/controllers/ledgerreads.ts";
import { planRetention, retain } from "../../operator/controllers/retention.ts";
import { checkpointKey, secondsOf } from "../../operator/plan/metering/windows.ts";
import { claim, pool } from "./meteringobjects.ts";
import { sealerAt } from "./sealerrig.ts";

const on = (time: string): string => `2026-11-${time}Z`;
const { metadata, ...shape } = pool({ deployment: "chat", sizes: [] });
const chat = { ...shape, metadata, status: { sizeLog: [{ since: on("21T20:00:00"), size: 1, account: "team-a" }] } };
const at = { time: on("21T20:00:00"), evidence: "Node/metadata.managedFields[berth-claim].time" };

test("a claim without its mark that is older than what is kept is adjusted from the checkpoint on alone", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "berth-removed-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const ledger = openLedger({ url: pathToFileURL(folder).href });
  // Nothing marks it: as after a restore that drops statuses, and as where the record was removed by force and made anew.
  const claims = [{ ...claim({ id: "n1", deployment: "chat" }), status: { claimedAt: at, readyAt: at } }];
  const pass = (time: string) =>
    sealerAt({ ledger, at: on(time), objects: { deployments: [], pools: [chat], claims } }).sealer.pass();
  await pass("23T01:06:00");
  const plan = await planRetention(ledger, { before: secondsOf(on("22T00:00:00")), sinks: [], ignored: [] });
  await retain(ledger, plan, undefined);
  assert.deepEqual(plan.days, ["2026-11-21"]);
  await pass("23T02:06:00");
  const { records } = await readSealed(ledger, (await sealedKeys(ledger, 0, Infinity)).at(-1) ?? "");
  assert.deepEqual(
    records.map(({ kind, windowStart, billableNodeSeconds }) => [kind, windowStart, billableNodeSeconds]),
    [["usage", on("23T01:00:00"), 3600]],
  );
});

test("a checkpoint that retention did not write ends no late knowledge: it is named, and nothing is sealed", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "berth-planted-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const ledger = openLedger({ url: pathToFileURL(folder).href });
  const held = (id: string) => ({ ...claim({ id, deployment: "chat" }), status: { claimedAt: at, readyAt: at } });
  const pool = { ...chat, status: { sizeLog: [{ since: on("21T20:00:00"), size: 2, account: "team-a" }] } };
  const pass = (time: string, claims = [held("n1"), held("n2")]) =>
    sealerAt({ ledger, at: on(time), objects: { deployments: [], pools: [pool], claims } }).sealer.pass();
  await pass("22T02:06:00", [held("n1")]);
  const [first = ""] = await sealedKeys(ledger, 0, Infinity);
  const { manifest, sha256 } = await readSealed(ledger, first);
  const none = { ...manifest.totals };
  const planted = (over: object) =>
    canonicalBytes({
      ...{ schema: CHECKPOINT_SCHEMA, cluster: manifest.cluster, removedThrough: on("23T00:00:00") },
      ...{ lastManifestSha256: sha256, windows: 1, records: 1, totals: none, ...over },
    });
  const ends = [
    { removedThrough: on("23T00:00:00") },
    { removedThrough: on("22T01:00:00"), lastManifestSha256: "0".repeat(64) },
  ];
  for (const over of ends) {
    const key = checkpointKey(secondsOf(over.removedThrough));
    await ledger.putOnce(key, planted(over));
    await assert.rejects(pass("23T02:06:00"), { reason: "LedgerObjectDamaged", message: new RegExp(key) });
    await ledger.remove(key);
  }
  await pass("23T02:06:00");
  const { records } = await readSealed(ledger, (await sealedKeys(ledger, 0, Infinity)).at(-1) ?? "");
  assert.ok(records.length > 0);
  const adjusted = [];
  for (const key of await sealedKeys(ledger, secondsOf(on("22T02:00:00")), Infinity))
    adjusted.push(...(await readSealed(ledger, key)).records.filter(({ kind }) => kind === "adjustment"));
  assert.deepEqual(
    adjusted.map(({ billableNodeSeconds }) => billableNodeSeconds),
    Array.from({ length: 6 }, () => 3_600),
    "the second node's hours from 20:00 to 02:00",
  );
});
