/** A leader that runs on while somebody with the bucket's keys plants windows, takes them away again, or rewrites its newest one. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { pathToFileURL } from "node:url";

import { openLedger } from "../../operator/adapters/ledger/open.ts";
import { usageReport } from "../../operator/api/usage.ts";
import { putClosing } from "../../operator/controllers/closing.ts";
import { newHeadKeeper } from "../../operator/controllers/clusterhead.ts";
import type { MeteredObjects } from "../../operator/controllers/facts.ts";
import { newUsageSource } from "../../operator/controllers/usage.ts";
import { verifyLedger } from "../../operator/controllers/verify.ts";
import { secondsOf } from "../../operator/plan/metering/windows.ts";
import type { Ledger } from "../../operator/ports.ts";
import { testCluster, testNamespace } from "../cluster/session.ts";
import { aRecord } from "../plan/rating/samples.ts";
import { newRig } from "../runtime/rig.ts";
import { CLUSTER } from "./meteringobjects.ts";
import { dump, gone, running, sealerAt } from "./sealerrig.ts";
import type { Setup } from "./sealerrig.ts";
import { sealRecords } from "./sealrecords.ts";

const manifest = (hour: number) => `v1/dt=2026-11-21/hr=${hour}/manifest.json`;
const hourMs = 3_600_000;

async function folderLedger(t: TestContext): Promise<Ledger> {
  const folder = await mkdtemp(join(tmpdir(), "berth-planted-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return openLedger({ url: pathToFileURL(folder).href });
}

/** 10:00 is sealed, and the leader lives on. */
async function leading(t: TestContext, setup: Partial<Setup> = {}) {
  const namespace = await testNamespace(t);
  const { kube } = newRig(t, await testCluster(), { userAgent: "sealer-planted" });
  const keeper = () => newHeadKeeper({ kube, namespace });
  const ledger = await folderLedger(t);
  const leader = sealerAt({ ledger, at: "11:06:00", headKeeper: keeper(), ...setup });
  await leader.sealer.pass();
  return { ...leader, ledger, keeper };
}

/** In the form of a real window, for `hour`. */
async function plant(ledger: Ledger, hour: number): Promise<void> {
  const text = Buffer.from((await ledger.get(manifest(10))) ?? []).toString();
  await ledger.putOnce(
    manifest(hour),
    Buffer.from(text.replaceAll("T11:", `T${hour + 1}:`).replaceAll("T10:", `T${hour}:`)),
  );
}

test("a planted window that is taken away again leaves nothing in a leader that runs on", async (t) => {
  const wanted = await leading(t);
  wanted.clock.advance(2 * hourMs);
  await wanted.sealer.pass();
  for (const hour of [11, 20]) {
    const { ledger, sealer, clock, keeper } = await leading(t);
    await plant(ledger, hour);
    clock.advance(hourMs);
    await assert.rejects(sealer.pass(), { reason: "LedgerHeadForeign" });
    await ledger.remove(manifest(hour));
    await sealer.pass();
    assert.equal((await keeper().read())?.key, manifest(11), `planted at ${hour}`);
    clock.advance(hourMs);
    await sealer.pass();
    assert.deepEqual(await dump(ledger), await dump(wanted.ledger), `planted at ${hour}`);
    assert.deepEqual((await verifyLedger(ledger, { kept: await keeper().read() })).findings, []);
  }
});

test("one that goes between two requests of a pass is not kept as the head", async (t) => {
  const ledger = await folderLedger(t);
  const fleeting: Ledger = {
    ...ledger,
    async get(key) {
      const bytes = await ledger.get(key);
      if (key === manifest(20)) await ledger.remove(key);
      return bytes;
    },
  };
  const { sealer, clock, keeper } = await leading(t, { ledger: fleeting });
  await plant(ledger, 20);
  clock.advance(hourMs);
  await sealer.pass();
  assert.equal((await keeper().read())?.key, manifest(11));
});

test("until it is known as ours nobody is told that a planted window is sealed, and the lag goes on", async (t) => {
  const noted: number[] = [];
  const { ledger, sealer, clock, keeper } = await leading(t);
  await plant(ledger, 20);
  clock.advance(3 * hourMs);
  const noteSealed = (end: number): void => void noted.push(end);
  const next = sealerAt({ ledger, at: "14:06:00", headKeeper: keeper(), noteSealed });
  await assert.rejects(next.sealer.pass(), { reason: "LedgerHeadForeign" });
  await assert.rejects(sealer.pass(), { reason: "LedgerHeadForeign" });
  assert.deepEqual(noted, []);
  next.sealer.start();
  // The window from 11:00 ended at 12:00.
  assert.match(await next.registry.metrics(), /^berth_ledger_seal_lag_seconds 7560$/m);
  await next.sealer.stop();
});

test("a head that is cut off or rewritten after a pass that sealed nothing is noticed by the next one", async (t) => {
  const forged = (text: string) => Buffer.from(text.replace('"billableNodeSeconds":', '"billableNodeSeconds":1'));
  for (const [what, told] of [
    ["rewritten", /hr=11\/manifest\.json in the ledger was rewritten/],
    ["cut off", /hr=11\/manifest\.json in the ledger is gone/],
  ] as const) {
    const objects: MeteredObjects = { deployments: [], pools: [], claims: [] };
    const ledger = await folderLedger(t);
    await putClosing(ledger, gone);
    const { sealer, clock } = await leading(t, { ledger, objects });
    for (let pass = 0; pass < 3; pass++) {
      clock.advance(hourMs);
      await sealer.pass();
    }
    const text = Buffer.from((await ledger.get(manifest(11))) ?? []).toString();
    assert.notEqual(text, "", "gone was held until 11:23");
    await ledger.remove(manifest(11));
    if (what === "rewritten") await ledger.putOnce(manifest(11), forged(text));
    Object.assign(objects, running);
    clock.advance(hourMs);
    await assert.rejects(sealer.pass(), told);
  }
});

test("the page of usage remembers neither the watermark nor the records of a window that is gone", async (t) => {
  const { ledger, sealer, clock } = await leading(t);
  const usage = newUsageSource({ ledger, clock, clusterId: CLUSTER, windowSeconds: 3600 });
  const day = { from: secondsOf("2026-11-21T00:00:00Z"), to: secondsOf("2026-11-22T00:00:00Z"), limit: 100 };
  const seen = async () => {
    const { sealedThrough, records } = usageReport.parse(await usage(day, () => Promise.resolve(true)));
    return [sealedThrough, ...records.map(({ billableNodeSeconds }) => billableNodeSeconds)];
  };
  assert.deepEqual(await seen(), ["2026-11-21T11:00:00Z", 2740]);
  const start = secondsOf("2026-11-21T11:00:00Z");
  await sealRecords(ledger, { start, end: start + 3600 }, [aRecord({ hour: 11, billable: 180_000 })]);
  assert.deepEqual(await seen(), ["2026-11-21T12:00:00Z", 2740, 180_000]);
  for (const key of await ledger.list("v1/dt=2026-11-21/hr=11/")) await ledger.remove(key);
  clock.advance(hourMs);
  await sealer.pass();
  assert.deepEqual(await seen(), ["2026-11-21T12:00:00Z", 2740, 4620]);
  await ledger.remove(manifest(11));
  assert.deepEqual(await seen(), ["2026-11-21T11:00:00Z", 2740]);
});
