/** Sealing through a proxy that breaks what real stores and networks break. Whatever it does, the ledger ends with the same bytes. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { openLedger } from "../../operator/adapters/ledger/open.ts";
import { putClosing } from "../../operator/controllers/closing.ts";
import type { Ledger } from "../../operator/ports.ts";
import type { HttpFault } from "../cluster/faultproxy.ts";
import { ledgerServer } from "./ledgerserver.ts";
import { dump, gone, sealerAt } from "./sealerrig.ts";

const store = ledgerServer();

/** Passes until one gets through; each failed one is what the loop would repeat after a pause. */
async function sealThrough(ledger: Ledger, tries: number): Promise<number> {
  const { sealer, registry } = sealerAt({ ledger, at: "12:06:00" });
  for (let failed = 0; failed < tries; failed++) {
    const sealed = await sealer.pass().then(
      () => true,
      () => false,
    );
    if (sealed) {
      assert.match(await registry.metrics(), /^berth_ledger_conflicts_total 0$/m);
      return failed;
    }
  }
  throw new Error(`not sealed after ${tries} passes`);
}

// Often enough that the S3 client's own three attempts do not hide it.
const faults: readonly [string, string, number, HttpFault][] = [
  ["writes whose acknowledgement is lost", "PUT", 4, { kind: "lose-answer" }],
  ["writes that never arrive", "PUT", 4, { kind: "reset" }],
  ["503 on writes", "PUT", 4, { kind: "status", code: 503 }],
  ["409 on writes, as for two at the same time", "PUT", 2, { kind: "status", code: 409 }],
  ["403 for a while", "PUT", 3, { kind: "status", code: 403 }],
  ["answers that break off", "GET", 4, { kind: "cut", afterBytes: 20 }],
  ["503 on reads", "GET", 4, { kind: "status", code: 503 }],
  ["412 for objects that are not there", "PUT", 2, { kind: "status", code: 412 }],
  ["success for writes that were never made", "PUT", 2, { kind: "status", code: 200 }],
  ["403 for a long while", "PUT", 12, { kind: "status", code: 403 }],
  ["answers after a long while", "PUT", 3, { kind: "delay", delayMs: 2_000 }],
];

for (const [what, method, times, fault] of faults) {
  test(`${what}: nothing is lost, doubled or different`, async () => {
    const place = what.replace(/[^a-z]+/gi, "-");
    const [calm, direct] = [store.at(store.s3.endpoint, `calm-${place}`), store.at(store.s3.endpoint, place)];
    for (const ledger of [calm, direct]) await putClosing(ledger, gone);
    await sealerAt({ ledger: calm, at: "12:06:00" }).sealer.pass();
    const rule = store.proxy.add({ match: (request) => request.method === method, times, fault });
    await sealThrough(store.at(store.proxy.url, place), times + 1);
    assert.equal(rule.hits, times, "the fault was not met");
    rule.remove();
    assert.deepEqual(await dump(direct), await dump(calm));
  });
}

test("a list that is out of date makes windows be sealed again, with the same bytes", async () => {
  const [calm, direct] = [store.at(store.s3.endpoint, "calm-list"), store.at(store.s3.endpoint, "stale-list")];
  for (const ledger of [calm, direct]) {
    await putClosing(ledger, gone);
    await sealerAt({ ledger, at: "11:06:00" }).sealer.pass();
  }
  await sealerAt({ ledger: calm, at: "12:06:00" }).sealer.pass();
  const rule = store.proxy.add({
    match: ({ method, query }) => method === "GET" && (query.get("prefix") ?? "").endsWith("/v1/"),
    fault: { kind: "rewrite", body: (body) => body.toString().replace(/<Contents>.*<\/Contents>/s, "") },
  });
  await sealThrough(store.at(store.proxy.url, "stale-list"), 1);
  assert.ok(rule.hits > 0, "the fault was not met");
  rule.remove();
  assert.deepEqual(await dump(direct), await dump(calm));
});

test("a store that says yes and keeps what another wrote is found out by reading back", async () => {
  const [direct, lied] = [store.at(store.s3.endpoint, "lies"), store.at(store.proxy.url, "lies")];
  await putClosing(direct, gone);
  // From then on it is trusted to honour the condition.
  await lied.probe();
  const key = "v1/dt=2026-11-21/hr=09/segment-r0.ndjson.gz";
  await direct.putOnce(key, Buffer.from("not ours\n"));
  const rule = store.proxy.add({
    match: ({ method }) => method === "PUT",
    times: 1,
    // With the server's words in it, the client would take the answer for a failure and ask again.
    fault: { kind: "rewrite", status: 200, body: () => "" },
  });
  await assert.rejects(sealerAt({ ledger: lied, at: "12:06:00" }).sealer.pass(), { reason: "LedgerObjectDamaged" });
  rule.remove();
  assert.equal(Buffer.from((await direct.get(key)) ?? []).toString(), "not ours\n");
});

test("a bucket that is gone is named; when it is back, sealing goes on", async () => {
  const { endpoint, region, accessKeyId, secretAccessKey } = store.s3;
  const credentials = { accessKeyId, secretAccessKey };
  const ledger = openLedger({ url: "s3://vanished/books", endpoint, region, credentials });
  const { sealer } = sealerAt({ ledger, at: "12:06:00" });
  await assert.rejects(sealer.pass(), { reason: "LedgerBucketMissing" });
  await store.s3.createBucket("vanished");
  assert.equal((await sealer.pass()).sealed.length, 2);
});
