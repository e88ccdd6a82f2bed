/** Signed windows on a real S3 server: killed at every request, rotated keys, and what somebody with the bucket's keys could try. */
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { after, before, test } from "node:test";

import { openLedger } from "../../operator/adapters/ledger/open.ts";
import { putClosing } from "../../operator/controllers/closing.ts";
import { verifyLedger } from "../../operator/controllers/verify.ts";
import type { Ledger, TrustedKeys } from "../../operator/ports.ts";
import { signerOf, trustedKeysOf } from "../../operator/adapters/ledger/signing.ts";
import { startS3 } from "../cluster/s3.ts";
import type { S3Server } from "../cluster/s3.ts";
import { claim } from "./meteringobjects.ts";
import { dump, dyingAt, gone, sealerAt } from "./sealerrig.ts";

let s3: S3Server;
let places = 0;
before(async () => {
  s3 = await startS3();
  await s3.createBucket("ledger");
});
after(() => s3.stop());

function freshLedger(): Ledger {
  const { endpoint, region, accessKeyId, secretAccessKey } = s3;
  const credentials = { accessKeyId, secretAccessKey };
  return openLedger({ url: `s3://ledger/signed-${places++}`, endpoint, region, credentials });
}

function aKey() {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const signer = signerOf(privateKey.export({ type: "pkcs8", format: "pem" }).toString(), "a test");
  const trust = trustedKeysOf(publicKey.export({ type: "spki", format: "pem" }).toString(), "a test");
  return { signer, trust };
}
const key = aKey();
const manifest = (h: string) => `v1/dt=2026-11-21/hr=${h}/manifest.json`;
const signature = (h: string) => manifest(h).replace(".json", ".sig.json");

async function sealed(at = "12:06:00", signer: typeof key.signer | "none" = key.signer): Promise<Ledger> {
  const ledger = freshLedger();
  await putClosing(ledger, gone);
  await sealerAt({ ledger, at, ...(signer !== "none" && { signer }) }).sealer.pass();
  return ledger;
}

async function told(ledger: Ledger, trust: TrustedKeys): Promise<string[]> {
  const { findings } = await verifyLedger(ledger, { trust });
  return findings.map((found) => `${found.key} ${found.problem}`);
}

async function replace(ledger: Ledger, name: string, change: (text: string) => string): Promise<void> {
  const text = Buffer.from((await ledger.get(name)) ?? []).toString();
  await ledger.remove(name);
  await ledger.putOnce(name, Buffer.from(change(text)));
}

test("every window is signed; the same history and key give the same bytes", async () => {
  const ledger = await sealed();
  const { signed, beforeSignatures, findings } = await verifyLedger(ledger, { trust: key.trust });
  assert.deepEqual({ signed, beforeSignatures, findings }, { signed: 3, beforeSignatures: 0, findings: [] });
  assert.equal((await verifyLedger(ledger)).signed, undefined);
  assert.deepEqual(await dump(await sealed()), await dump(ledger));
});

test("killed before or after any request, the next process ends with the same bytes, all signed", async () => {
  const wanted = await dump(await sealed());
  for (const when of ["before", "after"] as const) {
    for (let n = 1, died = true; died; n++) {
      const ledger = freshLedger();
      await putClosing(ledger, gone);
      const dying = dyingAt(ledger, n, when);
      await sealerAt({ ledger: dying.ledger, at: "12:06:00", signer: key.signer })
        .sealer.pass()
        .catch(() => undefined);
      died = dying.state.died;
      await sealerAt({ ledger, at: "12:06:00", signer: key.signer }).sealer.pass();
      assert.deepEqual(await dump(ledger), wanted, `killed ${when} request ${n}`);
      assert.deepEqual(await told(ledger, key.trust), []);
    }
  }
});

