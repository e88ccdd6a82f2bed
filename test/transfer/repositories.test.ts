// What a repository of a hub has besides a model, on the real S3 server in a hub's place: left out, or the one reason to refuse it.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { TestContext } from "node:test";
import { importModel } from "../../operator/transfer/import.ts";
import { startS3 } from "../cluster/s3.ts";
import type { S3Server } from "../cluster/s3.ts";
import { tinyModel, uploadFiles } from "../models/tiny.ts";
import type { Files } from "../models/tiny.ts";
import { jobFor, newSource, newStore } from "./bench.ts";

let s3: S3Server;
before(async () => {
  s3 = await startS3();
});
after(() => s3.stop());

const origin = { endpoint: "http://hub", repo: "org/tiny", commit: "0".repeat(40) };

/** What stands in the store afterwards, or the refusal. */
async function imported(t: TestContext, files: Files): Promise<string> {
  const bucket = await s3.createBucket(`repository-${String(Math.random()).slice(2)}`);
  const client = s3.client();
  t.after(() => client.destroy());
  await uploadFiles(client, bucket, "", { ...tinyModel(), ...files });
  const store = await newStore(t, s3, "file");
  const result = await importModel(jobFor({ source: newSource(t, s3, bucket), store, origin, prefix: "" }));
  if (result.kind === "refused") return `${result.problem.reason}: ${result.problem.message}`;
  const folder = "models/ns-uid/model-uid/1/";
  const keys: string[] = [];
  for await (const { key } of store.list(folder)) keys.push(key.slice(folder.length));
  return keys.filter((key) => !/^(\.berth|MANIFEST)/.test(key)).sort().join(" "); // prettier-ignore
}

const tiny = "config.json model.safetensors tokenizer.json tokenizer_config.json";

test("second copies, pictures and code come along neither as files nor as a reason to refuse", async (t) => {
  const { "model.safetensors": weights = "" } = tinyModel();
  const besides = {
    "original/model.safetensors": weights,
    "original/dtypes.bin": "x",
    "assets/Logo.png": "x",
    "assets/logo.png": "x",
    "manifest.json": "{}",
    "modeling_x.py": "x",
  };
  assert.equal(await imported(t, besides), tiny);
});

test("a dense layer that is there as a pickle alone refuses the model, and one as safetensors comes along", async (t) => {
  const modules = [{ idx: 2, name: "2", path: "2_Dense", type: "sentence_transformers.models.Dense" }];
  const layer = { "modules.json": JSON.stringify(modules), "2_Dense/config.json": "{}" };
  assert.match(
    await imported(t, { ...layer, "2_Dense/pytorch_model.bin": "x" }),
    /^UnsafeFormat: modules\.json names a dense layer, .* \(2_Dense\/pytorch_model\.bin\)/,
  );
  const { "model.safetensors": weights = "" } = tinyModel();
  assert.equal(
    await imported(t, { ...layer, "2_Dense/model.safetensors": weights }),
    `2_Dense/config.json 2_Dense/model.safetensors ${tiny.replace(" tokenizer.json", " modules.json tokenizer.json")}`,
  );
});
