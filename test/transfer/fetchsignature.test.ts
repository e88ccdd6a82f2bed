// What `berth fetch` believes where its template pins keys: nothing that the store or the store role say, but a signature of exactly
// this revision. The role's own routes over a real store, with answers that a role in wrong hands would give put in between.
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { signerOf } from "../../operator/adapters/ledger/signing.ts";
import { openStore } from "../../operator/adapters/store/open.ts";
import { fetchConfig } from "../../operator/config.ts";
import { serve } from "../../operator/http/serve.ts";
import { createStoreApp } from "../../operator/http/store.ts";
import type { ServedRevision } from "../../operator/http/store.ts";
import { envelopeBytes } from "../../operator/plan/metering/dsse.ts";
import { MANIFEST, manifestText, parseManifest } from "../../operator/plan/model/manifest.ts";
import { modelEnvelope, signatureKey } from "../../operator/plan/model/signature.ts";
import type { ManifestSigner, ObjectStore } from "../../operator/ports.ts";
import { newSender } from "../../operator/storesend.ts";
import { newRevisions } from "../../operator/storerevisions.ts";
import { sha256Hex } from "../../operator/transfer/hash.ts";
import { commitRevision } from "../../operator/transfer/revisions.ts";
import { newMemoryLog } from "../runtime/rig.ts";
import { newFolder, startFetch } from "./storerig.ts";

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);

interface Key {
  readonly signer: ManifestSigner;
  /** As the flag takes it. */
  readonly publicKey: string;
}

function newKey(): Key {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const pem = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  return {
    signer: signerOf(pem, "a key of the test"),
    publicKey: publicKey.export({ type: "spki", format: "der" }).toString("base64"),
  };
}

const key = newKey();
const other = newKey();

interface Stored {
  readonly folder: string;
  readonly digest: string;
  readonly manifest: Uint8Array;
}

/** A complete revision of one file, signed where there is a signer. */
async function storeRevision(
  store: ObjectStore,
  number: number,
  text: string,
  signer?: ManifestSigner,
): Promise<Stored> {
  const folder = `models/ns/uid/${String(number)}/`;
  const bytes = encode(text);
  await store.put(`${folder}weights.safetensors`, bytes);
  const files = [{ path: "weights.safetensors", sizeBytes: bytes.length, sha256: sha256Hex(bytes) }];
  const record = { fingerprint: "sha256:0", importedAt: "2026-01-01T00:00:00Z", version: "0" } as never;
  const { manifest } = await commitRevision(store, folder, files, record, signer);
  return {
    folder,
    digest: manifest.digest,
    manifest: (await store.get(folder + MANIFEST, 1 << 20)) ?? new Uint8Array(),
  };
}

interface Rig {
  readonly store: ObjectStore;
  readonly url: string;
  /** Requests by route. */
  readonly asked: Map<string, number>;
  /** What the role serves, to whoever asks. */
  serves(revision: Stored): void;
  /** Answers of a role in wrong hands; none by default. */
  lies(change?: Partial<ServedRevision>): void;
}

async function startRole(t: TestContext): Promise<Rig> {
  const root = mkdtempSync(join(tmpdir(), "berth-signed-"));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  const store = openStore({ url: `file://${root}`, region: "us-east-1" });
  const revisions = newRevisions(store);
  let grant = { folder: "", digest: "" };
  let lie: Partial<ServedRevision> = {};
  const asked = new Map<string, number>();
  const app = createStoreApp({
    log: newMemoryLog(),
    authorize: () => Promise.resolve({ grant, podUID: "pod" }),
    revision: async (wanted) => {
      const found = await revisions(wanted);
      return "reason" in found ? found : { ...found, ...lie };
    },
    send: newSender(store).send,
    enter: () => Promise.resolve(() => undefined),
    onReport: () => undefined,
    onAnswer: (route) => void asked.set(route, (asked.get(route) ?? 0) + 1),
    onBytes: () => undefined,
    leaving: () => false,
  });
  const serving = await serve(app, 0, "127.0.0.1");
  t.after(() => serving.stop());
  return {
    store,
    asked,
    url: `http://127.0.0.1:${String(serving.port)}`,
    serves: ({ folder, digest }) => void (grant = { folder, digest }),
    lies: (change = {}) => void (lie = change),
  };
}

