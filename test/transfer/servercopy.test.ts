// Server-side copy on the real S3 server: what it moves, what it is held to, whose rights it needs, and what follows a refusal.
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { after, before, test } from "node:test";
import type { TestContext } from "node:test";
import { DeleteBucketPolicyCommand, ListMultipartUploadsCommand, PutBucketPolicyCommand, PutBucketVersioningCommand, PutObjectCommand } from "@aws-sdk/client-s3"; // prettier-ignore
import { newS3Client } from "../../operator/adapters/s3/client.ts";
import { newS3Source } from "../../operator/adapters/s3/source.ts";
import { openStore } from "../../operator/adapters/store/open.ts";
import type { WayChoice } from "../../operator/plan/model/way.ts";
import type { ObjectSource, ObjectStore } from "../../operator/ports.ts";
import { systemClock } from "../../operator/runtime/clock.ts";
import { RetryError, TerminalError } from "../../operator/runtime/errors.ts";
import { importModel } from "../../operator/transfer/import.ts";
import type { ImportJob } from "../../operator/transfer/import.ts";
import { newPartPlaces } from "../../operator/transfer/places.ts";
import type { PartPlaces } from "../../operator/transfer/places.ts";
import { newRawClient } from "../../operator/transfer/rawget.ts";
import { startFaultProxy } from "../cluster/faultproxy.ts";
import type { FaultProxy, HttpFault, SeenRequest } from "../cluster/faultproxy.ts";
import { startS3 } from "../cluster/s3.ts";
import type { S3Server } from "../cluster/s3.ts";
import { safetensors, tinyModel } from "../models/tiny.ts";
import { jobFor, newObserver, newStore } from "./bench.ts";

const weightBytes = 36 << 20;
const header = { w: { dtype: "U8", shape: [weightBytes], data_offsets: [0, weightBytes] } };
const weights = safetensors(header, weightBytes);
randomBytes(weightBytes).copy(weights, weights.length - weightBytes);
const swapped = Buffer.from(weights);
swapped[weights.length - 1] = (swapped.at(-1) ?? 0) ^ 1;
const files = tinyModel({ "model.safetensors": weights });
const sha256 = createHash("sha256").update(weights).digest("hex");
/** Copied is what a header names, encoded. */
const FOLDER = "m ü+%/";
/** Of 8 MiB. */
const PARTS = 5;
const KEY = "models/ns-uid/model-uid/1/model.safetensors";

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

interface Rig {
  readonly source: ObjectSource;
  readonly store: ObjectStore;
  readonly bucket: string;
  readonly storeBucket: string;
  /** Puts it as a client does that sends no checksum, or one that sends a CRC-32. */
  put(key: string, body: Uint8Array | string, checksum?: "CRC32"): Promise<unknown>;
  policy(actions: readonly string[]): Promise<unknown>;
}

let made = 0;

/** Both behind the proxy, so under one address; an anonymous source may do what the bucket's policy says. */
async function newRig(t: TestContext, { anonymous = false, endpoint = proxy.url } = {}): Promise<Rig> {
  const n = String(made++);
  const [bucket, storeBucket] = [`copy-source-${n}`, `copy-store-${n}`];
  for (const name of [bucket, storeBucket]) await s3.createBucket(name);
  const { region, accessKeyId, secretAccessKey } = s3;
  const credentials = { accessKeyId, secretAccessKey };
  const bulk = newRawClient({ silenceMs: 20_000 });
  const owner = newS3Client({ endpoint: s3.endpoint, region, credentials });
  const source = newS3Source({ endpoint, region, bucket, bulk, ...(anonymous ? {} : { credentials }) });
  const store = openStore({ url: `s3://${storeBucket}/platform`, endpoint: proxy.url, region, credentials });
  t.after(() => {
    owner.destroy();
    source.close();
    store.close();
  });
  const put: Rig["put"] = (key, Body, ChecksumAlgorithm) =>
    owner.send(new PutObjectCommand({ Bucket: bucket, Key: FOLDER + key, Body, ChecksumAlgorithm }));
  for (const [path, body] of Object.entries(files)) await put(path, body);
  const policy: Rig["policy"] = (actions) => {
    if (actions.length === 0) return owner.send(new DeleteBucketPolicyCommand({ Bucket: bucket }));
    const resources = [`arn:aws:s3:::${bucket}`, `arn:aws:s3:::${bucket}/*`];
    const statements = actions.map((Action) => ({
      Effect: "Allow",
      Principal: "*",
      Action,
      Resource: resources[Action === "s3:ListBucket" ? 0 : 1],
    }));
    const Policy = JSON.stringify({ Version: "2012-10-17", Statement: statements });
    return owner.send(new PutBucketPolicyCommand({ Bucket: bucket, Policy }));
  };
  return { source, store, bucket, storeBucket, put, policy };
}

