// Files without a byte in a repository of a hub and in a bucket: weights, indexes and configurations are refused before anything is
// copied, others come along as what they are.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import type { TestContext } from "node:test";
import { openHub } from "../../operator/adapters/hub/source.ts";
import { problemOf } from "../../operator/controllers/modelimport.ts";
import type { ImportResult } from "../../operator/plan/model/importing.ts";
import type { ModelProblem } from "../../operator/plan/model/problem.ts";
import type { ObjectSource } from "../../operator/ports.ts";
import type { ImportJob } from "../../operator/transfer/import.ts";
import { importModel } from "../../operator/transfer/import.ts";
import { COMMIT, startHub } from "../adapters/hub/hubserver.ts";
import { startS3 } from "../cluster/s3.ts";
import type { S3Server } from "../cluster/s3.ts";
import { tinyModel, uploadFiles } from "../models/tiny.ts";
import type { Files } from "../models/tiny.ts";
import { jobFor, newObserver, newSource, newStore } from "./bench.ts";

let s3: S3Server;
before(async () => {
  s3 = await startS3();
  await s3.createBucket("source");
});
after(() => s3.stop());

type Place = Pick<ImportJob, "source" | "origin"> & { readonly prefix: string };

async function inHub(t: TestContext, files: Files): Promise<Place> {
  const folder = mkdtempSync(join(tmpdir(), "hub-"));
  t.after(() => rmSync(folder, { recursive: true }));
  for (const [path, content] of Object.entries(files)) writeFileSync(join(folder, path), content);
  const hub = await startHub(t, { folder, repo: "org/tiny" });
  const source = await openHub({ endpoint: hub.url, repo: "org/tiny" });
  return { source, origin: { endpoint: hub.url, repo: "org/tiny", commit: COMMIT }, prefix: "" };
}

let made = 0;
async function inBucket(t: TestContext, files: Files): Promise<Place> {
  const prefix = `m-${String(made++)}`;
  const client = s3.client();
  t.after(() => client.destroy());
  await uploadFiles(client, "source", `${prefix}/`, files);
  return { source: newSource(t, s3, "source"), origin: { endpoint: s3.endpoint, bucket: "source", prefix }, prefix };
}

async function attempt(job: ImportJob): Promise<ImportResult | ModelProblem> {
  try {
    const result = await importModel(job);
    return result.kind === "refused" ? result.problem : result;
  } catch (error) {
    const problem = problemOf(error);
    if (!problem) throw error;
    return problem;
  }
}

const index = JSON.stringify({ metadata: {}, weight_map: { "model.embed_tokens.weight": "model.safetensors" } });
const refused: readonly (readonly [string, Files, string])[] = [
  ["weights", { "model.safetensors": "" }, "WeightsMissing"],
  ["a shard beside others", { "model-00002-of-00002.safetensors": "" }, "WeightsMissing"],
  ["config.json", { "config.json": "" }, "ConfigInvalid"],
  ["tokenizer_config.json", { "tokenizer_config.json": "" }, "ConfigInvalid"],
  ["generation_config.json", { "generation_config.json": "" }, "ConfigInvalid"],
  ["the index", { "model.safetensors.index.json": "" }, "IndexInvalid"],
];
const nothing = createHash("sha256").update("").digest("hex");
const alongside: Files = { LICENSE: "", "README.md": "", "merges.txt": "", "chat_template.jinja": "", "model.safetensors.index.json": index }; // prettier-ignore

for (const [kind, put] of [
  ["a hub", inHub],
  ["a bucket", inBucket],
] as const)
  // prettier-ignore
  describe(kind, () => {
    for (const [name, files, reason] of refused)
      test(`${name} without a byte: ${reason}, and nothing is copied`, async (t) => {
        const observer = newObserver();
        const store = await newStore(t, s3, "file");
        const place = await put(t, tinyModel(files));
        const problem = await attempt(jobFor({ ...place, store, observer }));
        assert.ok("reason" in problem, JSON.stringify(problem));
        assert.deepEqual([problem.reason, problem.retryable], [reason, false], problem.message);
        assert.ok(problem.message.includes(Object.keys(files)[0] ?? "?"), problem.message);
        assert.equal(observer.copiedBytes, 0);
        for await (const { key } of store.list("")) assert.fail(`${key} is in the store`);
      });

    test("others come along empty, under the SHA-256 of nothing", async (t) => {
      const store = await newStore(t, s3, "file");
      const place = await put(t, tinyModel(alongside));
      const result = await attempt(jobFor({ ...place, store }));
      assert.ok("kind" in result && result.kind === "imported", JSON.stringify(result));
      const folder = "models/ns-uid/model-uid/1/";
      const manifest = JSON.parse(Buffer.from((await store.get(`${folder}MANIFEST.json`, 1 << 20)) ?? []).toString()) as {
        files: { path: string; size: number; sha256: string }[];
      };
      for (const path of Object.keys(alongside).filter((name) => alongside[name] === "")) {
        assert.equal((await store.head(folder + path))?.sizeBytes, 0, path);
        const told = manifest.files.find((file) => file.path === path);
        assert.deepEqual([told?.size, told?.sha256], [0, nothing], path);
      }
    });
  });

test("a hub that lists a file with no bytes and sends some has changed it", async (t) => {
  const place = await inHub(t, tinyModel({ LICENSE: "terms" }));
  const list: ObjectSource["list"] = async (...args) => {
    const page = await place.source.list(...args);
    const objects = page.objects.map((object) => (object.key === "LICENSE" ? { ...object, sizeBytes: 0 } : object));
    return { ...page, objects };
  };
  const store = await newStore(t, s3, "file");
  const problem = await attempt(jobFor({ ...place, source: { ...place.source, list }, store }));
  assert.ok("reason" in problem, JSON.stringify(problem));
  assert.match(problem.reason, /^Source(Changed|Error)$/);
  assert.equal(await store.head("models/ns-uid/model-uid/1/MANIFEST.json"), undefined);
});
