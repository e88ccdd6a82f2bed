/** Delivery over a real S3 server behind a proxy that breaks what stores and networks break, to a receiver's process; killed at every step. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { acksPrefix, quarantinePrefix } from "../../operator/plan/sinks/keys.ts";
import type { Ledger } from "../../operator/ports.ts";
import { eventually } from "../cluster/eventually.ts";
import type { HttpFault } from "../cluster/faultproxy.ts";
import { aRecord } from "../plan/rating/samples.ts";
import { ledgerServer } from "./ledgerserver.ts";
import { dyingAt } from "./sealerrig.ts";
import { receiver } from "./sinkbed.ts";
import { sealHour, sinkOn } from "./sinkrig.ts";

const store = ledgerServer();

/** An hour of five deployments, whose names and so ids are the place's own. */
async function anHour(place: string): Promise<{ ledger: Ledger; ids: readonly string[] }> {
  const ledger = store.at(store.s3.endpoint, place);
  const records = ["a", "b", "c", "d", "e"].map((name) => aRecord({ name: `${place}-${name}` }));
  await sealHour(ledger, 10, records);
  return { ledger, ids: records.map(({ id }) => id) };
}

/** Passes until one gets through; each failed one is what the loop would repeat after a pause. */
async function deliverThrough(pass: () => Promise<number>, tries: number): Promise<void> {
  for (let failed = 0; failed < tries; failed++) {
    const done = await pass().then(
      () => true,
      () => false,
    );
    if (done) return;
  }
  throw new Error(`not delivered after ${String(tries)} passes`);
}

test("killed before or after any request to the ledger: everything arrives, what is refused is set aside once, nothing is owed", async (t) => {
  const there = await receiver(t);
  const given = { type: "cloudevents", url: there.url, batchSize: 2 };
  let steps = 0;
  for (const when of ["before", "after"] as const) {
    for (let n = 1; ; n++) {
      const place = `kill-${when}-${String(n)}`;
      const { ledger, ids } = await anHour(place);
      const [, , refused = ""] = ids;
      await there.behave({ refuse: [refused] });
      const { ledger: dying, state } = dyingAt(ledger, n, when);
      await sinkOn(dying, given)
        .sink.pass()
        .catch(() => undefined);
      if (!state.died) break;
      steps += 1;
      const { sink } = sinkOn(ledger, given);
      await sink.pass();
      assert.equal(await sink.pass(), 0, place);
      const kept = new Map((await there.seen()).kept);
      assert.deepEqual(
        ids.filter((id) => !kept.has(id)),
        [refused],
        place,
      );
      assert.deepEqual(await ledger.list(quarantinePrefix("billing")), [`sinks/billing/quarantine/${refused}.json`]);
      const acks = (await ledger.list(acksPrefix("billing"))).filter((key) => key.endsWith("/done.json"));
      assert.equal(acks.length, 1, place);
    }
  }
  assert.ok(steps >= 20, `only ${String(steps)} steps`);
});

const faults: readonly [string, string, number, HttpFault][] = [
  ["acknowledgements in the ledger whose own acknowledgement is lost", "PUT", 4, { kind: "lose-answer" }],
  ["writes that never arrive", "PUT", 4, { kind: "reset" }],
  ["503 on writes", "PUT", 4, { kind: "status", code: 503 }],
  ["409 on writes", "PUT", 2, { kind: "status", code: 409 }],
  ["403 for a while", "PUT", 3, { kind: "status", code: 403 }],
  ["answers that break off", "GET", 4, { kind: "cut", afterBytes: 20 }],
  ["503 on reads and lists", "GET", 4, { kind: "status", code: 503 }],
];

for (const [what, method, times, fault] of faults) {
  test(`${what}: every record has its effect once`, async (t) => {
    const there = await receiver(t);
    const place = what.replace(/[^a-z0-9]+/gi, "-");
    const { ids } = await anHour(place);
    const rule = store.proxy.add({ match: (request) => request.method === method, times, fault });
    const given = { type: "cloudevents", url: there.url, batchSize: 2 };
    const { sink } = sinkOn(store.at(store.proxy.url, place), given);
    await deliverThrough(() => sink.pass(), times + 1);
    assert.equal(rule.hits, times, "the fault was not met");
    rule.remove();
    const { kept, requests } = await there.seen();
    assert.deepEqual(kept.map(([id]) => id).sort(), [...ids].sort());
    const bodies = Map.groupBy(requests, ({ ids: [first = ""] }) => first);
    for (const again of bodies.values()) assert.equal(new Set(again.map(({ body }) => body)).size, 1);
    assert.equal(await sinkOn(store.at(store.s3.endpoint, place), given).sink.pass(), 0, "nothing is owed");
  });
}

test("a receiver that is away: the lag is told, tries are 1 s, 2 s, 4 s … apart, and on its return nothing is lost", async (t) => {
  const there = await receiver(t);
  const { ledger, ids } = await anHour("away");
  const { sink, registry, clock } = sinkOn(ledger, { type: "cloudevents", url: there.url });
  const series = async (name: string): Promise<number> =>
    Number(new RegExp(`^${name}\\{sink="billing"\\} (\\d+)$`, "m").exec(await registry.metrics())?.[1] ?? NaN);
  const failed = async (times: number): Promise<void> =>
    void (await eventually(async () => (await series("berth_sink_failures_total")) === times, {
      what: `${String(times)} failures`,
      deadlineMs: 30_000,
    }));
  await there.behave({ status: 503 });
  sink.start();
  t.after(() => sink.stop());
  await failed(1);
  assert.equal(await series("berth_sink_oldest_unacked_seconds"), 2 * 3600, "the hour ended at 11:00, now is 13:00");
  for (const [at, pauseMs] of [1_000, 2_000, 4_000].entries()) {
    clock.advance(pauseMs - 1);
    assert.equal((await there.seen()).requests.length, at + 1, `not before ${String(pauseMs)} ms`);
    clock.advance(1);
    await failed(at + 2);
  }
  await there.behave({});
  clock.advance(8_000);
  await eventually(async () => (await series("berth_sink_oldest_unacked_seconds")) === 0, {
    what: "nothing is owed",
    deadlineMs: 30_000,
  });
  assert.deepEqual((await there.seen()).kept.map(([id]) => id).sort(), [...ids].sort());
});
