// What a source states of its files is asked for by HEAD, whose refusals have no words: credentials that have expired are renewed
// all the same, and where a source will not say anything, people are told.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { TestContext } from "node:test";
import { PutObjectCommand } from "@aws-sdk/client-s3";
import type { S3Credentials } from "../../operator/adapters/s3/client.ts";
import { newS3Source } from "../../operator/adapters/s3/source.ts";
import { importModel } from "../../operator/transfer/import.ts";
import { newRawClient } from "../../operator/transfer/rawget.ts";
import { startFaultProxy } from "../cluster/faultproxy.ts";
import type { FaultProxy, SeenRequest } from "../cluster/faultproxy.ts";
import { startS3 } from "../cluster/s3.ts";
import type { S3Server } from "../cluster/s3.ts";
import { safetensors, tinyModel, uploadFiles } from "../models/tiny.ts";
import { jobFor, newObserver, newStore } from "./bench.ts";

const weightBytes = 20 << 20;
const weights = safetensors({ w: { dtype: "U8", shape: [weightBytes], data_offsets: [0, weightBytes] } }, weightBytes);
const key = "m/model.safetensors";

let s3: S3Server;
let proxy: FaultProxy;
before(async () => {
  s3 = await startS3();
  proxy = await startFaultProxy({ target: s3.endpoint, dialect: "s3" });
  await s3.createBucket("source");
  const client = s3.client();
  await uploadFiles(client, "source", "m/", tinyModel());
  await client.send(new PutObjectCommand({ Bucket: "source", Key: key, Body: weights, ChecksumAlgorithm: "CRC32" }));
  client.destroy();
});
after(async () => {
  await proxy.close();
  await s3.stop();
});

const isHead = ({ method }: SeenRequest): boolean => method === "HEAD";

function sourceOf(t: TestContext, credentials: S3Credentials, renew?: () => Promise<S3Credentials>) {
  const bulk = newRawClient({ silenceMs: 20_000 });
  const place = { endpoint: proxy.url, region: s3.region, bucket: "source" };
  const source = newS3Source({ ...place, credentials, bulk, ...(renew ? { renew } : {}) });
  t.after(() => source.close());
  return source;
}

test("credentials that have expired are read anew where a HEAD says no more than 400", async (t) => {
  const { accessKeyId, secretAccessKey } = s3;
  const isExpired = (request: SeenRequest): boolean =>
    isHead(request) && request.headers["x-amz-security-token"] === "of-yesterday";
  const expired = proxy.add({ match: isExpired, fault: { kind: "status", code: 400 } });
  t.after(() => expired.remove());
  let asked = 0;
  const renew = (): Promise<S3Credentials> => {
    asked++;
    return Promise.resolve({ accessKeyId, secretAccessKey });
  };
  const source = sourceOf(t, { accessKeyId, secretAccessKey, sessionToken: "of-yesterday" }, renew);
  const { objects } = await sourceOf(t, { accessKeyId, secretAccessKey }).list("m/");
  const object = objects.find((one) => one.key === key);
  assert.ok(object);
  const stated = await source.stated?.(object);
  assert.equal(typeof stated?.crc32, "number", "what the server keeps of the file");
  assert.deepEqual([expired.hits, asked], [1, 1]);
});

for (const [code, asked] of [
  [400, 1],
  [501, 1],
  [503, 8],
] as const) {
  test(`a source that answers ${String(code)} to each HEAD is imported, and named as one that says nothing`, async (t) => {
    const refused = proxy.add({ match: isHead, fault: { kind: "status", code } });
    t.after(() => refused.remove());
    const { accessKeyId, secretAccessKey } = s3;
    const told: string[] = [];
    const observer = newObserver({ unstated: (path, because) => void told.push(`${path}: ${because}`) });
    const source = sourceOf(t, { accessKeyId, secretAccessKey });
    const store = await newStore(t, s3, "file");
    const result = await importModel(jobFor({ source, store, prefix: "m", observer }));
    assert.equal(result.kind, "imported");
    assert.equal(told.length, 1);
    assert.match(
      told[0] ?? "",
      new RegExp(`^model\\.safetensors: .*http:.* says ${String(code)} to a HEAD, and no more`),
    );
    assert.equal(refused.hits, asked);
  });
}

test("a file that changes when its HEAD is asked for is none that says nothing", async (t) => {
  const refused = proxy.add({ match: isHead, fault: { kind: "status", code: 412 } });
  t.after(() => refused.remove());
  const { accessKeyId, secretAccessKey } = s3;
  const source = sourceOf(t, { accessKeyId, secretAccessKey });
  const store = await newStore(t, s3, "file");
  await assert.rejects(importModel(jobFor({ source, store, prefix: "m" })), (error: Error) => {
    assert.equal((error.cause as { reason?: string }).reason, "SourceChanged");
    return true;
  });
});

for (const code of [400, 501]) {
  test(`a source that answers ${String(code)} to whoever asks for checksums is read without, and asked for them once`, async (t) => {
    const asksForSums = ({ method, headers }: SeenRequest): boolean =>
      method === "GET" && headers["x-amz-checksum-mode"] !== undefined;
    const refused = proxy.add({ match: asksForSums, fault: { kind: "status", code, message: "Unsupported header" } });
    t.after(() => refused.remove());
    const { accessKeyId, secretAccessKey } = s3;
    for (const bulk of [undefined, newRawClient({ silenceMs: 20_000 })]) {
      const place = { endpoint: proxy.url, region: s3.region, bucket: "source", ...(bulk ? { bulk } : {}) };
      const source = newS3Source({ ...place, credentials: { accessKeyId, secretAccessKey } });
      t.after(() => source.close());
      const { objects } = await source.list("m/");
      const before_ = refused.hits;
      for (const object of objects.filter(({ sizeBytes }) => sizeBytes < 1 << 20))
        assert.equal((await source.read(object, 0, object.sizeBytes)).length, object.sizeBytes);
      assert.equal(refused.hits - before_, 1);
    }
  });
}
