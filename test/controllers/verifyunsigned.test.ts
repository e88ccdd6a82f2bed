/** A window without a signature of its own amid signed ones: what an honest crash leaves, and what is taken away. */
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";

import { openLedger } from "../../operator/adapters/ledger/open.ts";
import { signerOf, trustedKeysOf } from "../../operator/adapters/ledger/signing.ts";
import { verificationText } from "../../operator/cli/ledgertext.ts";
import { verifyLedger } from "../../operator/controllers/verify.ts";
import type { Ledger } from "../../operator/ports.ts";
import { claim, pool } from "./meteringobjects.ts";
import { dyingAt, sealerAt } from "./sealerrig.ts";

let root = "";
before(async () => {
  root = await mkdtemp(join(tmpdir(), "berth-unsigned-"));
});
after(() => rm(root, { recursive: true, force: true }));

const { privateKey, publicKey } = generateKeyPairSync("ed25519");
const signer = signerOf(privateKey.export({ type: "pkcs8", format: "pem" }).toString(), "a test");
const trust = trustedKeysOf(publicKey.export({ type: "spki", format: "pem" }).toString(), "a test");
const at = (hour: number, claims: ReturnType<typeof claim>[]) => ({
  at: `${hour}:06:00`,
  objects: { deployments: [], pools: [pool({ deployment: "a", sizes: [["10:10:00", 1]] })], claims },
  signer,
});
const late = claim({ id: "c-a", deployment: "a", claimed: "10:20:00" });
const manifest = "v1/dt=2026-11-21/hr=11/manifest.json";

/** A process dies once it has written a segment; the next one knows a claim more. */
async function died(place: string): Promise<Ledger> {
  const ledger = openLedger({ url: pathToFileURL(join(root, place)).href });
  await sealerAt({ ledger, ...at(11, []) }).sealer.pass();
  const hasSegment = async () => (await ledger.list("v1/dt=2026-11-21/hr=11/")).length > 0;
  for (let n = 1; !(await hasSegment()); n++)
    await sealerAt({ ledger: dyingAt(ledger, n, "after").ledger, ...at(12, []) })
      .sealer.pass()
      .catch(() => undefined);
  await sealerAt({ ledger, ...at(12, [late]) }).sealer.pass();
  return ledger;
}

test("a window that a crash left unsigned is vouched for by the signed ones chained over it, and named apart", async () => {
  const ledger = await died("crashed");
  await sealerAt({ ledger, ...at(15, [late]) }).sealer.pass();
  const found = await verifyLedger(ledger, { trust });
  assert.deepEqual([found.findings, found.unsigned, found.signed], [[], [manifest], 4]);
  assert.match(verificationText(found), new RegExp(`1 windows have no signature of their own.*${manifest}`));
});

test("until a signed window is chained over it, nobody vouches for it", async () => {
  const { findings, unsigned } = await verifyLedger(await died("tail"), { trust });
  assert.deepEqual(findings, [{ key: manifest, problem: "has no signature, though a window before it has one" }]);
  assert.deepEqual(unsigned, []);
});
