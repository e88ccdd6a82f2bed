// Fourteen models that are as large to inspect as the limits allow, at once in one process with the importer's bound of the heap: each is
// refused, memory stays below what the pod's limit leaves beside its buffers, and the process imports the next good model.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { startS3 } from "../cluster/s3.ts";
import { tinyConfig, tinyModel, uploadFiles } from "../models/tiny.ts";
import type { Files } from "../models/tiny.ts";
import type { Crowd, CrowdEnd } from "./hostilecrowd.ts";

const MIB = 1 << 20;
/** Of the importer in the chart's values: bound of the heap; limit of the pod, less its buffers for parts. */
const HEAP_MEBIBYTES = 512;
const MOST_MEBIBYTES = 1024 - 256;

/** A header of a safetensors file with four bytes of data, as text, so that what it says may be wrong. */
function shard(json: string): Uint8Array {
  const header = Buffer.from(json);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  return Buffer.concat([length, header, Buffer.alloc(4)]);
}

const whole = '"w":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}';
const wrong = '"z":{"dtype":"U9","shape":[0],"data_offsets":[4,4]}';
const many = (count: number, entry: (n: number) => string): string =>
  Array.from({ length: count }, (_, n) => entry(n)).join(",");
const tensors = (from: number): string =>
  many(190_000, (n) => `"model.layers.${String(n + from)}":{"dtype":"U8","shape":[0],"data_offsets":[4,4]}`);

/** As ModelOpt's mixed precision names them. */
const experts = `{"quant_method":"modelopt","quantized_layers":{${many(100_000, (n) => `"model.layers.1.mlp.experts.${String(n)}.up_proj":{"quant_algo":"NVFP4","group_size":16}`)}}}`;

/** By name, with the reason that each is refused for. */
const crowd: Readonly<Record<string, readonly [string, Files]>> = {
  "many tensors": [
    "SafetensorsInvalid",
    { "model-1.safetensors": shard(`{${whole},${tensors(0)}}`), "model-2.safetensors": shard(`{${tensors(200_000)},${wrong}}`) },
  ],
  "long metadata": ["SafetensorsInvalid", { "model.safetensors": shard(`{"__metadata__":{"a":"${"x".repeat(46 * MIB)}"},${wrong}}`) }],
  "many metadata": ["SafetensorsInvalid", { "model.safetensors": shard(`{"__metadata__":{${many(1_500_000, (n) => `"${String(n)}":"some words"`)}},${wrong}}`) }],
  "a long index": ["IndexInvalid", { "model.safetensors.index.json": `{"weight_map":{${many(1_600_000, (n) => `"layers.${String(n)}":"../x.safetensors"`)}}}` }],
  "an index of long names": ["IndexInvalid", { "model.safetensors.index.json": `{"weight_map":{${many(390_000, (n) => `"${"x".repeat(120)}.${String(n)}":"../x.safetensors"`)}}}` }],
  "a large tokenizer configuration": [
    "CustomCode",
    { "tokenizer_config.json": `{"added_tokens_decoder":{${many(150_000, (n) => `"${String(n)}":{"content":"<${String(n)}>","special":true,"lstrip":false}`)}},"auto_map":{"AutoTokenizer":"x.Y"}}` },
  ],
  "large configurations": [
    "CustomCode",
    {
      "config.json": JSON.stringify(tinyConfig).replace(/}$/, `,"quantization_config":${experts}}`),
      "hf_quant_config.json": `{"quantization":${experts},"auto_map":{"AutoConfig":"x.Y"}}`,
    },
  ],
}; // prettier-ignore

test("many models near the limits, inspected at once, cost bounded memory and one refusal each", async (t) => {
  const s3 = await startS3();
  t.after(() => s3.stop());
  const folder = mkdtempSync(join(tmpdir(), "berth-store-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  await s3.createBucket("source");
  const client = s3.client();
  t.after(() => client.destroy());
  await uploadFiles(client, "source", "good/", tinyModel());
  for (const [name, [, files]] of Object.entries(crowd))
    await uploadFiles(client, "source", `${name}/`, tinyModel(files));
  const { endpoint, region, accessKeyId, secretAccessKey } = s3;
  const credentials = { accessKeyId, secretAccessKey };
  const prefixes = Object.keys(crowd);
  const given: Crowd = { endpoint, region, credentials, prefixes, each: 2 };
  const script = join(import.meta.dirname, "hostilecrowd.ts");
  const args = [`--max-old-space-size=${String(HEAP_MEBIBYTES)}`, script, JSON.stringify(given), folder];
  const { stdout } = await promisify(execFile)(process.execPath, args);
  const { ends, good, peakMebibytes } = JSON.parse(stdout) as CrowdEnd;
  t.diagnostic(`${String(ends.length)} models at once, ${peakMebibytes.toFixed(0)} MiB at the most`);
  assert.deepEqual(
    ends,
    prefixes.flatMap((prefix) => Array.from({ length: 2 }, () => [prefix, crowd[prefix]?.[0], 0])),
  );
  assert.equal(good, "imported");
  assert.ok(peakMebibytes < MOST_MEBIBYTES, `${peakMebibytes.toFixed(0)} MiB`);
});
