/** Roots of days, and what nobody of Berth's wrote: missing, forged or planted, each is named. */
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";

import { openLedger } from "../../operator/adapters/ledger/open.ts";
import { signerOf, trustedKeysOf } from "../../operator/adapters/ledger/signing.ts";
import { verifyLedger } from "../../operator/controllers/verify.ts";
import type { Ledger } from "../../operator/ports.ts";
import { claim, pool } from "./meteringobjects.ts";
import { sealerAt } from "./sealerrig.ts";

let place = "";
let copies = 0;
const { privateKey, publicKey } = generateKeyPairSync("ed25519");
const signer = signerOf(privateKey.export({ type: "pkcs8", format: "pem" }).toString(), "a test");
const trust = trustedKeysOf(publicKey.export({ type: "spki", format: "pem" }).toString(), "a test");
const open = (name: string): Ledger => openLedger({ url: pathToFileURL(join(place, name)).href });
const root = "v1/dt=2026-11-21/root.json";
const signature = "v1/dt=2026-11-21/root.sig.json";

before(async () => {
  place = await mkdtemp(join(tmpdir(), "berth-days-"));
  const objects = {
    deployments: [],
    pools: [pool({ deployment: "a", sizes: [["22:00:00", 1]] })],
    claims: [claim({ id: "c-a", deployment: "a", claimed: "22:00:00" })],
  };
  await sealerAt({ ledger: open("sealed"), at: "2026-11-22T02:06:00Z", objects, signer }).sealer.pass();
  await sealerAt({ ledger: open("today"), at: "2026-11-22T00:06:00Z", objects, signer }).sealer.pass();
});
after(() => rm(place, { recursive: true, force: true }));

async function told(harm: (ledger: Ledger) => Promise<unknown>, keys?: typeof trust): Promise<string[]> {
  const name = `copy-${copies++}`;
  await cp(join(place, "sealed"), join(place, name), { recursive: true });
  await harm(open(name));
  const { findings } = await verifyLedger(open(name), keys ? { trust: keys } : {});
  return findings.map(({ key, problem }) => `${key} ${problem}`);
}

test("a finished day has its root, the newest day needs none yet", async () => {
  assert.deepEqual(await told(async () => undefined, trust), []);
  assert.deepEqual(
    (await open("today").list("v1/")).filter((key) => key.includes("root")),
    [],
  );
  assert.deepEqual((await verifyLedger(open("today"), { trust })).findings, []);
  const gone = async (ledger: Ledger) => [await ledger.remove(root), await ledger.remove(signature)];
  for (const keys of [undefined, trust])
    assert.deepEqual(await told(gone, keys), [`${root} is missing, though a later day has begun`]);
});

test("a root is signed where the windows around it are, and its signature is looked at", async () => {
  assert.deepEqual(await told((ledger) => ledger.remove(signature), trust), [
    `${root} has no signature, though the window after it has one`,
  ]);
  const junk = async (ledger: Ledger) => [
    await ledger.remove(signature),
    await ledger.putOnce(signature, Buffer.from("{}\n")),
  ];
  assert.deepEqual(await told(junk, trust), [`${signature} is no DSSE envelope of a manifest`]);
});

test("what Berth never writes is named: other revisions of a segment, roots of empty days, signatures of nothing", async () => {
  const planted = [
    "v1/dt=2026-11-20/root.json",
    "v1/dt=2026-11-21/hr=20/manifest.sig.json",
    "v1/dt=2026-11-21/hr=22/segment-r1.ndjson.gz",
    "v1/notes.txt",
  ];
  for (const key of planted)
    assert.deepEqual(await told((ledger) => ledger.putOnce(key, Buffer.from("{}\n"))), [
      `${key} is nothing that Berth writes here: it was put in`,
    ]);
  // A process that died before the manifest leaves pointers to adjustments, and segments: cli/ledgerstrict.test.ts.
  const left = "v1/dt=2026-11-21/hr=22/adjusted-by=1795312800-3600.json";
  assert.deepEqual(await told((ledger) => ledger.putOnce(left, Buffer.from("{}\n"))), []);
});

test("a key that was changed after the root of a day was signed leaves that signature as it is, and counts no conflict", async () => {
  const ledger = open("rotated");
  const objects = {
    deployments: [],
    pools: [pool({ deployment: "a", sizes: [["22:00:00", 1]] })],
    claims: [claim({ id: "c-a", deployment: "a", claimed: "22:00:00" })],
  };
  const dying = {
    ...ledger,
    putOnce: async (key: string, body: Parameters<Ledger["putOnce"]>[1]) => {
      if (key.startsWith("v1/dt=2026-11-22/")) throw new Error("killed");
      return ledger.putOnce(key, body);
    },
  };
  await assert.rejects(
    sealerAt({ ledger: dying, at: "2026-11-22T01:06:00Z", objects, signer }).sealer.pass(),
    /killed/,
  );
  const before = await ledger.get(signature);
  assert.ok(before);
  const pem = generateKeyPairSync("ed25519").privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  const next = sealerAt({ ledger, at: "2026-11-22T01:06:00Z", objects, signer: signerOf(pem, "a later key") });
  await next.sealer.pass();
  assert.deepEqual(await ledger.get(signature), before);
  assert.match(await next.registry.metrics(), /^berth_ledger_conflicts_total 0$/m);
});
