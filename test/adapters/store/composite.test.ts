// A server that keeps the checksum of checksums where the whole object's was asked for: an upload begun there is finished, after a kill too.
import assert from "node:assert/strict";
import { crc32 } from "node:zlib";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { CreateMultipartUploadCommand, PutObjectCommand, UploadPartCommand } from "@aws-sdk/client-s3";
import { openStore } from "../../../operator/adapters/store/open.ts";
import { startS3 } from "../../cluster/s3.ts";

const partBytes = 5 << 20;

function textOf(bytes: Uint8Array): string {
  const text = Buffer.alloc(4);
  text.writeUInt32BE(crc32(bytes));
  return text.toString("base64");
}

test("an upload that is taken up where checksums are composite is not completed as if they were not", async (t) => {
  const s3 = await startS3();
  t.after(() => s3.stop());
  const bucket = await s3.createBucket("composite");
  const { region, accessKeyId, secretAccessKey } = s3;
  const credentials = { accessKeyId, secretAccessKey };
  const store = openStore({ url: `s3://${bucket}/p`, endpoint: s3.endpoint, region, credentials });
  t.after(() => store.close());
  const bytes = randomBytes(2 * partBytes);
  const part = (n: number) => bytes.subarray(n * partBytes, (n + 1) * partBytes);
  const plan = { sizeBytes: bytes.length, partBytes, content: "one" };
  const first = await store.upload("file", plan);
  await first.leave();
  // The same upload as such a server begins it, in the note that the next attempt finds.
  const client = s3.client();
  t.after(() => client.destroy());
  const target = { Bucket: bucket, Key: "p/file" };
  const asked = { ...target, ChecksumAlgorithm: "CRC32", ChecksumType: "COMPOSITE" } as const;
  const { UploadId } = await client.send(new CreateMultipartUploadCommand(asked));
  const note = JSON.stringify({ ...plan, uploadId: UploadId });
  await client.send(new PutObjectCommand({ Bucket: bucket, Key: "p/.incoming/file", Body: note }));
  const taken = await client.send(
    new UploadPartCommand({ ...target, PartNumber: 1, Body: part(0), UploadId, ChecksumCRC32: textOf(part(0)) }),
  );
  assert.ok(taken.ETag);
  const again = await store.upload("file", plan);
  assert.deepEqual([...again.found], [[0, crc32(part(0))]]);
  await again.part(1, part(1), crc32(part(1)));
  assert.equal(await again.commit(crc32(bytes)), "written");
  assert.ok(Buffer.from((await store.get("file", 1 << 30)) ?? []).equals(bytes));
});
