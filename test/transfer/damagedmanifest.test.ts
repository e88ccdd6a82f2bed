// A manifest that cannot be read costs its revision, not its model: the next import brings it again under the next number.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { TestContext } from "node:test";
import { MAX_MANIFEST_BYTES, digestText, manifestText, parseManifest } from "../../operator/plan/model/manifest.ts";
import { nothingKnown } from "../../operator/plan/store/inuse.ts";
import type { InUse } from "../../operator/plan/store/garbage.ts";
import type { ObjectStore } from "../../operator/ports.ts";
import { systemClock } from "../../operator/runtime/clock.ts";
import { newObjectHasher } from "../../operator/transfer/filehash.ts";
import { collectGarbage } from "../../operator/transfer/garbage.ts";
import { sha256Digest } from "../../operator/transfer/hash.ts";
import { importModel } from "../../operator/transfer/import.ts";
import type { ImportJob } from "../../operator/transfer/import.ts";
import { readInventory } from "../../operator/transfer/inventory.ts";
import { verifyModels } from "../../operator/transfer/verify.ts";
import { startS3 } from "../cluster/s3.ts";
import type { S3Server } from "../cluster/s3.ts";
import { tinyModel, uploadFiles } from "../models/tiny.ts";
import type { Files } from "../models/tiny.ts";
import { jobFor, kinds, newObserver, newSource, newStore } from "./bench.ts";

const FOLDER = "models/ns-uid/model-uid/";

let s3: S3Server;
before(async () => {
  s3 = await startS3();
  await s3.createBucket("source");
});
after(() => s3.stop());

async function upload(t: TestContext, prefix: string, files: Files): Promise<void> {
  const client = s3.client();
  t.after(() => client.destroy());
  await uploadFiles(client, "source", `${prefix}/`, files);
}

const manifestAt = (number: number): string => `${FOLDER}${String(number)}/MANIFEST.json`;
const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

async function textAt(store: ObjectStore, number: number): Promise<string> {
  return new TextDecoder().decode(await store.get(manifestAt(number), MAX_MANIFEST_BYTES));
}

async function imported(job: ImportJob) {
  const result = await importModel(job);
  assert.ok(result.kind === "imported", JSON.stringify(result));
  return { copied: result.copied, revisions: result.revisions.map(({ number, digest }) => [number, digest] as const) };
}

const damages: readonly (readonly [string, (text: string) => string])[] = [
  ["breaks off", (text) => text.slice(0, 40)],
  ["is empty", () => ""],
  ["has another digest than its files", (text) => text.replace(/"size":(\d)/, '"size":1$1')],
  ["is longer than any", (text) => text.padEnd(MAX_MANIFEST_BYTES + 1)],
];

