// More than a hundred hostile models on the real S3 server: one clear refusal each, nothing in the store, and the process that
// refused them all still imports the next good one.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { ListObjectsV2Command } from "@aws-sdk/client-s3";
import { problemOf } from "../../operator/controllers/modelimport.ts";
import { importModel } from "../../operator/transfer/import.ts";
import { startFaultProxy } from "../cluster/faultproxy.ts";
import type { FaultProxy } from "../cluster/faultproxy.ts";
import { startS3 } from "../cluster/s3.ts";
import type { S3Server } from "../cluster/s3.ts";
import { tinyModel, uploadFiles } from "../models/tiny.ts";
import { jobFor, kinds, newObserver, newSource, newStore } from "./bench.ts";
import { hostileModels } from "./hostilemodels.ts";
import type { HostileModel, Listed } from "./hostilemodels.ts";

let s3: S3Server;
let proxy: FaultProxy;
before(async () => {
  s3 = await startS3();
  await s3.createBucket("source");
  proxy = await startFaultProxy({ target: s3.endpoint, dialect: "s3" });
});
after(async () => {
  await proxy.close();
  await s3.stop();
});

const entry = (prefix: string, { path, size = "10", etag = '"0123"' }: Listed): string => {
  const key = encodeURIComponent(prefix + path);
  return `<Contents><Key>${key}</Key><Size>${size}</Size><ETag>${etag.replaceAll('"', "&quot;")}</ETag></Contents>`;
};

/** The listing as this model's server gives it. */
function lieFor(prefix: string, { listed = [], listing = (xml) => xml }: HostileModel): (body: Buffer) => string {
  const added = listed.map((one) => entry(prefix, one)).join("");
  return (body) => {
    const xml = body.toString().replace(/<EncodingType>[^<]*<\/EncodingType>/, "");
    const end = "<EncodingType>url</EncodingType></ListBucketResult>";
    return listing(xml.replace("</ListBucketResult>", `${added}${end}`));
  };
}

describe("hostile models", { concurrency: 4 }, () => {
  for (const model of hostileModels) {
    test(`${model.name} is refused as ${model.reason}, and nothing of it is copied`, async (t) => {
      const prefix = `${model.name}/`;
      const client = s3.client();
      t.after(() => client.destroy());
      await uploadFiles(client, "source", prefix, tinyModel(model.files ?? {}));
      const match = ({ query }: { query: URLSearchParams }): boolean =>
        query.has("list-type") && query.get("prefix") === prefix;
      if (model.listed || model.listing) proxy.add({ match, fault: { kind: "rewrite", body: lieFor(prefix, model) } });
      const source = newSource(t, s3, "source", proxy.url);
      for (const kind of kinds) {
        const store = await newStore(t, s3, kind);
        const observer = newObserver();
        const job = { source, store, prefix, observer, maxSizeBytes: model.maxSizeBytes ?? 1e12 };
        const problem = await importModel(jobFor(job)).then(
          (result) => (result.kind === "refused" ? result.problem : undefined),
          (error: unknown) => problemOf(error),
        );
        assert.equal(problem?.reason, model.reason, problem?.message);
        assert.match(problem.message, model.words);
        assert.equal(problem.retryable, false);
        assert.ok(problem.message.length < 1000 && !/[\p{Cc}\p{Cf}]/u.test(problem.message), problem.message);
        assert.equal(observer.copiedBytes, 0);
        for await (const object of store.list("")) assert.fail(`${object.key} is in the store`);
      }
    });
  }
});

/** The listing's size of one object, changed by so many bytes. */
const resized = (path: string, change: number) => (body: Buffer) =>
  body.toString().replace(/<Contents>.*?<\/Contents>/gs, (entry) =>
    entry.includes(`/${path}</Key>`) || entry.includes(`%2F${path}</Key>`)
      ? entry.replace(/<Size>(\d+)<\/Size>/, (_all, size: string) => `<Size>${String(Number(size) + change)}</Size>`)
      : entry,
  ); // prettier-ignore

describe("sizes that differ between the listing and the object", { concurrency: 4 }, () => {
  for (const path of ["config.json", "model.safetensors"]) {
    for (const change of [1, -1, 1000]) {
      test(`${path} listed with ${String(change)} bytes more: nothing of it is copied, and the right listing is imported`, async (t) => {
        const prefix = `resized-${path}-${String(change)}/`;
        const client = s3.client();
        t.after(() => client.destroy());
        await uploadFiles(client, "source", prefix, tinyModel());
        const match = ({ query }: { query: URLSearchParams }): boolean =>
          query.has("list-type") && query.get("prefix") === prefix;
        const rule = proxy.add({ match, fault: { kind: "rewrite", body: resized(path, change) } });
        const store = await newStore(t, s3, "file");
        const observer = newObserver();
        const source = newSource(t, s3, "source", proxy.url);
        const problem = await importModel(jobFor({ source, store, prefix, observer })).then(
          (result) => (result.kind === "refused" ? result.problem : undefined),
          (error: unknown) => problemOf(error),
        );
        assert.ok(["SourceChanged", "SafetensorsInvalid"].includes(problem?.reason ?? ""), JSON.stringify(problem));
        assert.equal(observer.copiedBytes, 0);
        for await (const object of store.list("")) assert.fail(`${object.key} is in the store`);
        rule.remove();
        assert.equal((await importModel(jobFor({ source, store, prefix }))).kind, "imported");
      });
    }
  }
});

test("there are at least 100 of them, and the process that refused them imports the next good model", async (t) => {
  assert.ok(hostileModels.length >= 100, String(hostileModels.length));
  assert.equal(new Set(hostileModels.map(({ name }) => name)).size, hostileModels.length);
  t.diagnostic(
    `${String(hostileModels.length)} hostile models, ${String(new Set(hostileModels.map((m) => m.reason)).size)} reasons`,
  );
  const client = s3.client();
  t.after(() => client.destroy());
  await uploadFiles(client, "source", "good/", tinyModel());
  assert.equal((await client.send(new ListObjectsV2Command({ Bucket: "source", Prefix: "good/" }))).KeyCount, 4);
  const store = await newStore(t, s3, "s3");
  const result = await importModel(jobFor({ source: newSource(t, s3, "source", proxy.url), store, prefix: "good" }));
  assert.equal(result.kind, "imported");
});
