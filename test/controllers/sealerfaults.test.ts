/** Sealing through a proxy that breaks what real stores and networks break. Whatever it does, the ledger ends with the same bytes. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { openLedger } from "../../operator/adapters/ledger/open.ts";
import { putClosing } from "../../operator/controllers/closing.ts";
import type { Ledger } from "../../operator/ports.ts";
import { startFaultProxy } from "../cluster/faultproxy.ts";
import type { FaultProxy, HttpFault } from "../cluster/faultproxy.ts";
import { startS3 } from "../cluster/s3.ts";
import type { S3Server } from "../cluster/s3.ts";
import { dump, gone, sealerAt } from "./sealerrig.ts";

let s3: S3Server;
let proxy: FaultProxy;
before(async () => {
  s3 = await startS3();
  await s3.createBucket("ledger");
  proxy = await startFaultProxy({ target: s3.endpoint, dialect: "s3" });
});
after(async () => {
  await proxy.close();
  await s3.stop();
});

function ledgerAt(endpoint: string, place: string): Ledger {
  const { region, accessKeyId, secretAccessKey } = s3;
  return openLedger({ url: `s3://ledger/${place}`, endpoint, region, credentials: { accessKeyId, secretAccessKey } });
}

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
];

for (const [what, method, times, fault] of faults) {
  test(`${what}: nothing is lost, doubled or different`, async () => {
    const place = what.replace(/[^a-z]+/gi, "-");
    const [calm, direct] = [ledgerAt(s3.endpoint, `calm-${place}`), ledgerAt(s3.endpoint, place)];
    for (const ledger of [calm, direct]) await putClosing(ledger, gone);
    await sealerAt({ ledger: calm, at: "12:06:00" }).sealer.pass();
    const rule = proxy.add({ match: (request) => request.method === method, times, fault });
    await sealThrough(ledgerAt(proxy.url, place), times + 1);
    assert.equal(rule.hits, times, "the fault was not met");
    rule.remove();
    assert.deepEqual(await dump(direct), await dump(calm));
  });
}