for (const kind of kinds) {
  describe(`in a ${kind} store`, () => {
    for (const [what, damage] of damages) {
      test(`a manifest that ${what}: its revision is imported again, and only once`, async (t) => {
        const prefix = `${kind}-${what.replaceAll(" ", "-")}`;
        await upload(t, prefix, tinyModel());
        const store = await newStore(t, s3, kind);
        const job = (change: Partial<ImportJob> = {}): ImportJob =>
          jobFor({ source: newSource(t, s3, "source"), store, prefix, ...change });
        const [first] = (await imported(job())).revisions;
        const digest = first?.[1] ?? assert.fail();
        await upload(t, prefix, { LICENSE: "another" });
        const second = (await imported(job())).revisions.at(-1)?.[1] ?? assert.fail();
        await store.put(manifestAt(2), bytesOf(damage(await textAt(store, 2))));
        const damaged = await store.get(manifestAt(2), 2 * MAX_MANIFEST_BYTES);

        assert.deepEqual(await imported(job()), { copied: true, revisions: [[1, digest], [3, second]] }); // prettier-ignore
        assert.equal((await imported(job())).copied, false);
        const anew = await imported(job({ reimport: "now" }));
        assert.deepEqual(anew.revisions, [[1, digest], [3, second], [4, second]]); // prettier-ignore
        assert.deepEqual(
          await store.get(manifestAt(2), 2 * MAX_MANIFEST_BYTES),
          damaged,
          "what it named may be in use",
        );
        for (const number of [3, 4])
          for (const { key = "" } of parseManifest(await textAt(store, number))?.files ?? assert.fail())
            assert.doesNotMatch(key, /^2\//, "nothing points into its folder");
      });
    }

    test("the only manifest damaged: the request to import anew is served", async (t) => {
      const prefix = `only-${kind}`;
      await upload(t, prefix, tinyModel());
      const store = await newStore(t, s3, kind);
      const job = (change: Partial<ImportJob> = {}): ImportJob =>
        jobFor({ source: newSource(t, s3, "source"), store, prefix, ...change });
      const digest = (await imported(job())).revisions[0]?.[1];
      await store.put(manifestAt(1), bytesOf('{"format":'));
      const observer = newObserver();
      const anew = await imported(job({ reimport: "now", observer }));
      assert.deepEqual(anew, { copied: true, revisions: [[2, digest]] });
      assert.ok(observer.copiedBytes > 0 && observer.reusedBytes === 0);
    });

    test("what a damaged manifest kept goes when a later revision is complete and the cluster names that one alone", async (t) => {
      const prefix = `garbage-${kind}`;
      await upload(t, prefix, tinyModel());
      const store = await newStore(t, s3, kind);
      const job = jobFor({ source: newSource(t, s3, "source"), store, prefix });
      await imported(job);
      await store.put(manifestAt(1), bytesOf("{"));
      const names = (...numbers: number[]): InUse => ({
        ...nothingKnown,
        models: new Set([FOLDER]),
        revisions: new Set(numbers.map((number) => `${FOLDER}${String(number)}/`)),
      });
      const collect = async (inUse: InUse): Promise<string[]> => {
        const { fences } = await collectGarbage(store, { inUse, now: Date.now() + 1000, olderThanMs: 0, act: true });
        return fences.map(({ folder, because }) => `${folder.slice(FOLDER.length)} ${because}`);
      };
      assert.deepEqual(await collect(names()), [], "nothing has taken its place");
      await imported(job);
      for (const inUse of [nothingKnown, names(1, 2)])
        assert.deepEqual(await collect(inUse), [], "a template may name it, and somebody may mend it");
      assert.ok(await store.head(`${FOLDER}1/model.safetensors`));
      assert.deepEqual(await collect(names(2)), ["1/ its manifest cannot be read, and a later revision is complete"]);
      assert.equal(await store.head(`${FOLDER}1/model.safetensors`), undefined);
      assert.ok(await store.head(`${FOLDER}2/model.safetensors`));
      assert.deepEqual((await imported(job)).revisions.map(([number]) => number), [2]);
      assert.deepEqual(await collect({ ...names(), models: new Set(["models/ns-uid/another/"]) }), ["2/ its model is gone, and no deployment names it"]);
    }); // prettier-ignore

    test("a manifest with a path that every pod refuses is no good one, although its digest and every byte are right", async (t) => {
      const prefix = `path-${kind}`;
      await upload(t, prefix, tinyModel());
      const store = await newStore(t, s3, kind);
      await imported(jobFor({ source: newSource(t, s3, "source"), store, prefix }));
      const { files } = parseManifest(await textAt(store, 1)) ?? assert.fail();
      const led = files.map((file) => (file.path === "config.json" ? { ...file, path: "../config.json" } : file));
      const digest = sha256Digest(digestText(led));
      await store.put(manifestAt(1), bytesOf(manifestText({ digest, files: led })));
      const hasher = newObjectHasher(store, { clock: systemClock, tries: 1, baseMs: 1 });
      t.after(() => hasher.close());
      const { models } = await readInventory(store);
      const { findings } = await verifyModels(models, { hasher });
      assert.deepEqual(findings.map(({ key, problem }) => [key, problem]), [[manifestAt(1), 'is refused by every pod: its path "../config.json" is none']]); // prettier-ignore
    });

    test("a manifest that is damaged while it is written is no revision, and the next attempt passes it by", async (t) => {
      const prefix = `written-${kind}`;
      await upload(t, prefix, tinyModel());
      const store = await newStore(t, s3, kind);
      const spoiling: ObjectStore = {
        ...store,
        put: (key, bytes, options) =>
          store.put(key, key.endsWith("/MANIFEST.json") ? bytes.subarray(0, 50) : bytes, options),
      };
      const source = newSource(t, s3, "source");
      await assert.rejects(
        importModel(jobFor({ source, store: spoiling, prefix })),
        /as it was just written .*damaged/,
      );
      const { copied, revisions } = await imported(jobFor({ source, store, prefix }));
      assert.deepEqual([copied, revisions.map(([number]) => number)], [true, [2]]);
    });
  });
}
