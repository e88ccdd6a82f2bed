/** Sinks deliver what the head in the cluster vouches for, over the real API server: not what somebody with the bucket's keys put in. */
import assert from "node:assert/strict";
import { mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { pathToFileURL } from "node:url";

import { openLedger } from "../../operator/adapters/ledger/open.ts";
import { HEAD_LEASE, headLeases, newHeadKeeper } from "../../operator/controllers/clusterhead.ts";
import { newVouchedWindows } from "../../operator/controllers/vouched.ts";
import { canonicalBytes } from "../../operator/plan/metering/canonical.ts";
import { manifestKey, secondsOf } from "../../operator/plan/metering/windows.ts";
import { quarantineKey, replayPrefix } from "../../operator/plan/sinks/keys.ts";
import type { Ledger } from "../../operator/ports.ts";
import { testCluster, testNamespace } from "../cluster/session.ts";
import { aPriceList, aRecord } from "../plan/rating/samples.ts";
import { newRig } from "../runtime/rig.ts";
import { running, sealerAt } from "./sealerrig.ts";
import { receiver } from "./sinkbed.ts";
import { folderFor, sealHour, sinkOn } from "./sinkrig.ts";

const windowAt = (hour: number) => {
  const start = secondsOf("2026-11-21T00:00:00Z") + hour * 3600;
  return { start, end: start + 3600 };
};
const manifest = (hour: number) => manifestKey(windowAt(hour));

/** A ledger, the Lease of its head, and a sink on what that vouches for; hours up to `last` are sealed. */
async function world(t: TestContext, last: number) {
  const namespace = await testNamespace(t);
  const { kube } = newRig(t, await testCluster(), { userAgent: "sink-planted" });
  const keeper = () => newHeadKeeper({ kube, namespace });
  const folder = await folderFor(t);
  const ledger = openLedger({ url: pathToFileURL(join(folder, "ledger")).href });
  const there = await receiver(t);
  const vouched = (on: Ledger = ledger) => newVouchedWindows(on, keeper().read);
  const sealTo = (hour: number) =>
    sealerAt({ ledger, at: `${hour + 1}:06:00`, objects: running, headKeeper: keeper() }).sealer.pass();
  const given = { type: "cloudevents", url: there.url };
  const sinkNow = (on = vouched()) => sinkOn(ledger, given, undefined, on);
  /** Hours whose usage was sent, also where it was refused. */
  const received = async () => {
    const { requests } = await there.seen();
    const events = requests.flatMap(({ body }) => JSON.parse(body) as { time: string }[]);
    return [...new Set(events.map(({ time }) => Number(time.slice(11, 13))))];
  };
  const ask = (name: string, request: object) => {
    const range = { from: "2026-11-21T00:00:00Z", to: "2026-11-22T00:00:00Z" };
    const body = canonicalBytes({ schema: "berth.dev/sink-replay.v1", ...range, ...request });
    return ledger.putOnce(`${replayPrefix("billing")}${name}.json`, body);
  };
  const forgetHead = () => kube.remove(headLeases, namespace, HEAD_LEASE);
  await sealTo(last);
  return { ledger, folder, keeper, vouched, there, sealTo, sinkNow, received, ask, forgetHead };
}

/** In good form, with a segment of its own. */
const plant = (ledger: Ledger, hour: number) => sealHour(ledger, hour, [aRecord({ hour, billable: 180_000 })]);

test("a window planted after the head is delivered to nobody while sealing is stopped, and the lag says that it waits", async (t) => {
  const { ledger, sealTo, sinkNow, received } = await world(t, 10);
  await plant(ledger, 11);
  await assert.rejects(sealTo(11), { reason: "LedgerHeadForeign" });
  const { sink, registry } = sinkNow();
  assert.equal(await sink.pass(), 1);
  assert.deepEqual(await received(), [10]);
  sink.start();
  // Since 11:00, the begin of the window that is there; it is 13:00.
  assert.match(await registry.metrics(), /^berth_sink_oldest_unacked_seconds\{sink="billing"\} 7200$/m);
  await sink.stop();
  for (const key of await ledger.list("v1/dt=2026-11-21/hr=11/")) await ledger.remove(key);
  await sealTo(11);
  assert.equal(await sinkNow().sink.pass(), 1);
  assert.deepEqual(await received(), [10, 11]);
});

test("neither a replay nor a release sends a planted window, and no record of it is a sample", async (t) => {
  const { ledger, sinkNow, received, ask, there } = await world(t, 10);
  await plant(ledger, 11);
  const { sink } = sinkNow();
  await there.behave({ status: 400 });
  await assert.rejects(sink.pass(), /refuses every record/);
  await there.behave({});
  await sink.pass();
  await ask("all", {});
  assert.equal(await sink.pass(), 1, "the kept window alone");
  const { id } = aRecord({ hour: 11 });
  const note = { schema: "berth.dev/sink-quarantine.v1", sink: "billing", recordId: id, manifest: manifest(11) };
  await ledger.putOnce(quarantineKey("billing", id), canonicalBytes({ ...note, reason: "refused" }));
  await ask("release", { only: "quarantined", records: [id] });
  assert.equal(await sink.pass(), 0);
  assert.equal(await ledger.get("sinks/billing/replayed/release.json"), undefined, "the request stays");
  assert.deepEqual(await received(), [10]);
});

test("a window planted among old ones, one rewritten and one cut out hold delivery up before anything behind them", async (t) => {
  const faults: Record<string, (ledger: Ledger) => Promise<unknown>> = {
    planted: (ledger) => plant(ledger, 8),
    rewritten: async (ledger) => {
      const bytes = Buffer.from((await ledger.get(manifest(11))) ?? []);
      await ledger.remove(manifest(11));
      await ledger.putOnce(manifest(11), Buffer.from(bytes.toString().replace('"records":1', '"records":2')));
    },
    "cut out": (ledger) => ledger.remove(manifest(11)),
  };
  for (const [fault, damage] of Object.entries(faults)) {
    const { ledger, sinkNow, received, forgetHead, sealTo } = await world(t, 12);
    await damage(ledger);
    const { sink } = sinkNow();
    const named = fault === "planted" ? /hr=08\/manifest\.json .*put in.*verify/ : /hr=1[01]\/manifest\.json .*verify/;
    await assert.rejects(sink.pass(), { name: "RetryError", message: named }, fault);
    assert.deepEqual(await received(), [], fault);
    if (fault === "rewritten") continue;
    await forgetHead();
    await sealTo(13);
    assert.equal(
      await sinkNow().sink.pass(),
      fault === "planted" ? 5 : 3,
      "taken as it is by the same word as sealing",
    );
  }
});

test("before a head is kept nothing is delivered", async (t) => {
  const { sinkNow, received, forgetHead, sealTo } = await world(t, 10);
  await forgetHead();
  const { sink } = sinkNow();
  assert.equal(await sink.pass(), 0);
  assert.deepEqual(await received(), []);
  await sealTo(11);
  assert.equal(await sink.pass(), 2);
});

test("tiers are not folded over a planted window", async (t) => {
  const { ledger, folder, vouched } = await world(t, 10);
  const out = join(folder, "out");
  const prices = join(folder, "prices.json");
  await mkdir(out);
  await writeFile(prices, JSON.stringify(aPriceList({ sku: "dedicated.l4.1" })));
  const startAt = "2026-11-21T10:00:00Z";
  const given = { type: "focus", startAt, url: pathToFileURL(out).href, provider: "Example Cloud" };
  await plant(ledger, 8);
  await assert.rejects(sinkOn(ledger, given, prices, vouched()).sink.pass(), /hr=08\/manifest\.json .*put in/);
  assert.deepEqual(await readdir(out), []);
  await ledger.remove(manifest(8));
  assert.equal(await sinkOn(ledger, given, prices, vouched()).sink.pass(), 1);
});

test("what was found to be ours once is not read again for it", async (t) => {
  const { ledger, vouched, sealTo } = await world(t, 12);
  let reads: string[] = [];
  const counted: Ledger = { ...ledger, get: (key) => (reads.push(key), ledger.get(key)) };
  const windows = vouched(counted);
  const hours = [10, 11, 12].map(manifest);
  assert.deepEqual(await windows.keys(windowAt(10).start, Infinity), hours);
  assert.deepEqual(reads.sort(), hours);
  for (const [last, wanted] of [
    [12, []],
    [13, [manifest(12), manifest(13)]],
  ] as const) {
    await sealTo(last);
    reads = [];
    await windows.keys(windowAt(10).start, Infinity);
    assert.deepEqual(reads.sort(), wanted);
  }
});
