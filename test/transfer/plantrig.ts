// What the tests of imports that sign share: a model in a bucket, keys, imports that die, and how one is known to have ended well.
import assert from "node:assert/strict";
import { createHash, generateKeyPairSync, randomBytes } from "node:crypto";
import { after, before } from "node:test";
import type { TestContext } from "node:test";
import { HeadObjectCommand } from "@aws-sdk/client-s3";
import { signerOf, trustedKeysOf } from "../../operator/adapters/ledger/signing.ts";
import type { FileRecord } from "../../operator/plan/model/manifest.ts";
import type { ImportResult } from "../../operator/plan/model/importing.ts";
import type { ManifestSigner, ObjectSource, ObjectStore, TrustedKeys } from "../../operator/ports.ts";
import { systemClock } from "../../operator/runtime/clock.ts";
import { RetryError } from "../../operator/runtime/errors.ts";
import { newObjectHasher } from "../../operator/transfer/filehash.ts";
import { importModel } from "../../operator/transfer/import.ts";
import { readInventory } from "../../operator/transfer/inventory.ts";
import { newPartPlaces } from "../../operator/transfer/places.ts";
import { findRevisions } from "../../operator/transfer/revisions.ts";
import { signatureCheck, verifyModels } from "../../operator/transfer/verify.ts";
import { startS3 } from "../cluster/s3.ts";
import type { S3Server } from "../cluster/s3.ts";
import { safetensors, tinyModel, uploadFiles } from "../models/tiny.ts";
import { jobFor, newObserver, newSource } from "./bench.ts";
import type { Seen } from "./bench.ts";

export const PART = 5 << 20;
const PARTS = 4;
const weightBytes = PART * PARTS - 1_000;
export const weights = safetensors(
  { w: { dtype: "U8", shape: [weightBytes], data_offsets: [0, weightBytes] } },
  weightBytes,
);
randomBytes(weightBytes).copy(weights, weights.length - weightBytes);
/** Large ones come in parts, the second has a record of its own, that of the third is written with others. */
export const files = tinyModel({
  "model.safetensors": weights,
  "notes.txt": randomBytes(300 << 10),
  "small.txt": "small",
});
export const bytesOf = (path: string): Buffer => Buffer.from(files[path] ?? "");
export const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
export const owner = { namespaceUID: "ns-uid", modelUID: "model-uid" };
export const folder = "models/ns-uid/model-uid/1/";

let s3: S3Server;
export const server = (): S3Server => s3;
before(async () => {
  s3 = await startS3();
  await s3.createBucket("source");
  const client = s3.client();
  await uploadFiles(client, "source", "m/", files);
  client.destroy();
});
after(() => s3.stop());

export interface Keys {
  readonly signer: ManifestSigner;
  readonly trust: TrustedKeys;
}

export function newKeys(): Keys {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const signer = signerOf(privateKey.export({ type: "pkcs8", format: "pem" }).toString(), "key");
  return { signer, trust: trustedKeysOf(publicKey.export({ type: "spki", format: "pem" }).toString(), "key") };
}
export const ours = newKeys();

export interface Try {
  readonly store: ObjectStore;
  readonly source: ObjectSource;
  readonly keys?: Keys | undefined;
  readonly observer?: Seen;
  readonly signal?: AbortSignal;
  readonly prefix?: string;
}

export function attempt({ keys, prefix = "m", ...rest }: Try): Promise<ImportResult> {
  const places = newPartPlaces({ clock: systemClock, bufferBytes: 2 * PART, partBytes: PART });
  return importModel(jobFor({ ...rest, owner, prefix, places, ...(keys ? { signer: keys.signer } : {}) }));
}

/** Tries as the queue does: what may pass is tried again. */
export async function complete(job: Try): Promise<ImportResult> {
  for (let tries = 1; ; tries++) {
    try {
      return await attempt(job);
    } catch (error) {
      if (!(error instanceof RetryError) || tries === 3) throw error;
    }
  }
}

/** The source, which states no checksums, and what is read of it for the copy: by path, in bytes. */
export function counted(t: TestContext): { readonly source: ObjectSource; readonly read: Map<string, number> } {
  const { stated: _stated, reader: _reader, ...source } = newSource(t, s3, "source");
  const read = new Map<string, number>();
  const fill: ObjectSource["fill"] = async (object, offset, into, signal) => {
    assert.ok(source.fill);
    const path = object.key.slice(object.key.indexOf("/") + 1);
    read.set(path, (read.get(path) ?? 0) + into.length);
    return { ...(await source.fill(object, offset, into, signal)), stated: {} };
  };
  return { source: { ...source, fill }, read };
}

/** Every byte is the source's, and the key vouches for each manifest of these numbers. */
export async function assertOurs(store: ObjectStore, trust: TrustedKeys | undefined, number = 1): Promise<void> {
  const revision = (await findRevisions(store, owner)).found.find((one) => one.number === number);
  const stated = new Map(revision?.manifest.files.map((file) => [file.path, file.sha256]));
  for (const [path, content] of Object.entries(files))
    if (path !== "LICENSE") assert.equal(stated.get(path), sha256(Buffer.from(content)), path);
  const hasher = newObjectHasher(store, { clock: systemClock, tries: 2, baseMs: 1 });
  const { models } = await readInventory(store);
  const check = trust ? { check: signatureCheck(store, trust) } : {};
  const isWanted = (below: string): boolean => below.endsWith(`/${String(number)}/`);
  const { findings } = await verifyModels(models, { hasher, isWanted, ...check }).finally(() => hasher.close());
  assert.deepEqual(findings, []);
}

export async function etagOf(path: string): Promise<string> {
  const client = s3.client();
  const { ETag = "" } = await client.send(new HeadObjectCommand({ Bucket: "source", Key: `m/${path}` }));
  client.destroy();
  return ETag;
}

/** The same beginning, so that inspection finds nothing odd, and an end of somebody else's. */
export function tampered(bytes: Uint8Array): Buffer {
  const other = Buffer.from(bytes);
  other.fill(0x66, Math.max(other.length - 1_000, Math.floor(other.length / 2)));
  return other;
}

export async function recordOf(path: string, bytes: Uint8Array): Promise<FileRecord> {
  return { path, sizeBytes: bytes.length, sha256: sha256(bytes), etag: await etagOf(path), key: `1/${path}` };
}

/** Dies before its manifest: every file stands with its record. */
export async function dieAtTheEnd(job: Try): Promise<void> {
  const put: ObjectStore["put"] = async (key, ...rest) => {
    if (key.endsWith("MANIFEST.json")) throw new RetryError(new Error("killed"));
    return job.store.put(key, ...rest);
  };
  await assert.rejects(attempt({ ...job, store: { ...job.store, put } }), /killed/);
}

/** Stops in the middle of the weights. */
export async function dieInTheMiddle(job: Try): Promise<void> {
  const stop = new AbortController();
  let parts = 0;
  const observer: Seen = newObserver({ bytes: (count) => count >= PART && ++parts === 2 && stop.abort() });
  await assert.rejects(attempt({ ...job, observer, signal: stop.signal }), { name: "AbortError" });
}
