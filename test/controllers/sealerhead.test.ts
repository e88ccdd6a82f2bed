/** The head that the cluster keeps, on the real API server: what somebody with the bucket's keys plants or cuts off is noticed. */
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { pathToFileURL } from "node:url";

import { openLedger } from "../../operator/adapters/ledger/open.ts";
import { signerOf } from "../../operator/adapters/ledger/signing.ts";
import { putClosing } from "../../operator/controllers/closing.ts";
import { HEAD_LEASE, headLeases, newHeadKeeper } from "../../operator/controllers/clusterhead.ts";
import { verifyLedger } from "../../operator/controllers/verify.ts";
import type { Ledger } from "../../operator/ports.ts";
import { testCluster, testNamespace } from "../cluster/session.ts";
import { newRig } from "../runtime/rig.ts";
import { awayLedger, dyingAt, dump, gone, sealerAt } from "./sealerrig.ts";

const manifest = (h: string) => `v1/dt=2026-11-21/hr=${h}/manifest.json`;

async function world(t: TestContext) {
  const namespace = await testNamespace(t);
  const { kube } = newRig(t, await testCluster(), { userAgent: "sealer-head" });
  const keeper = () => newHeadKeeper({ kube, namespace });
  const folder = await mkdtemp(join(tmpdir(), "berth-head-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const ledger = openLedger({ url: pathToFileURL(folder).href });
  await putClosing(ledger, gone);
  const at = (time: string, on: Ledger = ledger, signer?: ReturnType<typeof signerOf>) =>
    sealerAt({ ledger: on, at: time, headKeeper: keeper(), ...(signer && { signer }) });
  return { kube, namespace, keeper, ledger, at };
}

async function mismatch(registry: { metrics(): Promise<string> }): Promise<string | undefined> {
  return /^berth_ledger_head_mismatch (\d)$/m.exec(await registry.metrics())?.[1];
}

test("each sealed window is kept; an auditor's verify compares it", async (t) => {
  const { keeper, ledger, at } = await world(t);
  await at("11:06:00").sealer.pass();
  const early = await keeper().read();
  assert.equal(early?.key, manifest("10"));
  await at("12:06:00").sealer.pass();
  const kept = await keeper().read();
  const { head, findings } = await verifyLedger(ledger, { kept });
  assert.deepEqual([kept?.key, kept?.sha256, kept?.windowEnd], [head?.key, head?.sha256, head?.windowEnd]);
  assert.deepEqual(findings, []);
  await ledger.remove(manifest("11"));
  assert.match(
    (await verifyLedger(ledger, { kept })).findings[0]?.problem ?? "",
    /that the cluster keeps as the head: the tail was cut off/,
  );
});

test("a process that never reached the ledger knows its lag from the head that the cluster keeps", async (t) => {
  const { at } = await world(t);
  await at("11:06:00").sealer.pass();
  const { sealer, registry } = at("15:06:00", awayLedger);
  sealer.start();
  await assert.rejects(sealer.pass(), /connection refused/);
  // The window from 11:00 ended at 12:00.
  assert.match(await registry.metrics(), /^berth_ledger_seal_lag_seconds 11160$/m);
  await sealer.stop();
});

test("a tail that was cut off holds sealing back, with the remedy in its message", async (t) => {
  const { kube, namespace, ledger, at } = await world(t);
  await at("12:06:00").sealer.pass();
  await ledger.remove(manifest("11"));
  const { sealer, registry } = at("13:06:00");
  await assert.rejects(sealer.pass(), {
    reason: "LedgerHeadForeign",
    message:
      /hr=11\/manifest\.json in the ledger is gone: the newest windows were cut off; nothing is sealed: .*delete the Lease berth-ledger-head/,
  });
  assert.equal(await mismatch(registry), "1");
  assert.equal(await ledger.get(manifest("12")), undefined);
  await kube.remove(headLeases, namespace, HEAD_LEASE);
  await sealer.pass();
  assert.equal(await mismatch(registry), "0");
});

test("a planted window and a rewritten one hold sealing back and are named", async (t) => {
  const { ledger, at } = await world(t);
  await at("11:06:00").sealer.pass();
  const text = Buffer.from((await ledger.get(manifest("10"))) ?? []).toString();
  await ledger.putOnce(manifest("20"), Buffer.from(text.replaceAll("T10:", "T20:").replaceAll("T11:", "T21:")));
  await assert.rejects(
    at("12:06:00").sealer.pass(),
    /hr=20\/manifest\.json in the ledger was not sealed by this operator/,
  );
  await ledger.remove(manifest("20"));
  await ledger.remove(manifest("10"));
  await ledger.putOnce(manifest("10"), Buffer.from(text.replace('"billableNodeSeconds":', '"billableNodeSeconds":1')));
  await assert.rejects(at("12:06:00").sealer.pass(), /hr=10\/manifest\.json in the ledger was rewritten/);
});

test("killed before or after any request, with and without a key: the next process recognises its own window and goes on", async (t) => {
  const { ledger: first, at } = await world(t);
  const { privateKey } = generateKeyPairSync("ed25519");
  const signer = signerOf(privateKey.export({ type: "pkcs8", format: "pem" }).toString(), "a test");
  await at("11:06:00", first).sealer.pass();
  for (const key of [undefined, signer]) {
    const wanted = await fresh(t, key);
    for (const when of ["before", "after"] as const) {
      for (let n = 1, died = true; died; n++) {
        const { ledger, at: here } = await world(t);
        const dying = dyingAt(ledger, n, when);
        await here("12:06:00", dying.ledger, key)
          .sealer.pass()
          .catch(() => undefined);
        died = dying.state.died;
        await here("12:06:00", ledger, key).sealer.pass();
        assert.deepEqual(await dump(ledger), wanted, `killed ${when} request ${n}`);
      }
    }
  }
});

async function fresh(t: TestContext, signer: ReturnType<typeof signerOf> | undefined): Promise<Record<string, string>> {
  const { ledger, at } = await world(t);
  await at("12:06:00", ledger, signer).sealer.pass();
  return dump(ledger);
}

test("a process that was leader once cannot put its older head in place of a newer one", async (t) => {
  const { keeper, at } = await world(t);
  await at("11:06:00").sealer.pass();
  const sleeper = keeper();
  const old = await sleeper.read();
  await at("12:06:00").sealer.pass();
  assert.ok(old);
  await assert.rejects(sleeper.write(old), { name: "RetryError" });
  assert.equal((await keeper().read())?.key, manifest("11"));
});
