// Manifests and records that nobody could read again: none is begun, and one that stands there costs its own revision alone.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { TestContext } from "node:test";
import { modelsCommand } from "../../operator/cli/models.ts";
import { MANIFEST, MAX_MANIFEST_BYTES, SHARED_RECORDS } from "../../operator/plan/model/manifest.ts";
import type { ObjectStore } from "../../operator/ports.ts";
import { TerminalError } from "../../operator/runtime/errors.ts";
import { importModel } from "../../operator/transfer/import.ts";
import { commitRevision, findRevisions } from "../../operator/transfer/revisions.ts";
import { startS3 } from "../cluster/s3.ts";
import type { S3Server } from "../cluster/s3.ts";
import { tinyModel, uploadFiles } from "../models/tiny.ts";
import { jobFor, kinds, newSource, newStore } from "./bench.ts";

const owner = { namespaceUID: "ns-uid", modelUID: "model-uid" };
const own = "models/ns-uid/model-uid/";
const others = "models/other-uid/model-uid/";

let s3: S3Server;
before(async () => {
  s3 = await startS3();
  await s3.createBucket("source");
  const client = s3.client();
  await uploadFiles(client, "source", "m/", tinyModel());
  client.destroy();
});
after(() => s3.stop());

async function keysOf(store: ObjectStore): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list("")) keys.push(key);
  return keys;
}

async function berth(store: ObjectStore, ...args: string[]) {
  let [code, said] = [-1, ""];
  const write = (text: string): void => void (said += text);
  const env = { AWS_ACCESS_KEY_ID: s3.accessKeyId, AWS_SECRET_ACCESS_KEY: s3.secretAccessKey };
  const command = modelsCommand({ env, write, complain: write, read: () => Promise.resolve("") }, (ended) => (code = ended)); // prettier-ignore
  const place = ["--store", store.url, ...(store.url.startsWith("s3:") ? ["--endpoint", s3.endpoint] : [])];
  await command.parseAsync([...args, ...place], { from: "user" });
  return { code, said };
}

async function imported(t: TestContext, kind: (typeof kinds)[number]) {
  const store = await newStore(t, s3, kind);
  const job = jobFor({ source: newSource(t, s3, "source"), store, owner, prefix: "m" });
  assert.equal((await importModel(job)).kind, "imported");
  return { store, job };
}

const tooLong = new Uint8Array(MAX_MANIFEST_BYTES + 1).fill(0x20);

for (const kind of kinds) {
  describe(`in a ${kind} store`, () => {
    test("a manifest of somebody else that is too long is damaged: the store is listed, verified and tidied all the same", async (t) => {
      const { store } = await imported(t, kind);
      await store.put(`${others}1/${MANIFEST}`, tooLong);
      await store.put(`${own}2/${SHARED_RECORDS}left`, new Uint8Array(1));
      const listed = await berth(store, "list");
      assert.equal(listed.code, 0, listed.said);
      assert.match(listed.said, /other-uid\/model-uid\/1\/ +damaged/);
      const verified = await berth(store, "verify");
      assert.equal(verified.code, 3, verified.said);
      assert.match(verified.said, /other-uid\/model-uid\/1\/MANIFEST\.json is no manifest/);
      const tidied = await berth(store, "gc", "--yes", "--older-than", "0m");
      assert.equal(tidied.code, 0, tidied.said);
      assert.match(tidied.said, /ns-uid\/model-uid\/2\/ was given up/);
    });

    test("a record that is too long is none: its model is found and imported", async (t) => {
      const { store, job } = await imported(t, kind);
      const record = (await keysOf(store)).find((key) => key.includes("/.berth/imports/")) ?? assert.fail();
      await store.put(record, tooLong);
      assert.deepEqual(
        (await findRevisions(store, owner)).found.map(({ number, record: read }) => [number, read]),
        [[1, undefined]],
      );
      assert.equal((await importModel(job)).kind, "imported");
    });

    test("a revision whose manifest or record would be too long leaves nothing behind, and is not tried again", async (t) => {
      const store = await newStore(t, s3, kind);
      const record = {
        fingerprint: "x",
        source: { endpoint: "http://test", bucket: "b", prefix: "" },
        importedAt: "2026-01-01T00:00:00Z",
        version: "t",
        facts: {} as never,
        etags: {},
      };
      const sha256 = "0".repeat(64);
      const paths = Array.from({ length: 10_000 }, (_, at) => `${String(at)}${'"'.repeat(750)}`);
      const long = paths.map((path) => ({ path, key: `1/${path}`, sizeBytes: 1, sha256 }));
      const cases = [
        [long, {}, /the manifest of .* would have 3\d{7} bytes, more than the 16777216 that are read again/],
        [
          long.slice(0, 1),
          { etags: { a: "e".repeat(MAX_MANIFEST_BYTES) } },
          /the record of .* would have 16\d{6} bytes/,
        ],
      ] as const;
      for (const [files, change, words] of cases) {
        const failed = await commitRevision(store, `${own}1/`, files, { ...record, ...change }).catch((error: unknown) => error); // prettier-ignore
        assert.ok(failed instanceof TerminalError, String(failed));
        assert.equal(failed.reason, "TooManyFiles");
        assert.match(failed.message, words);
      }
      assert.deepEqual(await keysOf(store), []);
    });
  });
}