const isCopy = (rig: Rig) => (request: SeenRequest) =>
  request.path.startsWith(`/${rig.storeBucket}/`) && request.headers["x-amz-copy-source"] !== undefined;
const isSent = (rig: Rig) => (request: SeenRequest) =>
  request.path.startsWith(`/${rig.storeBucket}/`) &&
  request.query.has("partNumber") &&
  request.headers["x-amz-copy-source"] === undefined;

/** One import with the copy allowed; what was told of its way, in order. */
async function run(rig: Rig, change: Partial<ImportJob> = {}) {
  const told: WayChoice[] = [];
  const observer = newObserver({ going: (choice) => told.push(choice) });
  const job = jobFor({
    source: rig.source,
    store: rig.store,
    prefix: FOLDER,
    serverSideCopy: true,
    observer,
    ...change,
  });
  const result = await importModel(job);
  assert.ok(result.kind === "imported");
  return { result, told, newest: result.revisions.at(-1) };
}

async function assertWhole(rig: Rig): Promise<void> {
  const stored = (await rig.store.get(KEY, 1 << 26)) ?? "";
  assert.equal(createHash("sha256").update(stored).digest("hex"), sha256);
  const client = s3.client();
  const open = await client.send(new ListMultipartUploadsCommand({ Bucket: rig.storeBucket }));
  client.destroy();
  assert.deepEqual(open.Uploads ?? [], []);
}

test("parts are copied by the service, each held to the ETag and after the source's credentials read that very range", async (t) => {
  const rig = await newRig(t);
  const { result, told, newest } = await run(rig);
  await assertWhole(rig);
  const because = "source and store are buckets of one service";
  assert.deepEqual(told, [{ way: "ServerSideCopy", because }]);
  assert.deepEqual([result.way, newest?.way], [told[0], "ServerSideCopy"]);
  const again = await run(rig);
  assert.deepEqual([again.result.way, again.newest?.way], [undefined, "ServerSideCopy"], "the record beside it tells");
  const copies = proxy.seen.filter(isCopy(rig));
  assert.equal(copies.length, PARTS);
  assert.equal(proxy.seen.filter(isSent(rig)).length, 0);
  const { objects } = await rig.source.list(`${FOLDER}model.safetensors`);
  for (const copy of copies) {
    assert.equal(copy.headers["x-amz-copy-source"], `${rig.bucket}/m%20%C3%BC%2B%25/model.safetensors`);
    assert.equal(copy.headers["x-amz-copy-source-if-match"], objects[0]?.etag);
    const range = copy.headers["x-amz-copy-source-range"];
    const read = proxy.seen.findIndex((seen) => seen.method === "GET" && seen.headers.range === range);
    assert.ok(read !== -1 && read < proxy.seen.indexOf(copy), String(range));
  }
});

