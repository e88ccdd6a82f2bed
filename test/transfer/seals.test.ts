// Seals: everything that a record or a part is believed for is in them, and nobody without the key makes one.
import assert from "node:assert/strict";
import { createPrivateKey, generateKeyPairSync, hkdfSync } from "node:crypto";
import { after, test } from "node:test";
import { signerOf } from "../../operator/adapters/ledger/signing.ts";
import type { FileRecord } from "../../operator/plan/model/manifest.ts";
import type { ManifestSigner } from "../../operator/ports.ts";
import { newHashThreads } from "../../operator/transfer/hashthreads.ts";
import { newSeals } from "../../operator/transfer/seals.ts";
import type { PartSeals } from "../../operator/transfer/seals.ts";

const newPem = (): string =>
  generateKeyPairSync("ed25519").privateKey.export({ type: "pkcs8", format: "pem" }).toString();
const signer = signerOf(newPem(), "key");
const other = signerOf(newPem(), "other");

const folder = "models/ns/uid/1/";
const seals = newSeals(signer, folder);
const record: FileRecord = {
  path: "a.safetensors",
  sizeBytes: 7,
  sha256: "ab".repeat(32),
  etag: '"etag"',
  key: "1/a.safetensors",
};

const hashes = newHashThreads(1);
after(() => hashes.close());
const bytes = new Uint8Array(new SharedArrayBuffer(40_000)).fill(3);
const plan = { sizeBytes: 100_000, partBytes: 40_000, content: '"etag" a.safetensors' };

test("a record is opened by the key that sealed it, in the same folder, with every field as it was", () => {
  const sealed = seals.sealed(record);
  assert.deepEqual(newSeals(signer, folder).opened(sealed), record);
  assert.equal(newSeals(other, folder).opened(sealed), undefined);
  assert.equal(newSeals(signer, "models/ns/other/1/").opened(sealed), undefined);
  assert.equal(newSeals(signer, "models/ns/uid/2/").opened(sealed), undefined);
  for (const change of [
    { path: "b.safetensors" },
    { sizeBytes: 8 },
    { sha256: "ac".repeat(32) },
    { etag: '"other"' },
    { key: "1/b.safetensors" },
    { seal: `${sealed.seal?.slice(0, -1) ?? ""}g` },
    { seal: "" },
  ])
    assert.equal(seals.opened({ ...sealed, ...change }), undefined, JSON.stringify(change));
  assert.equal(seals.opened(record), undefined);
  assert.equal(seals.opened(undefined), undefined);
});

test("without a key records are believed as they are, and sealed ones too", () => {
  const unkeyed = newSeals(undefined, folder);
  assert.deepEqual(unkeyed.sealed(record), record);
  assert.deepEqual(unkeyed.opened(seals.sealed(record)), record);
  assert.equal(unkeyed.parts("key", plan, hashes), undefined);
});

test("a name for a state of the source is the key's own", () => {
  const state = ['"etag"', 7] as const;
  assert.equal(seals.nameOf(state), newSeals(signer, folder).nameOf(state));
  for (const one of [newSeals(other, folder), newSeals(signer, "models/ns/other/1/"), newSeals(undefined, folder)])
    assert.notEqual(one.nameOf(state), seals.nameOf(state));
});

function partsOf(by: ManifestSigner, key = `${folder}a`, change: Partial<typeof plan> = {}): PartSeals {
  const parts = newSeals(by, folder).parts(key, { ...plan, ...change }, hashes);
  assert.ok(parts);
  return parts;
}

test("a part is known again by its seal: its bytes, its number, its object and its plan", async () => {
  const seal = await partsOf(signer).of(1, bytes);
  assert.match(seal, /^[0-9a-f]{48}$/);
  assert.equal(await partsOf(signer).of(1, bytes, seal), seal);
  const changed = new Uint8Array(new SharedArrayBuffer(bytes.length)).fill(3);
  changed[39_999] = 4;
  const others = [
    partsOf(signer).of(1, changed, seal),
    partsOf(signer).of(0, bytes, seal),
    partsOf(other).of(1, bytes, seal),
    partsOf(signer, `${folder}b`).of(1, bytes, seal),
    partsOf(signer, undefined, { content: '"other" a.safetensors' }).of(1, bytes, seal),
    partsOf(signer, undefined, { sizeBytes: 99_999 }).of(1, bytes, seal),
    partsOf(signer, undefined, { partBytes: 39_999 }).of(1, bytes, seal),
  ];
  for (const one of await Promise.all(others)) assert.notEqual(one, seal);
});

test("no two seals have one nonce, and what is none gives none back", async () => {
  const made = await Promise.all(Array.from({ length: 50 }, () => partsOf(signer).of(1, bytes)));
  assert.equal(new Set(made.map((seal) => seal.slice(0, 16))).size, made.length);
  for (const none of ["", "00", "0".repeat(47), `${"0".repeat(47)}g`, "0".repeat(49)])
    assert.notEqual(await partsOf(signer).of(1, bytes, none), none);
});

test("what a key derives is HKDF over its seed, for one purpose alone", () => {
  const pem = newPem();
  const seed = createPrivateKey(pem).export({ type: "pkcs8", format: "der" }).subarray(-32);
  const wanted = Buffer.from(hkdfSync("sha256", seed, "", "one", 32)).toString("hex");
  assert.equal(Buffer.from(signerOf(pem, "key").derive("one")).toString("hex"), wanted);
  assert.notEqual(Buffer.from(signerOf(pem, "key").derive("two")).toString("hex"), wanted);
});