interface Ended {
  readonly code: number | null;
  readonly message: string;
  readonly into: string;
  /** Requests for bytes of files. */
  readonly blobs: number;
}

async function fetchWith(t: TestContext, rig: Rig, digest: string, keys: readonly Key[]): Promise<Ended> {
  rig.asked.clear();
  const trusted = keys.map(({ publicKey }) => publicKey).join(",");
  const flags = keys.length > 0 ? ["--trusted-keys", trusted, "--digest", digest] : [];
  const run = startFetch(newFolder(t), {
    url: rig.url,
    token: "pod",
    args: [...flags, "--patience-seconds", "2"],
  });
  return { ...(await run.done), into: run.into, blobs: rig.asked.get("blob") ?? 0 };
}

test("a manifest that a trusted key signed is taken; while a key is replaced both halves are trusted", async (t) => {
  const rig = await startRole(t);
  const before = await storeRevision(rig.store, 1, "of the old key", key.signer);
  const after = await storeRevision(rig.store, 2, "of the new key", other.signer);
  for (const [revision, keys] of [
    [before, [key]],
    [before, [other, key]],
    [after, [key, other]],
  ] as const) {
    rig.serves(revision);
    const { code, message, into } = await fetchWith(t, rig, revision.digest, keys);
    assert.equal(code, 0, message);
    assert.match(readFileSync(join(into, "weights.safetensors"), "utf8"), /^of the (old|new) key$/);
  }
});

test("without keys nobody asks for a signature, and models of before there were any are fetched", async (t) => {
  const rig = await startRole(t);
  const unsigned = await storeRevision(rig.store, 1, "weights");
  rig.serves(unsigned);
  const { code, message } = await fetchWith(t, rig, unsigned.digest, []);
  assert.equal(code, 0, message);
  assert.equal(rig.asked.get("signature"), undefined);
});

