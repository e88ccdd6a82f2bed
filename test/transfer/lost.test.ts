// Of two imports of one revision, the one that comes second leaves the first one's record of how it came to be as it is.
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { after, before, test } from "node:test";
import type { TestContext } from "node:test";
import { PutObjectCommand } from "@aws-sdk/client-s3";
import { signerOf } from "../../operator/adapters/ledger/signing.ts";
import type { ObjectStore } from "../../operator/ports.ts";
import { RetryError } from "../../operator/runtime/errors.ts";
import { importModel } from "../../operator/transfer/import.ts";
import { findRevisions } from "../../operator/transfer/revisions.ts";
import { startS3 } from "../cluster/s3.ts";
import type { S3Server } from "../cluster/s3.ts";
import { tinyModel, uploadFiles } from "../models/tiny.ts";
import { jobFor, kinds, newSource, newStore } from "./bench.ts";
import type { StoreKind } from "./bench.ts";

let s3: S3Server;
before(async () => {
  s3 = await startS3();
  await s3.createBucket("source");
});
after(() => s3.stop());

const owner = { namespaceUID: "ns-uid", modelUID: "model-uid" };
const folder = "models/ns-uid/model-uid/1/";
const isManifest = (key: string): boolean => key.endsWith("/MANIFEST.json");

async function put(key: string, Body: string): Promise<void> {
  const client = s3.client();
  await client.send(new PutObjectCommand({ Bucket: "source", Key: key, Body }));
  client.destroy();
}

/** A source folder of its own, and an empty store. */
async function scene(t: TestContext, kind: StoreKind) {
  const prefix = `${kind}-${String(Math.random()).slice(2)}`;
  const upload = async (to: string): Promise<void> => {
    const client = s3.client();
    await uploadFiles(client, "source", `${to}/`, tinyModel());
    client.destroy();
  };
  await upload(prefix);
  return { prefix, upload, store: await newStore(t, s3, kind), source: newSource(t, s3, "source") };
}

/** A store whose answer to the first key of that kind keeps its caller waiting, before anything is written. */
function sleepingAt(store: ObjectStore, isKey: (key: string) => boolean) {
  const asleep = Promise.withResolvers<void>();
  const awake = Promise.withResolvers<void>();
  const sleepy: ObjectStore = {
    ...store,
    put: async (key, ...rest) => {
      if (isKey(key)) {
        asleep.resolve();
        await awake.promise;
      }
      return store.put(key, ...rest);
    },
  };
  return { store: sleepy, asleep: asleep.promise, wake: awake.resolve };
}

async function besideOf(store: ObjectStore, below = folder): Promise<ReadonlyMap<string, string>> {
  const found = new Map<string, string>();
  for await (const { key } of store.list(`${below}.berth/`))
    found.set(key.slice(below.length), new TextDecoder().decode(await store.get(key, 1 << 20)));
  return found;
}

const newestOf = async (store: ObjectStore) => (await findRevisions(store, owner)).found.at(-1);

for (const kind of kinds) {
  for (const [where, isKey] of [
    ["its record", (key: string) => key.includes("/.berth/import")],
    ["its manifest", isManifest],
  ] as const) {
    test(`an import of another state that sleeps before ${where} leaves the winner's record in a ${kind} store`, async (t) => {
      const { prefix, store, source } = await scene(t, kind);
      await put(`${prefix}/LICENSE`, "an older state");
      const sleeper = sleepingAt(store, isKey);
      const lost = importModel(jobFor({ source, store: sleeper.store, prefix })).catch((error: unknown) => error);
      await sleeper.asleep;
      await put(`${prefix}/LICENSE`, "the newer state");
      const won = await importModel(jobFor({ source, store, prefix, reimport: "now" }));
      assert.ok(won.kind === "imported" && won.copied);
      const before = { newest: await newestOf(store), beside: await besideOf(store) };
      assert.equal(before.newest?.record?.reimport, "now");
      sleeper.wake();
      const error = await lost;
      assert.ok(error instanceof RetryError);
      assert.match(error.message, /another import completed/);
      assert.deepEqual(await newestOf(store), before.newest);
      assert.deepEqual(await besideOf(store), before.beside, "what it wrote beside the manifest went with it");
      const again = await importModel(jobFor({ source, store, prefix, reimport: "now" }));
      assert.ok(again.kind === "imported" && !again.copied, "the state is known, and the request was answered");
      assert.deepEqual(again.revisions, won.revisions);
    });
  }

  test(`an import of the same files from elsewhere takes the winner's record for its own in a ${kind} store`, async (t) => {
    const { prefix, upload, store, source } = await scene(t, kind);
    const elsewhere = `${prefix}-elsewhere`;
    await upload(elsewhere);
    const sleeper = sleepingAt(store, isManifest);
    const lost = importModel(jobFor({ source, store: sleeper.store, prefix: elsewhere }));
    await sleeper.asleep;
    const won = await importModel(jobFor({ source, store, prefix, reimport: "now" }));
    const before = { newest: await newestOf(store), beside: await besideOf(store) };
    sleeper.wake();
    const result = await lost;
    assert.ok(won.kind === "imported" && result.kind === "imported");
    assert.deepEqual(result.revisions, won.revisions);
    assert.deepEqual(await newestOf(store), before.newest);
    assert.deepEqual(await besideOf(store), before.beside);
    assert.deepEqual(before.newest?.record?.source, { endpoint: "http://test", bucket: "source", prefix });

    for (const [key, text] of before.beside)
      await store.put(folder + key, Buffer.from(text.replace(prefix, elsewhere)));
    assert.equal((await newestOf(store))?.record, undefined, "a record that was changed since counts for nothing");
  });

  test(`what an import that was killed before its manifest left beside it is gone after the next in a ${kind} store`, async (t) => {
    const { prefix, store, source } = await scene(t, kind);
    const { privateKey } = generateKeyPairSync("ed25519");
    const signer = signerOf(privateKey.export({ type: "pkcs8", format: "pem" }).toString(), "test");
    const kill = async (reimport?: string): Promise<void> => {
      const dies: ObjectStore = {
        ...store,
        put: (key, ...rest) =>
          isManifest(key) ? Promise.reject(new RetryError(new Error("killed"))) : store.put(key, ...rest),
      };
      const job = jobFor({ source, store: dies, prefix, signer, ...(reimport ? { reimport } : {}) });
      await assert.rejects(importModel(job), /killed/);
    };
    await kill("first");
    await kill("second");
    const result = await importModel(jobFor({ source, store, prefix, signer }));
    assert.ok(result.kind === "imported" && result.copied);
    const beside = await besideOf(store);
    assert.equal(beside.size, 2, `${[...beside.keys()].join(", ")}: one record and one signature`);

    // One that loses and is killed before it can tidy: the next look at the source does, also where that has changed.
    for (const [key, text] of beside)
      await store.put(folder + key.replace(/.{8}\.json$/, "00000000.json"), Buffer.from(text));
    await put(`${prefix}/LICENSE`, "a new state");
    await importModel(jobFor({ source, store, prefix, signer }));
    assert.deepEqual(await besideOf(store), beside);
    assert.equal((await besideOf(store, folder.replace("/1/", "/2/"))).size, 2);
  });
}
