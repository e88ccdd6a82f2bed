// Another Berth's store as a source: its manifest is a list of digests, and nothing more.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { TestContext } from "node:test";
import { PutObjectCommand } from "@aws-sdk/client-s3";
import { openStore } from "../../operator/adapters/store/open.ts";
import type { ObjectStore } from "../../operator/ports.ts";
import { RetryError, TerminalError } from "../../operator/runtime/errors.ts";
import { importModel } from "../../operator/transfer/import.ts";
import { startS3 } from "../cluster/s3.ts";
import type { S3Server } from "../cluster/s3.ts";
import { tinyModel, uploadFiles } from "../models/tiny.ts";
import { jobFor, newSource, newStore } from "./bench.ts";

const prefix = "berth/models/ns-uid/model-uid/1";
let s3: S3Server;
before(async () => {
  s3 = await startS3();
  await s3.createBucket("source");
  const client = s3.client();
  await uploadFiles(client, "source", "m/", tinyModel({ "deep/notes.txt": "notes" }));
  client.destroy();
});
after(() => s3.stop());

/** A bucket that is the store of one Berth, with the model in it. */
async function otherStore(t: TestContext, bucket: string) {
  await s3.createBucket(bucket);
  const { endpoint, region, accessKeyId, secretAccessKey } = s3;
  const credentials = { accessKeyId, secretAccessKey };
  const store = openStore({ url: `s3://${bucket}/berth`, endpoint, region, credentials });
  t.after(() => store.close());
  const result = await importModel(jobFor({ source: newSource(t, s3, "source"), store, prefix: "m" }));
  assert.ok(result.kind === "imported");
  return { bucket, digest: result.revisions.at(-1)?.digest };
}

async function importFrom(t: TestContext, bucket: string, store: ObjectStore) {
  const result = await importModel(jobFor({ source: newSource(t, s3, bucket), store, prefix }));
  assert.ok(result.kind === "imported", JSON.stringify(result));
  return result.revisions.at(-1)?.digest;
}

async function put(bucket: string, path: string, Body: string): Promise<void> {
  const client = s3.client();
  await client.send(new PutObjectCommand({ Bucket: bucket, Key: `${prefix}/${path}`, Body }));
  client.destroy();
}

test("a revision of another store is the same revision here", async (t) => {
  const { bucket, digest } = await otherStore(t, "other");
  const store = await newStore(t, s3, "file");
  assert.equal(await importFrom(t, bucket, store), digest);
  assert.equal(await store.head("models/ns-uid/model-uid/1/.berth/files/f-config.json"), undefined);
});

test("what differs from the manifest beside it is not imported", async (t) => {
  const { bucket } = await otherStore(t, "spoilt");
  await put(bucket, "deep/notes.txt", "noteZ");
  const mismatch = (error: unknown): boolean =>
    error instanceof RetryError &&
    error.cause instanceof TerminalError &&
    error.cause.reason === "ChecksumMismatch" &&
    /^deep\/notes\.txt has SHA-256 [0-9a-f]{64}, but the source states [0-9a-f]{64}$/.test(error.cause.message);
  await assert.rejects(importFrom(t, bucket, await newStore(t, s3, "s3")), mismatch);
});

test("a manifest that promises what is not so, or is none, changes nothing of what is imported", async (t) => {
  const { bucket, digest } = await otherStore(t, "foreign");
  const file = { path: "never-there.safetensors", size: 1, sha256: "0".repeat(64) };
  const promising = { format: "berth.dev/manifest/v1", digest: `sha256:${"0".repeat(64)}`, files: [file] };
  for (const text of [JSON.stringify(promising), "{}", "\u0000", "[".repeat(100_000)]) {
    await put(bucket, "MANIFEST.json", text);
    assert.equal(await importFrom(t, bucket, await newStore(t, s3, "s3")), digest);
  }
});
