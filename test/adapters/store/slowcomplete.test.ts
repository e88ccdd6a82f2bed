// Servers that put a large object together while they are asked to complete it, and say nothing meanwhile.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { crc32 } from "node:zlib";
import { after, before, test } from "node:test";
import type { TestContext } from "node:test";
import { newS3Store } from "../../../operator/adapters/store/s3.ts";
import { RetryError } from "../../../operator/runtime/errors.ts";
import { startFaultProxy } from "../../cluster/faultproxy.ts";
import type { FaultProxy, SeenRequest } from "../../cluster/faultproxy.ts";
import { startS3 } from "../../cluster/s3.ts";
import type { S3Server } from "../../cluster/s3.ts";

const SILENCE_MS = 100;
const bytes = randomBytes(1000);
const plan = { sizeBytes: bytes.length, partBytes: bytes.length, content: "one" };

let s3: S3Server;
let proxy: FaultProxy;
before(async () => {
  s3 = await startS3();
  proxy = await startFaultProxy({ target: s3.endpoint, dialect: "s3" });
});
after(async () => {
  await proxy.close();
  await s3.stop();
});

const isComplete = ({ method, query }: SeenRequest): boolean => method === "POST" && query.has("uploadId");

/** A store that gives other requests up after SILENCE_MS, and an upload with all of its parts. */
async function newUpload(t: TestContext, bucket: string) {
  await s3.createBucket(bucket);
  const { region, accessKeyId, secretAccessKey } = s3;
  const credentials = { accessKeyId, secretAccessKey };
  const store = newS3Store({
    bucket,
    prefix: "p",
    endpoint: proxy.url,
    region,
    credentials,
    idleTimeoutMs: SILENCE_MS,
  });
  t.after(() => store.close());
  t.after(() => proxy.clear());
  const upload = await store.upload("file", plan);
  await upload.part(0, bytes, crc32(bytes));
  return { store, upload };
}

test("a server may be silent for longer while it completes an object than otherwise", async (t) => {
  const { store, upload } = await newUpload(t, "slow");
  const slow = proxy.add({ match: isComplete, fault: { kind: "delay", delayMs: 10 * SILENCE_MS } });
  assert.equal(await upload.commit(crc32(bytes)), "written");
  assert.equal(slow.hits, 1);
  assert.equal((await store.head("file"))?.sizeBytes, bytes.length);
});

test("an import that is stopped does not wait for a server that completes", async (t) => {
  const { upload } = await newUpload(t, "stopped");
  const stop = new AbortController();
  const asked = Promise.withResolvers<void>();
  const match = (request: SeenRequest): boolean => isComplete(request) && (asked.resolve(), true);
  proxy.add({ match, fault: { kind: "stall" } });
  const committing = upload.commit(crc32(bytes), stop.signal);
  await asked.promise;
  stop.abort();
  await assert.rejects(committing, RetryError);
});

test("where the answer was lost, the object that stands there is the answer", async (t) => {
  const { upload } = await newUpload(t, "lost");
  proxy.add({ match: isComplete, times: 1, fault: { kind: "lose-answer" } });
  await assert.rejects(upload.commit(crc32(bytes)), RetryError);
  // Servers differ in what they look at first: the condition, or the upload, which they do not know any more.
  proxy.add({ match: isComplete, times: 1, fault: { kind: "status", code: 404, message: "NoSuchUpload" } });
  assert.equal(await upload.commit(crc32(bytes)), "exists");
});

test("an upload that is gone with its bytes is none that was completed", async (t) => {
  const { store, upload } = await newUpload(t, "gone");
  await store.abortUploads("");
  await assert.rejects(upload.commit(crc32(bytes)), /NoSuchUpload/);
});
