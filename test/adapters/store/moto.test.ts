// A second, independent S3 server under the same code: source, store and a whole import, killed in the middle.
import assert from "node:assert/strict";
import { createHash, randomBytes, randomUUID } from "node:crypto";
import { test } from "node:test";
import { CreateBucketCommand, ListMultipartUploadsCommand } from "@aws-sdk/client-s3";
import { newS3Source } from "../../../operator/adapters/s3/source.ts";
import { openStore } from "../../../operator/adapters/store/open.ts";
import { systemClock } from "../../../operator/runtime/clock.ts";
import { importModel } from "../../../operator/transfer/import.ts";
import { newPartPlaces } from "../../../operator/transfer/places.ts";
import { newRawClient } from "../../../operator/transfer/rawget.ts";
import { startMoto } from "../../cluster/moto.ts";
import { safetensors, tinyModel, uploadFiles } from "../../models/tiny.ts";
import { jobFor, newObserver } from "../../transfer/bench.ts";
import type { Seen } from "../../transfer/bench.ts";

const PART = 5 << 20;

test("an import from and to another S3 server goes on after a stop, and is whole", async (t) => {
  const moto = await startMoto();
  if ("missing" in moto) return t.diagnostic(`${moto.missing}: not tried`);
  t.after(() => moto.stop());
  const client = moto.client();
  t.after(() => client.destroy());
  const [bucket, storeBucket] = ["source", `store-${randomUUID()}`];
  for (const Bucket of [bucket, storeBucket]) await client.send(new CreateBucketCommand({ Bucket }));
  const bytes = 2 * PART + 1000;
  const weights = safetensors({ w: { dtype: "U8", shape: [bytes], data_offsets: [0, bytes] } }, bytes);
  randomBytes(bytes).copy(weights, weights.length - bytes);
  const files = tinyModel({ "model.safetensors": weights, "ü ?#%+.txt": "odd" });
  await uploadFiles(client, bucket, "m/", files);
  const { endpoint, region, accessKeyId, secretAccessKey } = moto;
  const credentials = { accessKeyId, secretAccessKey };
  const source = newS3Source({ endpoint, region, bucket, credentials, bulk: newRawClient({ silenceMs: 20_000 }) });
  const store = openStore({ url: `s3://${storeBucket}/platform`, endpoint, region, credentials });
  t.after(() => {
    source.close();
    store.close();
  });
  const told: string[] = [];
  const job = () => ({ source, store, prefix: "m", serverSideCopy: true, places: newPartPlaces({ clock: systemClock, bufferBytes: 2 * PART, partBytes: PART }) }); // prettier-ignore
  const stop = new AbortController();
  const observer: Seen = newObserver({ bytes: () => observer.copiedBytes > PART && stop.abort() });
  await assert.rejects(importModel(jobFor({ ...job(), observer, signal: stop.signal })), { name: "AbortError" });
  const second = newObserver({ going: ({ way, because }) => told.push(`${way}: ${because}`) });
  const result = await importModel(jobFor({ ...job(), observer: second }));
  assert.match(told.at(-1) ?? "", /^StreamedUpload: .*keeps no CRC-32/, "this server's copies prove nothing");
  assert.ok(result.kind === "imported");
  const rows = Object.keys(files)
    .sort()
    .map((path) => {
      const content = Buffer.from(files[path] ?? "");
      return [path, content.length, createHash("sha256").update(content).digest("hex")];
    });
  const digest = createHash("sha256").update(JSON.stringify(rows)).digest("hex");
  assert.equal(result.revisions.at(-1)?.digest, `sha256:${digest}`);
  const stored = await store.get("models/ns-uid/model-uid/1/model.safetensors", 1 << 28);
  assert.ok(Buffer.from(stored ?? []).equals(weights));
  assert.deepEqual((await client.send(new ListMultipartUploadsCommand({ Bucket: storeBucket }))).Uploads ?? [], []);
  assert.equal(await store.put("twice", new Uint8Array(1), { ifAbsent: true }), "written");
  assert.equal(await store.put("twice", new Uint8Array(2), { ifAbsent: true }), "exists");
});
