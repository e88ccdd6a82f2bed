// A model that is deleted leaves nothing in its store: not what an importer that was killed had begun, not even what it had sent and
// what arrives only while its folder is being emptied. After that nobody would look there again.
import assert from "node:assert/strict";
import { CreateMultipartUploadCommand, ListMultipartUploadsCommand } from "@aws-sdk/client-s3";
import { after, before, test } from "node:test";
import type { TestContext } from "node:test";
import type { ObjectStore } from "../../operator/ports.ts";
import { RetryError } from "../../operator/runtime/errors.ts";
import { importModel } from "../../operator/transfer/import.ts";
import { emptyModel } from "../../operator/transfer/revisions.ts";
import { startS3 } from "../cluster/s3.ts";
import type { S3Server } from "../cluster/s3.ts";
import { tinyModel, uploadFiles } from "../models/tiny.ts";
import { jobFor, kinds, newSource, newStore } from "./bench.ts";

let s3: S3Server;
before(async () => {
  s3 = await startS3();
  await s3.createBucket("source");
  const client = s3.client();
  await uploadFiles(client, "source", "tiny/", tinyModel());
  client.destroy();
});
after(() => s3.stop());

const owner = { namespaceUID: "ns-uid", modelUID: "model-uid" };
const folder = "models/ns-uid/model-uid/";
const plan = { sizeBytes: 9, partBytes: 9, content: "x" };

async function imported(t: TestContext, store: ObjectStore): Promise<void> {
  const source = newSource(t, s3, "source");
  assert.equal((await importModel(jobFor({ source, store, owner, prefix: "tiny/" }))).kind, "imported");
}

async function leftIn(store: ObjectStore): Promise<string[]> {
  const left: string[] = [];
  for await (const { key } of store.list("models/")) left.push(key);
  for await (const { key } of store.listUploads("models/")) left.push(`upload of ${key}`);
  return left;
}

/** What a bucket has after a kill between the beginning of an upload and the note of whose it is. */
async function beginUnnoted(store: ObjectStore, key: string): Promise<void> {
  const [, , Bucket = "", prefix = ""] = store.url.split("/");
  const client = s3.client();
  await client.send(new CreateMultipartUploadCommand({ Bucket, Key: `${prefix}/${key}` }));
  const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket }));
  assert.equal(Uploads.length, 1);
  client.destroy();
}

test("an upload that nobody's note names goes with the import that ends in its folder, and with the model", async (t) => {
  const store = await newStore(t, s3, "s3");
  await beginUnnoted(store, `${folder}1/model.safetensors`);
  await imported(t, store);
  assert.deepEqual(
    (await leftIn(store)).filter((what) => what.startsWith("upload")),
    [],
  );
  await beginUnnoted(store, `${folder}2/model.safetensors`);
  await emptyModel(store, owner);
  assert.deepEqual(await leftIn(store), []);
  await beginUnnoted(store, `${folder}1/model.safetensors`);
  assert.equal(await emptyModel(store, owner), 0);
  assert.deepEqual(await leftIn(store), []);
});

for (const kind of kinds) {
  test(`${kind}: what arrives while a model is emptied goes too`, async (t) => {
    const store = await newStore(t, s3, kind);
    await imported(t, store);
    let arrived = false;
    const late: ObjectStore = {
      ...store,
      async remove(key) {
        await store.remove(key);
        if (arrived) return;
        arrived = true;
        await store.put(`${folder}2/config.json`, new Uint8Array(3));
        const upload = await store.upload(`${folder}2/model.safetensors`, plan);
        t.after(() => upload.leave());
      },
    };
    await emptyModel(late, owner);
    assert.ok(arrived);
    assert.deepEqual(await leftIn(store), []);
  });

  test(`${kind}: a model that somebody goes on writing is not let go, and is when they end`, async (t) => {
    const store = await newStore(t, s3, kind);
    await imported(t, store);
    let writes = 0;
    const busy: ObjectStore = {
      ...store,
      async remove(key) {
        await store.remove(key);
        await store.put(`${folder}2/file-${String(writes++)}`, new Uint8Array(3));
      },
    };
    await assert.rejects(
      emptyModel(busy, owner),
      (error) => error instanceof RetryError && /still being written/.test(error.message),
    );
    await emptyModel(store, owner);
    assert.deepEqual(await leftIn(store), []);
  });
}
