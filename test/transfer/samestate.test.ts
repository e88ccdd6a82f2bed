// When a source counts as the one that the newest revision came from: by its place and ETags, and only while the store still holds what
// is inspected now.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { TestContext } from "node:test";
import { parseManifest } from "../../operator/plan/model/manifest.ts";
import type { ObjectSource, ObjectStore, SourceObject } from "../../operator/ports.ts";
import { importModel } from "../../operator/transfer/import.ts";
import type { ImportJob } from "../../operator/transfer/import.ts";
import { startS3 } from "../cluster/s3.ts";
import type { S3Server } from "../cluster/s3.ts";
import { tinyConfig, tinyModel, uploadFiles } from "../models/tiny.ts";
import type { Files } from "../models/tiny.ts";
import { jobFor, kinds, newObserver, newSource, newStore } from "./bench.ts";

const FOLDER = "models/ns-uid/model-uid/";

let s3: S3Server;
before(async () => {
  s3 = await startS3();
  for (const bucket of ["source", "other"]) await s3.createBucket(bucket);
});
after(() => s3.stop());

async function upload(t: TestContext, bucket: string, prefix: string, files: Files): Promise<void> {
  const client = s3.client();
  t.after(() => client.destroy());
  await uploadFiles(client, bucket, prefix, files);
}

/** The bucket as a server shows it whose ETags count objects, and say nothing of what is in them. */
function counting(source: ObjectSource): ObjectSource {
  const real = new Map<string, SourceObject>();
  const realOf = (object: SourceObject): SourceObject => real.get(object.key) ?? assert.fail(object.key);
  const { fill } = source;
  return {
    async list(...args) {
      const page = await source.list(...args);
      for (const object of page.objects) real.set(object.key, object);
      return { ...page, objects: page.objects.map((object) => ({ ...object, etag: '"1"' })) };
    },
    read: (object, ...rest) => source.read(realOf(object), ...rest),
    ...(fill && { fill: (object: SourceObject, ...rest) => fill(realOf(object), ...rest) }),
    close: () => source.close(),
  } satisfies ObjectSource;
}

const otherConfig = JSON.stringify({ ...tinyConfig, max_position_embeddings: 999 });

async function imported(job: ImportJob) {
  const result = await importModel(job);
  assert.ok(result.kind === "imported", JSON.stringify(result));
  const { copied, facts, revisions } = result;
  return { copied, contextLength: facts.contextLength, numbers: revisions.map(({ number }) => number) };
}

async function textOf(store: ObjectStore, key: string): Promise<string> {
  return new TextDecoder().decode(await store.get(FOLDER + key, 1 << 20));
}

/** Where a revision's file lies, and what is there. */
async function storedAs(store: ObjectStore, number: number, path: string): Promise<readonly [string, string]> {
  const manifest = parseManifest(await textOf(store, `${String(number)}/MANIFEST.json`));
  const key = manifest?.files.find((file) => file.path === path)?.key ?? assert.fail(path);
  return [key, await textOf(store, key)];
}

for (const kind of kinds) {
  describe(`with a ${kind} store`, () => {
    test("equal paths, sizes and ETags of another bucket are another state", async (t) => {
      const prefix = `m-${kind}`;
      await upload(t, "source", `${prefix}/`, tinyModel());
      await upload(t, "other", `${prefix}/`, tinyModel({ "config.json": otherConfig }));
      const store = await newStore(t, s3, kind);
      const job = (bucket: string): ImportJob => {
        const origin = { endpoint: s3.endpoint, bucket, prefix };
        return jobFor({ source: counting(newSource(t, s3, bucket)), store, prefix, origin });
      };
      assert.deepEqual(await imported(job("source")), { copied: true, contextLength: 128, numbers: [1] });
      assert.deepEqual(await imported(job("source")), { copied: false, contextLength: 128, numbers: [1] });
      assert.deepEqual(await imported(job("other")), { copied: true, contextLength: 999, numbers: [1, 2] });
      assert.deepEqual(await storedAs(store, 2, "config.json"), ["2/config.json", otherConfig]);
    });

    test("an object that was replaced under the ETag of the old one is noticed where it is inspected", async (t) => {
      const prefix = `replaced-${kind}`;
      await upload(t, "source", `${prefix}/`, tinyModel());
      const store = await newStore(t, s3, kind);
      const job = (): ImportJob => jobFor({ source: counting(newSource(t, s3, "source")), store, prefix });
      assert.deepEqual(await imported(job()), { copied: true, contextLength: 128, numbers: [1] });
      await upload(t, "source", `${prefix}/`, { "config.json": otherConfig });
      assert.deepEqual(await imported(job()), { copied: true, contextLength: 999, numbers: [1, 2] });
      assert.deepEqual(await storedAs(store, 2, "config.json"), ["2/config.json", otherConfig]);
      assert.deepEqual(await imported(job()), { copied: false, contextLength: 999, numbers: [1, 2] });
    });

    test("an object of the store that was changed or lost is brought anew, and nothing points at it any more", async (t) => {
      const prefix = `damaged-${kind}`;
      await upload(t, "source", `${prefix}/`, tinyModel());
      const store = await newStore(t, s3, kind);
      const job = (change: Partial<ImportJob> = {}): ImportJob =>
        jobFor({ source: newSource(t, s3, "source"), store, prefix, ...change });
      await imported(job());
      const good = JSON.stringify(tinyConfig);
      await store.put(`${FOLDER}1/config.json`, new TextEncoder().encode(good.replace("128", "129")));
      const observer = newObserver();
      assert.deepEqual(await imported(job({ observer })), { copied: true, contextLength: 128, numbers: [1, 2] });
      assert.deepEqual(await storedAs(store, 2, "config.json"), ["2/config.json", good]);
      assert.equal(observer.copiedBytes, good.length, "what is as it was is pointed at");
      assert.equal((await imported(job())).copied, false);
      await store.remove(`${FOLDER}2/config.json`);
      assert.deepEqual(await imported(job()), { copied: true, contextLength: 128, numbers: [1, 2, 3] });
      assert.deepEqual(await storedAs(store, 3, "config.json"), ["3/config.json", good]);
      assert.equal((await imported(job())).copied, false);
    });
  });
}