test("another key's signatures, edited ones, none at all: each is named", async () => {
  const other = aKey();
  const foreign = await told(await sealed("12:06:00", other.signer), key.trust);
  assert.match(foreign[0] ?? "", new RegExp(`^${signature("09")} is signed with a key that is not trusted`));
  assert.deepEqual(await told(await sealed("12:06:00", "none"), key.trust), [
    "v1/ no window is signed with a trusted key",
  ]);
  const swapped = await sealed();
  const next = Buffer.from((await swapped.get(signature("11"))) ?? []).toString();
  await replace(swapped, signature("10"), () => next);
  assert.deepEqual(await told(swapped, key.trust), [
    `${signature("10")} signs other bytes than the manifest beside it`,
  ]);
  const claimed = await sealed("12:06:00", other.signer);
  for (const h of ["09", "10", "11"])
    await replace(claimed, signature(h), (text) => text.replace(other.signer.keyId, key.signer.keyId));
  assert.equal((await told(claimed, key.trust))[0], `${signature("09")} holds a signature that is not its key's`);
  const junk = await sealed();
  await replace(junk, signature("10"), () => "{}");
  assert.deepEqual(await told(junk, key.trust), [`${signature("10")} is no DSSE envelope of a manifest`]);
});

test("signatures taken from the end are missed; those taken from the begin are replaced by the chain", async () => {
  const ledger = await sealed();
  await ledger.remove(signature("11"));
  assert.deepEqual(await told(ledger, key.trust), [
    `${manifest("11")} has no signature, though a window before it has one`,
  ]);
  const first = await sealed();
  await first.remove(signature("09"));
  assert.deepEqual(await told(first, key.trust), []);
  await replace(first, manifest("09"), (text) => text.replace(/"cluster":"./, '"cluster":"x'));
  assert.ok((await told(first, key.trust)).some((one) => one.startsWith(`${manifest("10")} is chained to another`)));
});

test("a rotated key signs from its pass on; an auditor who trusts both is content, with one alone the other's windows are named", async () => {
  const next = aKey();
  const ledger = await sealed("11:06:00");
  await sealerAt({ ledger, at: "12:06:00", signer: next.signer }).sealer.pass();
  assert.deepEqual(await told(ledger, new Map([...key.trust, ...next.trust])), []);
  assert.match((await told(ledger, key.trust)).join(), new RegExp(`^${signature("11")} is signed with a key`));
});

test("a segment that somebody else wrote first is kept, counted as a conflict, and its window is never signed", async () => {
  const ledger = freshLedger();
  await putClosing(ledger, gone);
  const other = freshLedger();
  await putClosing(other, {
    ...gone,
    claims: [claim({ id: "n9", deployment: "gone", claimed: "09:59:55", released: "11:23:00" })],
  });
  await sealerAt({ ledger: other, at: "10:06:00" }).sealer.pass();
  const segment = "v1/dt=2026-11-21/hr=09/segment-r0.ndjson.gz";
  await ledger.putOnce(segment, Buffer.from((await other.get(segment)) ?? []));
  const { sealer, registry } = sealerAt({ ledger, at: "10:06:00", signer: key.signer });
  await sealer.pass();
  assert.match(await registry.metrics(), /^berth_ledger_conflicts_total 1$/m);
  await sealerAt({ ledger, at: "10:06:00", signer: key.signer }).sealer.pass();
  assert.equal(await ledger.get(signature("09")), undefined);
});

test("a manifest that somebody else planted is taken for the newest window, and never signed", async () => {
  const honest = await sealed();
  const text = Buffer.from((await honest.get(manifest("09"))) ?? []).toString();
  const forged = text.replace(/"billableNodeSeconds":\d+/, '"billableNodeSeconds":1');
  assert.notEqual(forged, text);
  const ledger = freshLedger();
  await putClosing(ledger, gone);
  const segment = "v1/dt=2026-11-21/hr=09/segment-r0.ndjson.gz";
  await ledger.putOnce(segment, Buffer.from((await honest.get(segment)) ?? []));
  await ledger.putOnce(manifest("09"), Buffer.from(forged));
  await sealerAt({ ledger, at: "10:06:00", signer: key.signer }).sealer.pass();
  assert.equal(await ledger.get(signature("09")), undefined);
  assert.match((await told(ledger, key.trust)).join("\n"), /no window is signed with a trusted key/);
});

test("a key that is none of Ed25519 is refused without a word of it", () => {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const pem = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  assert.throws(() => signerOf(pem, "key.pem"), {
    reason: "LedgerKeyUnusable",
    message: /key\.pem holds a key of type ec: make one with openssl/,
  });
  assert.throws(
    () => signerOf("secret words", "key.pem"),
    (error: Error) => /no private key/.test(error.message) && !/secret/.test(error.message),
  );
  assert.throws(() => trustedKeysOf("", "auditor.pem"), /auditor\.pem holds no public key/);
});
