// Buckets that keep versions, on the real S3 server: what was read first is read to the end, whatever is put over it meanwhile.
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { after, before, test } from "node:test";
import {
  DeleteObjectCommand,
  ListObjectVersionsCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
} from "@aws-sdk/client-s3";
import { problemOf } from "../../operator/controllers/modelimport.ts";
import type { ObjectSource } from "../../operator/ports.ts";
import { importModel } from "../../operator/transfer/import.ts";
import { startFaultProxy } from "../cluster/faultproxy.ts";
import type { FaultProxy } from "../cluster/faultproxy.ts";
import { startS3 } from "../cluster/s3.ts";
import type { S3Server } from "../cluster/s3.ts";
import { safetensors, tinyModel, uploadFiles } from "../models/tiny.ts";
import { findRevisions } from "../../operator/transfer/revisions.ts";
import { jobFor, newSource, newStore } from "./bench.ts";

const MIB = 1 << 20;
const weightBytes = 20 * MIB;
const weights = safetensors({ w: { dtype: "U8", shape: [weightBytes], data_offsets: [0, weightBytes] } }, weightBytes);
randomBytes(weightBytes).copy(weights, weights.length - weightBytes);
const files = tinyModel({ "model.safetensors": weights });
const newer = Uint8Array.from(weights, (byte, at) => (at === weights.length - 1 ? byte ^ 1 : byte));
const hashOf = (bytes: Uint8Array | undefined): string => createHash("sha256").update(bytes ?? "").digest("hex"); // prettier-ignore
const folder = "models/ns-uid/model-uid/1/";

let s3: S3Server;
let proxy: FaultProxy;
before(async () => {
  s3 = await startS3({ isVersioning: true });
  proxy = await startFaultProxy({ target: s3.endpoint, dialect: "s3" });
});
after(async () => {
  await proxy.close();
  await s3.stop();
});

test("the version that was read first is read to the end although a newer one stands over it, and the record names it", async (t) => {
  await s3.createBucket("source");
  const client = s3.client();
  t.after(() => client.destroy());
  const VersioningConfiguration = { Status: "Enabled" as const };
  await client.send(new PutBucketVersioningCommand({ Bucket: "source", VersioningConfiguration }));
  await uploadFiles(client, "source", "m/", files);
  const { Versions: old = [] } = await client.send(new ListObjectVersionsCommand({ Bucket: "source" }));
  const versions = new Map(old.map(({ Key = "", VersionId = "" }) => [Key.replace("m/", ""), VersionId]));
  const direct = newSource(t, s3, "source", proxy.url);
  let putting: Promise<unknown> | undefined;
  const put = () => client.send(new PutObjectCommand({ Bucket: "source", Key: "m/model.safetensors", Body: newer }));
  // Every part after the first is read when the newer version is there.
  const fill: ObjectSource["fill"] = async (object, offset, ...rest) => {
    assert.ok(direct.fill);
    if (object.key.endsWith(".safetensors") && offset > 0) await (putting ??= put());
    return direct.fill(object, offset, ...rest);
  };
  const store = await newStore(t, s3, "s3");
  const result = await importModel(jobFor({ source: { ...direct, fill }, store, prefix: "m", answersFor: "Parts" }));
  assert.ok(result.kind === "imported" && putting);
  assert.equal(hashOf(await store.get(`${folder}model.safetensors`, 64 * MIB)), hashOf(weights));
  const late = proxy.seen.filter(
    ({ path, headers }) => path.endsWith(".safetensors") && /^bytes=(8388608|16777216)-/.test(headers.range ?? ""),
  );
  const named = late.map(({ query }) => query.get("versionId"));
  assert.deepEqual(named, [versions.get("model.safetensors"), versions.get("model.safetensors")]);
  const owner = { namespaceUID: "ns-uid", modelUID: "model-uid" };
  const record = (await findRevisions(store, owner)).found.at(-1)?.record;
  assert.deepEqual(new Map(Object.entries(record?.versionIds ?? {})), versions);
  assert.notEqual(hashOf(weights), hashOf(newer));
});

test("a version that is deleted in the middle of the import is a changed source, and the next import takes what stands then", async (t) => {
  await s3.createBucket("deleted");
  const client = s3.client();
  t.after(() => client.destroy());
  const VersioningConfiguration = { Status: "Enabled" as const };
  await client.send(new PutBucketVersioningCommand({ Bucket: "deleted", VersioningConfiguration }));
  const weightsKey = "m/model.safetensors";
  await client.send(new PutObjectCommand({ Bucket: "deleted", Key: weightsKey, Body: newer }));
  await uploadFiles(client, "deleted", "m/", files);
  const direct = newSource(t, s3, "deleted");
  const dropVersion = async (): Promise<unknown> => {
    const { Versions: all = [] } = await client.send(new ListObjectVersionsCommand({ Bucket: "deleted" }));
    const newest = all.find(({ Key, IsLatest }) => Key === weightsKey && IsLatest);
    return client.send(new DeleteObjectCommand({ Bucket: "deleted", Key: weightsKey, VersionId: newest?.VersionId }));
  };
  let dropping: Promise<unknown> | undefined;
  const fill: ObjectSource["fill"] = async (object, offset, ...rest) => {
    assert.ok(direct.fill);
    if (object.key === weightsKey && offset > 0) await (dropping ??= dropVersion());
    return direct.fill(object, offset, ...rest);
  };
  const store = await newStore(t, s3, "s3");
  await assert.rejects(
    importModel(jobFor({ source: { ...direct, fill }, store, prefix: "m", answersFor: "Parts" })),
    (error) => {
      const problem = problemOf(error);
      assert.deepEqual([problem?.reason, problem?.retryable], ["SourceChanged", true], String(error));
      return true;
    },
  );
  const result = await importModel(jobFor({ source: direct, store, prefix: "m" }));
  assert.ok(result.kind === "imported" && result.copied);
  assert.equal(hashOf(await store.get(`${folder}model.safetensors`, 64 * MIB)), hashOf(newer));
});

test("names of versions that no S3 service gives are neither kept nor written down, and the ETag pins", async (t) => {
  await s3.createBucket("long");
  const client = s3.client();
  t.after(() => client.destroy());
  await uploadFiles(client, "long", "m/", tinyModel());
  const rule = proxy.add({
    match: ({ path, method }) => method === "GET" && path.startsWith("/long/m/"),
    fault: { kind: "rewrite", headers: { "x-amz-version-id": "v".repeat(1_025) } },
  });
  t.after(() => rule.remove());
  const source = newSource(t, s3, "long", proxy.url);
  const store = await newStore(t, s3, "s3");
  const result = await importModel(jobFor({ source, store, prefix: "m" }));
  assert.ok(result.kind === "imported" && rule.hits > 0);
  const owner = { namespaceUID: "ns-uid", modelUID: "model-uid" };
  assert.equal((await findRevisions(store, owner)).found.at(-1)?.record?.versionIds, undefined);
  assert.ok(proxy.seen.every(({ path, query }) => !path.startsWith("/long/m/") || !query.has("versionId")));
});
