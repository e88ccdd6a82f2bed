/** Receivers that refuse whole batches, and replays that meet what is gone or was taken: over a real directory ledger. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { askForReplay, quarantinedRecords, withdrawReplay } from "../../operator/controllers/sinkstate.ts";
import { secondsOf } from "../../operator/plan/metering/windows.ts";
import { acksPrefix, replayedPrefix } from "../../operator/plan/sinks/keys.ts";
import type { Ledger } from "../../operator/ports.ts";
import { eventually } from "../cluster/eventually.ts";
import { aRecord } from "../plan/rating/samples.ts";
import { awayLedger } from "./sealerrig.ts";
import { receiver } from "./sinkbed.ts";
import { idOf, sealHour, sealed, sinkOn } from "./sinkrig.ts";

const at = (hour: number): number => secondsOf(aRecord({ hour }).windowStart);

async function quarantinedIds(ledger: Ledger): Promise<readonly string[]> {
  return (await quarantinedRecords(ledger, "billing")).map(({ recordId }) => recordId).sort();
}

for (const [what, hours] of [
  ["in the middle", [10, 11, 12]],
  ["as the first that is owed", [11, 12]],
] as const) {
  test(`an hour ${what} whose every record is refused for ever is set aside, and the hours after it arrive`, async (t) => {
    const there = await receiver(t);
    const { ledger } = await sealed(t, 10);
    const wrong = ["x", "y"].map((name) => aRecord({ name, hour: 11 }));
    await sealHour(ledger, 11, wrong);
    await sealHour(ledger, 12);
    await there.behave({ refuse: wrong.map(({ id }) => id) });
    const startAt = hours[0] === 11 ? { startAt: "2026-11-21T11:00:00Z" } : {};
    const { sink } = sinkOn(ledger, { type: "cloudevents", url: there.url, ...startAt });
    assert.equal(await sink.pass(), hours.length);
    assert.equal((await ledger.list(acksPrefix("billing"))).length, hours.length);
    assert.deepEqual(await quarantinedIds(ledger), wrong.map(({ id }) => id).sort());
    const kept = new Set((await there.seen()).kept.map(([id]) => id));
    assert.equal(kept.size, (hours.length - 1) * 25);
  });
}

test("a batch of one unknown account in an hour of several batches holds up nobody", async (t) => {
  const there = await receiver(t);
  const { ledger } = await sealed(t, 9);
  const records = ["a", "b", "c", "d", "e"].map((name) => aRecord({ name }));
  await sealHour(ledger, 10, records);
  const refuse = records.slice(0, 2).map(({ id }) => id);
  await there.behave({ refuse });
  const { sink } = sinkOn(ledger, { type: "cloudevents", url: there.url, batchSize: 2 });
  assert.equal(await sink.pass(), 1);
  assert.equal((await there.seen()).kept.length, 3);
  assert.equal((await quarantinedIds(ledger)).length, 2);
});

test("hours whose every record is refused wait until the sink takes one again: they alone do not tell that it works", async (t) => {
  const there = await receiver(t);
  const { ledger } = await sealed(t, 10);
  const wrong = ["x", "y"].map((name) => aRecord({ name, hour: 11 }));
  await sealHour(ledger, 11, wrong);
  await there.behave({ refuse: wrong.map(({ id }) => id) });
  const { sink } = sinkOn(ledger, { type: "cloudevents", url: there.url });
  await assert.rejects(sink.pass(), /refuses every record/);
  assert.deepEqual(await quarantinedIds(ledger), []);
  await sealHour(ledger, 12);
  assert.equal(await sink.pass(), 2);
  assert.equal((await quarantinedIds(ledger)).length, 2);
});

test("a retry whose record was removed with its hour sends the others, and holds up neither later replays nor what is owed", async (t) => {
  const there = await receiver(t);
  const { ledger } = await sealed(t, 11);
  const [gone, present] = [10, 11].map((hour) => idOf("d00", hour));
  await there.behave({ refuse: [gone, present] });
  const { sink } = sinkOn(ledger, { type: "cloudevents", url: there.url });
  await sink.pass();
  for (const key of await ledger.list("v1/dt=2026-11-21/hr=10/")) await ledger.remove(key);
  await there.behave({});
  await askForReplay(ledger, "billing", { name: "r1", from: at(10), to: at(12), only: "quarantined" });
  await askForReplay(ledger, "billing", { name: "r2", from: at(11), to: at(12) });
  assert.equal(await sink.pass(), 2);
  assert.equal((await ledger.list(replayedPrefix("billing"))).length, 2);
  assert.deepEqual(await quarantinedIds(ledger), [gone]);
});

test("a replay that fails is tried again at growing pauses, and holds up neither another one nor what is owed", async (t) => {
  const there = await receiver(t);
  const { ledger } = await sealed(t, 11);
  const { sink, clock, registry } = sinkOn(ledger, { type: "cloudevents", url: there.url });
  await sink.pass();
  await askForReplay(ledger, "billing", { name: "r1", from: at(10), to: at(11) });
  await askForReplay(ledger, "billing", { name: "r2", from: at(11), to: at(12) });
  await ledger.remove("v1/dt=2026-11-21/hr=10/segment-r0.ndjson.gz");
  await sealHour(ledger, 12);
  assert.equal(await sink.pass(), 1, "what is owed");
  assert.deepEqual(await ledger.list(replayedPrefix("billing")), ["sinks/billing/replayed/r2.json"]);
  const failed = async () =>
    Number(/^berth_sink_failures_total\{sink="billing"\} (\d+)$/m.exec(await registry.metrics())?.[1] ?? 0);
  for (const pauseMs of [15_000, 30_000]) {
    const before = await failed();
    clock.advance(pauseMs - 1);
    await sink.pass();
    assert.equal(await failed(), before);
    clock.advance(1);
    await sink.pass();
    assert.equal(await failed(), before + 1);
  }
});

test("the lag is told for a window that cannot be read, and for a ledger that never answered", async (t) => {
  const there = await receiver(t);
  const { ledger } = await sealed(t, 10);
  const lagOf = async (on: Ledger): Promise<string | undefined> => {
    const { sink, registry, clock } = sinkOn(on, { type: "cloudevents", url: there.url });
    sink.start();
    const text = async () => registry.metrics();
    await eventually(async () => /^berth_sink_failures_total\{sink="billing"\} 1$/m.test(await text()), {
      what: "the first pass has failed",
    });
    clock.advance(3_600_000);
    const lag = /^berth_sink_oldest_unacked_seconds\{sink="billing"\} (\d+)$/m.exec(await text())?.[1];
    await sink.stop();
    return lag;
  };
  assert.equal(await lagOf(awayLedger), "3600", "since the first look at 13:00");
  await ledger.remove("v1/dt=2026-11-21/hr=10/segment-r0.ndjson.gz");
  assert.equal(await lagOf(ledger), "14400", "since 10:00: when it ended was not read");
});

test("a replayed record that was taken and is now refused as too old is not set aside: a retry would count it again", async (t) => {
  const there = await receiver(t);
  const { ledger } = await sealed(t, 10);
  const never = idOf("d05");
  await there.behave({ refuse: [never] });
  const { sink } = sinkOn(ledger, { type: "cloudevents", url: there.url });
  await sink.pass();
  await there.behave({ refuse: [never, idOf("d03")] });
  await askForReplay(ledger, "billing", { name: "r1", from: at(10), to: at(11) });
  assert.equal(await sink.pass(), 1);
  assert.deepEqual(await quarantinedIds(ledger), [never]);
});

test("a record that was set aside before a death and is taken after it leaves quarantine, so that no release sends it once more", async (t) => {
  const there = await receiver(t);
  const { ledger } = await sealed(t, 10);
  const [again, never] = [idOf("d03"), idOf("d07")];
  await there.behave({ refuse: [again, never] });
  await sinkOn(ledger, { type: "cloudevents", url: there.url }).sink.pass();
  for (const key of await ledger.list(acksPrefix("billing"))) await ledger.remove(key);
  await there.behave({ refuse: [never] });
  assert.equal(await sinkOn(ledger, { type: "cloudevents", url: there.url }).sink.pass(), 1);
  assert.deepEqual(await quarantinedIds(ledger), [never]);
});

test("a replay that is withdrawn while it runs ends before its next window", async (t) => {
  const there = await receiver(t);
  const { ledger } = await sealed(t, 12);
  const { sink } = sinkOn(ledger, { type: "cloudevents", url: there.url });
  await sink.pass();
  const asked = await askForReplay(ledger, "billing", { name: "r1", from: at(10), to: at(13) });
  const before = (await there.seen()).requests.length;
  const withdrawing: Ledger = {
    ...ledger,
    read: async (key) => {
      if (key.includes("hr=11")) await withdrawReplay(ledger, "billing", asked?.key ?? "");
      return ledger.read(key);
    },
  };
  assert.equal(await sinkOn(withdrawing, { type: "cloudevents", url: there.url }).sink.pass(), 2);
  assert.equal((await there.seen()).requests.length - before, 2, "10:00, and 11:00 that was read already");
  assert.equal(await sink.pass(), 0);
});

test("a sink that took records and then refuses the only one that is owed is asked again before that one is set aside", async (t) => {
  const there = await receiver(t);
  const { ledger } = await sealed(t, 9);
  const [one, two] = [10, 11].map((hour) => aRecord({ name: "only", hour }));
  assert.ok(one && two);
  await sealHour(ledger, 10, [one]);
  const { sink } = sinkOn(ledger, { type: "cloudevents", url: there.url });
  await sink.pass();
  await sealHour(ledger, 11, [two]);
  await there.behave({ refuse: [two.id] });
  await assert.rejects(sink.pass(), /refuses every record/);
  assert.deepEqual(await quarantinedIds(ledger), []);
  await there.behave({});
  assert.equal(await sink.pass(), 1);
});
