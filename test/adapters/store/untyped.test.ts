// A server that keeps a CRC-32 of each part and takes none without, but knows no types of checksums: what it asks for it gets.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { crc32 } from "node:zlib";
import { test } from "node:test";
import { openStore } from "../../../operator/adapters/store/open.ts";
import { startFaultProxy } from "../../cluster/faultproxy.ts";
import type { SeenRequest } from "../../cluster/faultproxy.ts";
import { startS3 } from "../../cluster/s3.ts";

const PART = 5 << 20;

test("a server that wants a CRC-32 of each part and names no type gets it, also of an upload that is taken up", async (t) => {
  const s3 = await startS3();
  t.after(() => s3.stop());
  const proxy = await startFaultProxy({ target: s3.endpoint, dialect: "s3" });
  t.after(() => proxy.close());
  const bucket = await s3.createBucket("untyped");
  const isPart = ({ method, query }: SeenRequest): boolean => method === "PUT" && query.has("partNumber");
  const isUnsummed = (request: SeenRequest): boolean =>
    isPart(request) && request.headers["x-amz-checksum-crc32"] === undefined;
  const refused = proxy.add({
    match: isUnsummed,
    fault: { kind: "status", code: 400, message: 'checksum missing, want "CRC32", got ""' },
  });
  const untyped = (body: Buffer): string => body.toString().replace(/<ChecksumType>.*<\/ChecksumType>/, "");
  proxy.add({
    match: ({ query }) => query.has("uploads") || query.has("uploadId"),
    fault: { kind: "rewrite", headers: { "x-amz-checksum-type": undefined }, body: untyped },
  });
  const { region, accessKeyId, secretAccessKey } = s3;
  const credentials = { accessKeyId, secretAccessKey };
  const store = openStore({ url: `s3://${bucket}/p`, endpoint: proxy.url, region, credentials });
  t.after(() => store.close());
  const bytes = randomBytes(2 * PART);
  const part = (n: number) => bytes.subarray(n * PART, (n + 1) * PART);
  const plan = { sizeBytes: bytes.length, partBytes: PART, content: "one" };
  const first = await store.upload("file", plan);
  await first.part(0, part(0), crc32(part(0)));
  await first.leave();
  const again = await store.upload("file", plan);
  assert.deepEqual([...again.found], [[0, crc32(part(0))]]);
  await again.part(1, part(1), crc32(part(1)));
  assert.equal(await again.commit(crc32(bytes)), "written");
  assert.ok(Buffer.from((await store.get("file", 1 << 30)) ?? []).equals(bytes));
  assert.equal(refused.hits, 0);
});
