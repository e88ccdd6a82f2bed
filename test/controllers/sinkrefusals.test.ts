/** Receivers that refuse whole batches, and replays that meet what is gone or was taken: over a real directory ledger. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { quarantinedRecords } from "../../operator/controllers/sinkstate.ts";
import { acksPrefix } from "../../operator/plan/sinks/keys.ts";
import { aRecord } from "../plan/rating/samples.ts";
import { receiver } from "./sinkbed.ts";
import { sealHour, sealed, sinkOn } from "./sinkrig.ts";

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
    assert.deepEqual(
      (await quarantinedRecords(ledger, "billing")).map(({ recordId }) => recordId).sort(),
      wrong.map(({ id }) => id).sort(),
    );
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
  assert.equal((await quarantinedRecords(ledger, "billing")).length, 2);
});

test("hours whose every record is refused wait until the sink takes one again: they alone do not tell that it works", async (t) => {
  const there = await receiver(t);
  const { ledger } = await sealed(t, 10);
  const wrong = ["x", "y"].map((name) => aRecord({ name, hour: 11 }));
  await sealHour(ledger, 11, wrong);
  await there.behave({ refuse: wrong.map(({ id }) => id) });
  const { sink } = sinkOn(ledger, { type: "cloudevents", url: there.url });
  await assert.rejects(sink.pass(), /refuses every record/);
  assert.deepEqual(await quarantinedRecords(ledger, "billing"), []);
  await sealHour(ledger, 12);
  assert.equal(await sink.pass(), 2);
  assert.equal((await quarantinedRecords(ledger, "billing")).length, 2);
});