const lie = (words: RegExp, instead: string): HttpFault => ({
  kind: "rewrite",
  body: (body) => body.toString().replace(words, instead),
});
const refusals: Readonly<Record<string, { readonly fault: HttpFault; readonly words: RegExp }>> = {
  "403 is the answer": { fault: { kind: "status", code: 403 }, words: /the store says InjectedFault.*HTTP 403/ },
  "the server knows no copies": { fault: { kind: "status", code: 501 }, words: /HTTP 501/ },
  "400 is the answer": { fault: { kind: "status", code: 400 }, words: /HTTP 400/ },
  "it fails for ever": { fault: { kind: "status", code: 500 }, words: /the store .* fails/ },
  "no CRC-32 is stated": {
    fault: lie(/<ChecksumCRC32>.*<\/ChecksumCRC32>/, ""),
    words: /does not state the CRC-32 of what it copied/,
  },
  "other bytes are copied": {
    fault: lie(/<ChecksumCRC32>.*<\/ChecksumCRC32>/, "<ChecksumCRC32>AAAAAA==</ChecksumCRC32>"),
    words: /states CRC-32 AAAAAA== of a part that has .* in the source/,
  },
};
for (const [name, { fault, words }] of Object.entries(refusals)) {
  test(`where ${name}, the bytes that were read are sent, and that is told once`, async (t) => {
    const rig = await newRig(t);
    const rule = proxy.add({ match: isCopy(rig), fault });
    t.after(() => rule.remove());
    const { result, told, newest } = await run(rig);
    await assertWhole(rig);
    assert.equal(told.length, 2);
    assert.deepEqual([told[1]?.way, newest?.way, result.way], ["StreamedUpload", "StreamedUpload", told[1]]);
    assert.match(told[1]?.because ?? "", words);
    assert.equal(proxy.seen.filter(isSent(rig)).length, PARTS);
  });
}

test("a server that repeats the whole object's checksum for a part of it is not believed", async (t) => {
  // versitygw 1.8 does so where object and upload are of one algorithm: backend/posix UploadPartCopy.
  const rig = await newRig(t);
  await rig.put("model.safetensors", weights, "CRC32");
  const { told } = await run(rig);
  await assertWhole(rig);
  assert.match(told[1]?.because ?? "", /states CRC-32 .* of a part/);
});

test("a server that asks for patience is asked again and for less at once, not given up", async (t) => {
  const rig = await newRig(t);
  const rule = proxy.add({ match: isCopy(rig), times: 3, fault: { kind: "status", code: 503 } });
  t.after(() => rule.remove());
  let slowed = 0;
  const all = newPartPlaces({ clock: systemClock, bufferBytes: 64 << 20, partBytes: 8 << 20 });
  const share = (): PartPlaces => {
    const own = all.share();
    const slowDown = (): void => {
      slowed++;
      own.slowDown();
    };
    return { ...own, slowDown };
  };
  const { told } = await run(rig, { places: { ...all, share } });
  await assertWhole(rig);
  assert.deepEqual([told.length, rule.hits, slowed], [1, 3, 3]);
});

/** A source whose object is swapped when the first of its parts has been read; the others are read before or after that. */
function swapping(rig: Rig, others: "before" | "after"): ObjectSource {
  const { fill } = rig.source;
  assert.ok(fill);
  const swap = Promise.withResolvers<unknown>();
  let parts = 0;
  return {
    ...rig.source,
    fill: async (object, ...rest) => {
      if (!object.key.endsWith(".safetensors")) return fill(object, ...rest);
      const number = ++parts;
      if (others === "after" && number > 1) await swap.promise;
      const filled = await fill(object, ...rest);
      if (number === (others === "after" ? 1 : PARTS)) swap.resolve(rig.put("model.safetensors", swapped));
      await swap.promise;
      return filled;
    },
  };
}

test("an object that is swapped after its first part was read comes neither by copy nor at all", async (t) => {
  const rig = await newRig(t);
  const changed = (error: unknown): boolean =>
    error instanceof RetryError && error.cause instanceof TerminalError && error.cause.reason === "SourceChanged";
  await assert.rejects(run(rig, { source: swapping(rig, "after") }), changed);
  assert.equal(await rig.store.head(KEY), undefined);
});

test("an object that is swapped when all of it was read is what was read, and not what the service has now", async (t) => {
  const rig = await newRig(t);
  const { told } = await run(rig, { source: swapping(rig, "before") });
  await assertWhole(rig);
  assert.match(told[1]?.because ?? "", /the store says PreconditionFailed.*HTTP 412/);
});