test("what no trusted key vouches for is refused before a byte of weights is asked for, with one message", async (t) => {
  const rig = await startRole(t);
  const signed = await storeRevision(rig.store, 1, "weights", key.signer);
  const unsigned = await storeRevision(rig.store, 2, "unsigned weights");
  const later = await storeRevision(rig.store, 3, "other weights", key.signer);
  const sound = modelEnvelope(signed.manifest, key.signer);
  const { payload, ...envelope } = JSON.parse(Buffer.from(sound).toString()) as {
    payload: string;
    signatures: { keyid: string; sig: string }[];
  };
  const answer = (content: object): Partial<ServedRevision> => ({
    signature: () => Promise.resolve(encode(JSON.stringify(content))),
  });
  const evil = encode(manifestText({ ...(parseManifest(Buffer.from(later.manifest).toString()) ?? assert.fail()) }));
  const zero = Buffer.alloc(64).toString("base64");
  const cases: readonly (readonly [what: string, Stored, lie: Partial<ServedRevision>, words: RegExp])[] = [
    ["no signature", unsigned, {}, /is not signed/],
    ["a signature that the role keeps back", signed, { signature: () => Promise.resolve(undefined) }, /is not signed/],
    ["another key's", signed, { signature: () => Promise.resolve(modelEnvelope(signed.manifest, other.signer)) }, new RegExp(`key that is not trusted \\(${other.signer.keyId}\\)`)],
    ["a spoilt one", signed, answer({ ...envelope, payload, signatures: [{ keyid: key.signer.keyId, sig: zero }] }), /not its key's/],
    ["another key's under this one's name", signed, answer({ ...envelope, payload, signatures: [{ keyid: key.signer.keyId, sig: Buffer.from(other.signer.sign(signed.manifest)).toString("base64") }] }), /not its key's/],
    ["no envelope", signed, answer([1]), /no DSSE envelope/],
    ["an envelope of sealed hours", signed, { signature: () => Promise.resolve(envelopeBytes(signed.manifest, key.signer)) }, /no DSSE envelope/],
    ["other files beside the signature", signed, { manifest: evil }, /a signature of other bytes/],
    ["other files, their bytes put into the envelope", signed, { manifest: evil, ...answer({ ...envelope, payload: Buffer.from(evil).toString("base64") }) }, /not its key's/],
    ["another revision, properly signed", signed, { manifest: later.manifest, signature: () => Promise.resolve(modelEnvelope(later.manifest, key.signer)) }, new RegExp(`sends the manifest of ${later.digest} for the pinned revision ${signed.digest}`)],
  ]; // prettier-ignore
  for (const [what, revision, lie, words] of cases) {
    rig.serves(revision);
    rig.lies(lie);
    const { code, message, into, blobs } = await fetchWith(t, rig, revision.digest, [key]);
    assert.equal(code, 4, `${what}: ${message}`);
    assert.match(message, /^SignatureInvalid: /, what);
    assert.match(message, words, what);
    for (const part of [revision.digest, `Trusted keys: ${key.signer.keyId}.`, "berth.dev/reimport"])
      assert.ok(message.includes(part), `${what}: ${message}`);
    assert.ok(message.length < 1_200, `${what}: a condition shows all of it`);
    assert.deepEqual([blobs, existsSync(into) ? readdirSync(into) : []], [0, []], what);
  }
});

test("a signature that has no end, or cannot be read now, is not waited for for ever and opens nothing", async (t) => {
  const rig = await startRole(t);
  const signed = await storeRevision(rig.store, 1, "weights", key.signer);
  rig.serves(signed);
  rig.lies({ signature: () => Promise.resolve(new Uint8Array((24 << 20) + 1)) });
  const endless = await fetchWith(t, rig, signed.digest, [key]);
  assert.deepEqual([endless.code, endless.blobs], [1, 0]);
  assert.match(endless.message, /^SignatureInvalid: the store sends more than \d+ bytes/);
  rig.lies({ signature: () => Promise.reject(new Error("a disk that fails")) });
  const failing = await fetchWith(t, rig, signed.digest, [key]);
  assert.deepEqual([failing.code, failing.blobs], [1, 0]);
  assert.match(failing.message, /^StoreUnavailable: /);
  assert.ok(!failing.message.includes("disk"));
});

test("the role serves the signature as it was written, to whoever may read the manifest, and looks again where it found none", async (t) => {
  const rig = await startRole(t);
  const unsigned = await storeRevision(rig.store, 1, "weights");
  rig.serves(unsigned);
  const get = (): Promise<Response> =>
    fetch(`${rig.url}/v1/manifest/signature`, { headers: { authorization: "Bearer x" } });
  assert.equal((await fetch(`${rig.url}/v1/manifest/signature`)).status, 401);
  const none = await get();
  assert.deepEqual([none.status, ((await none.json()) as { reason: string }).reason], [404, "SignatureMissing"]);
  const envelope = modelEnvelope(unsigned.manifest, key.signer);
  await rig.store.put(unsigned.folder + signatureKey(sha256Hex(unsigned.manifest)), envelope);
  const found = await get();
  assert.equal(found.headers.get("content-length"), String(envelope.length));
  assert.ok(Buffer.from(await found.arrayBuffer()).equals(envelope));
});

test("keys that are none, and half of what belongs together, are refused at the start", () => {
  const digest = `sha256:${"0".repeat(64)}`;
  const config = (flags: Record<string, string>) => fetchConfig({ store: "http://x", into: "/x", ...flags }, {});
  assert.deepEqual(config({ trustedKeys: `${key.publicKey},${other.publicKey}`, digest }).trust, {
    keys: [key.publicKey, other.publicKey],
    digest,
  });
  assert.equal(config({}).trust, undefined);
  assert.throws(() => config({ trustedKeys: key.publicKey }), /give both --trusted-keys and --digest/);
  assert.throws(() => config({ digest }), /give both --trusted-keys and --digest/);
  assert.throws(() => config({ trustedKeys: "MCowBQYDK2VwAyEA", digest }), /which is no Ed25519 public key/);
});