test("where the bucket keeps versions, the version that was read is copied, whatever follows it", async (t) => {
  const rig = await newRig(t);
  const client = s3.client();
  const VersioningConfiguration = { Status: "Enabled" as const };
  await client.send(new PutBucketVersioningCommand({ Bucket: rig.bucket, VersioningConfiguration }));
  client.destroy();
  await rig.put("model.safetensors", weights);
  const { told } = await run(rig, { source: swapping(rig, "after") });
  await assertWhole(rig);
  assert.deepEqual(told.length, 1, told.at(-1)?.because);
  const copies = proxy.seen.filter(isCopy(rig));
  assert.equal(copies.length, PARTS);
  for (const { headers } of copies) assert.match(String(headers["x-amz-copy-source"]), /\?versionId=.+$/);
});

test("a bucket that may be listed but not read is not copied in its reader's name, though the store's credentials could", async (t) => {
  const rig = await newRig(t, { anonymous: true });
  await rig.policy(["s3:ListBucket", "s3:GetObject"]);
  let taken: Promise<unknown> | undefined;
  const { fill } = rig.source;
  assert.ok(fill);
  const held: ObjectSource = {
    ...rig.source,
    // The right to read ends when everything has been inspected.
    fill: async (...read) => {
      await (taken ??= rig.policy(["s3:ListBucket"]));
      return fill(...read);
    },
  };
  await assert.rejects(run(rig, { source: held }), { reason: "AccessDenied" });
  assert.equal(proxy.seen.filter(isCopy(rig)).length, 0);
  await rig.policy(["s3:ListBucket", "s3:GetObject"]);
  const { told } = await run(rig);
  assert.equal(told.length, 1);
  await assertWhole(rig);
});

test("an import that was stopped copies no part twice, whoever brought it", async (t) => {
  const rig = await newRig(t);
  const copied = (since = 0): number[] =>
    proxy.seen
      .slice(since)
      .filter(isCopy(rig))
      .map(({ query }) => Number(query.get("partNumber")));
  // Those after the second do not reach the service.
  const match = (request: SeenRequest): boolean => isCopy(rig)(request) && Number(request.query.get("partNumber")) > 2;
  const stalled = proxy.add({ match, fault: { kind: "stall" } });
  const stop = new AbortController();
  let parts = 0;
  const end = (): void => {
    stop.abort();
    proxy.resetOpen();
  };
  const observer = newObserver({ bytes: (count) => void (count === 8 << 20 && ++parts === 2 && end()) });
  await assert.rejects(run(rig, { observer, signal: stop.signal }), { name: "AbortError" });
  assert.ok(copied().includes(1) && copied().includes(2), copied().join(" "));
  stalled.remove();
  const since = proxy.seen.length;
  const { told } = await run(rig);
  await assertWhole(rig);
  // The others are in the server's own list of parts.
  assert.deepEqual(copied(since).sort(), [3, 4, 5]);
  assert.deepEqual(told, [{ way: "ServerSideCopy", because: "source and store are buckets of one service" }]);
  assert.equal(proxy.seen.filter(isSent(rig)).length, 0);
});

test("bytes are sent where copying is not enabled, or the source is not of the store's service, and written where it is a folder", async (t) => {
  const off = await newRig(t);
  const because = "server-side copy is not enabled";
  assert.deepEqual((await run(off, { serverSideCopy: false })).told, [{ way: "StreamedUpload", because }]);
  const other = await newRig(t, { endpoint: s3.endpoint });
  const foreign = { way: "StreamedUpload", because: "the source is not in the store's own service" };
  assert.deepEqual((await run(other)).told, [foreign]);
  assert.equal(proxy.seen.filter((request) => isCopy(off)(request) || isCopy(other)(request)).length, 0);
  const folder = await run(off, { store: await newStore(t, s3, "file") });
  assert.deepEqual(folder.told, [{ way: "Directory", because: "the store is a directory" }]);
  assert.equal(folder.newest?.way, "Directory");
});
