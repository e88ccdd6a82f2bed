// berth inspect over a folder, a bucket and a hub: facts, matrix, recommendation, command line, and what it cost to find out.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test, type TestContext } from "node:test";
import { CreateBucketCommand } from "@aws-sdk/client-s3";
import { parse } from "yaml";
import { runInspect, type Inspection } from "../../operator/cli/inspect.ts";
import { startS3 } from "../cluster/s3.ts";
import { startHub } from "../adapters/hub/hubserver.ts";
import { writeSparse70B } from "../models/sparse.ts";
import { tinyModel, type Files } from "../models/tiny.ts";

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

async function inspect(args: readonly string[], env: Record<string, string> = {}): Promise<Ran> {
  let [out, err] = ["", ""];
  const code = await runInspect(args, { env, write: (text) => (out += text), complain: (text) => (err += text) });
  return { code, out, err };
}

function folder(t: TestContext, files: Files = {}): string {
  const path = mkdtempSync(join(tmpdir(), "inspect-"));
  t.after(() => rmSync(path, { recursive: true }));
  for (const [name, content] of Object.entries(files)) writeFileSync(join(path, name), content);
  return path;
}

const h100 = (count: number, perHour?: string): object => ({
  name: `h100-${String(count)}`,
  spec: {
    gpu: { product: "NVIDIA H100 80GB", count, memory: "79Gi" },
    vcpus: 24 * count,
    memory: `${String(200 * count)}Gi`,
    provider: { static: { nodeSelector: { gpu: "h100" } } },
    ...(perHour === undefined ? {} : { price: { perHour, currency: "EUR" } }),
  },
});

describe("berth inspect", () => {
  test("a 70B in 30 shards over S3 in under 2 s, from headers and JSON alone", async (t) => {
    const s3 = await startS3();
    t.after(() => s3.stop());
    await s3.client().send(new CreateBucketCommand({ Bucket: "models" }));
    writeSparse70B(join(s3.dir, "models", "llama-3.3-70b"), 30);
    const types = join(folder(t), "types.yaml");
    writeFileSync(types, JSON.stringify([h100(1, "4.10"), h100(2, "8.00"), h100(8, "31.00")]));
    const env = {
      AWS_ENDPOINT_URL: s3.endpoint,
      AWS_ACCESS_KEY_ID: s3.accessKeyId,
      AWS_SECRET_ACCESS_KEY: s3.secretAccessKey,
    };
    const args = [
      "s3://models/llama-3.3-70b",
      "--node-types",
      types,
      "--context",
      "32k",
      "--concurrency",
      "2",
      "-o",
      "json",
    ];
    const { code, out, err } = await inspect(args, env);
    assert.equal(code, 0, err);
    const found = JSON.parse(out) as Inspection;
    assert.equal(found.model.parameters, 70_553_706_496);
    assert.equal(found.model.kvBytesPerToken, 327_680);
    assert.equal(found.model.contextLength, 131_072);
    t.diagnostic(
      `${String(found.read.requests)} requests, ${String(found.read.bytes)} bytes, ${String(found.read.seconds)} s`,
    );
    assert.ok(found.read.seconds < 2, `${String(found.read.seconds)} s`);
    assert.ok(found.read.requests <= 40, `${String(found.read.requests)} requests`);
    assert.ok(found.read.bytes < 3 << 20, `${String(found.read.bytes)} bytes`);
    const one = found.matrix.find(({ nodeType, bits }) => nodeType === "h100-1" && bits === 16);
    assert.equal(one?.allowed, false);
    assert.match(one?.reason ?? "", /needs 14\d\.\d GB of weights, 1 × 79Gi/);
    assert.equal(found.recommendation?.nodeType, "h100-2");
    assert.equal(found.recommendation?.bits, 8);
    assert.equal(found.recommendation?.price, "8.00 EUR/h");
    const words = found.recommendation?.command.flatMap((argument) => argument.words) ?? [];
    const text = await inspect(args.slice(0, -2), env);
    assert.match(text.out, /\* h100-2 +2 × H100 80GB +8 +131,072 +\d+ +\d+\.?\d* +8\.00 EUR\/h\n/);
    assert.match(text.out, /Does not fit:\n {2}h100-1 at 8 bits: .*KV cache/);
    assert.match(text.out, /Recommended: h100-2 at 8 bits, 8\.00 EUR\/h\n/);
    assert.match(text.out, / {4}nodeType: h100-2\n {4}contextLength: 32768\n {4}quantization: \{bits: 8\}\n/);
    assert.deepEqual(
      text.out.split("\n").filter((line) => line.length > 80),
      [],
      "80 columns",
    );
    for (const [flag, value] of [
      ["--max-model-len", "32768"],
      ["--tensor-parallel-size", "2"],
      ["--quantization", "fp8"],
      ["--tool-call-parser", "llama3_json"],
    ])
      assert.equal(words[words.indexOf(flag ?? "") + 1], value, flag);
  });

  test("a bucket that is not there, and one that the keys do not open: the remedy is named", async (t) => {
    const s3 = await startS3();
    t.after(() => s3.stop());
    const env = { AWS_ENDPOINT_URL: s3.endpoint, AWS_ACCESS_KEY_ID: s3.accessKeyId, AWS_SECRET_ACCESS_KEY: "wrong" };
    const wrong = await inspect(["s3://models/x"], env);
    assert.equal(wrong.code, 1);
    assert.match(wrong.err, /Here: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY/);
    const missing = await inspect(["s3://models/x"], { ...env, AWS_SECRET_ACCESS_KEY: s3.secretAccessKey });
    assert.equal(missing.code, 1);
    assert.match(missing.err, /Here: correct the bucket's name/);
  });

  test("a folder as table, wide and YAML", async (t) => {
    const path = folder(t, tinyModel());
    const table = await inspect([path]);
    assert.equal(table.code, 0, table.err);
    assert.match(table.out, /architecture\s+LlamaForCausalLM \(Generate\)/);
    assert.match(table.out, /NODE TYPE +GPUS +BITS +MAX CONTEXT +AT ONCE +EXPECTED\n/);
    assert.match(table.out, /Recommended: (\S+) at 16 bits\n[^]*nodeType: \1\n {4}contextLength: 128\n\n/);
    assert.match(table.out, /vllm serve \\\n {4}\/model \\\n/);
    assert.match(table.out, /Read .* in \d+ requests, \d\.\d\d s/);
    assert.ok(!/ +$/m.test(table.out), "no blanks at the end of a line");
    const long = table.out.split("\n").filter((line) => line.length > 80 && !line.startsWith("Model "));
    assert.deepEqual(long, [], "80 columns");
    const wide = await inspect([path, "-o", "wide"]);
    assert.match(wide.out, /--max-model-len 128 +# the context that was promised/);
    const yaml = await inspect([path, "-o", "yaml"]);
    assert.equal((parse(yaml.out) as Inspection).model.architecture, "LlamaForCausalLM");
  });

  test("a hub", async (t) => {
    const hub = await startHub(t, { folder: folder(t, tinyModel()), repo: "org/tiny" });
    const { code, out, err } = await inspect(["hf://org/tiny"], { HF_ENDPOINT: hub.url });
    assert.equal(code, 0, err);
    assert.match(out, /Model hf:\/\/org\/tiny@[0-9a-f]{40}/);
    assert.match(out, /--served-model-name tiny/);
  });

  test("tells what an import would refuse, where the facts are known all the same", async (t) => {
    const path = folder(t, { ...tinyModel(), "pytorch_model.bin": "x" });
    const { code, out } = await inspect([path]);
    assert.equal(code, 0);
    assert.match(out, /! an import would refuse it: [^]*pytorch_model\.bin/);
  });

  test("says that nothing fits", async (t) => {
    const path = folder(t, tinyModel());
    const { code, out } = await inspect([path, "--context", "1m"]);
    assert.equal(code, 0);
    assert.match(
      out,
      /No node type of the list can serve this: ask for at most --context 128, or add\s+larger node types/,
    );
    assert.match(out, /made for 128/);
  });

  const refused: readonly (readonly [what: string, args: string[], code: number, says: RegExp])[] = [
    ["no place", [], 2, /place/],
    ["a folder that is not there", ["/no/such/folder"], 1, /is no folder: write one that holds a model's files/],
    ["an endpoint that is not there", ["s3://bucket/x"], 1, /cannot be reached.*Here: set AWS_ENDPOINT_URL/],
    ["a hub that is not there", ["hf://org/name"], 1, /cannot be reached.*Here: set HF_ENDPOINT/],
    ["a repository without name", ["hf://"], 2, /write .*org\/name/],
    ["an unknown scheme", ["ftp://x/y"], 2, /write a folder, s3:/],
    ["a bucket without name", ["s3://"], 2, /names no bucket/],
    ["a context in words", [".", "--context", "long"], 2, /32k/],
    ["no requests", [".", "--concurrency", "0"], 2, /whole number/],
    ["another form", [".", "-o", "xml"], 2, /table, wide, json, yaml/],
    ["a version without profile", [".", "--engine-version", "0.5.0"], 1, /no list of the arguments of vLLM 0\.5\.0/],
    ["node types that are not there", [".", "--node-types", "/no/file"], 1, /cannot be read/],
  ];
  for (const [what, args, code, says] of refused) {
    test(`refuses ${what}`, async () => {
      const nowhere = "http://127.0.0.1:1";
      const ran = await inspect(args, { AWS_ENDPOINT_URL: nowhere, HF_ENDPOINT: nowhere });
      assert.equal(ran.code, code);
      assert.match(ran.err, says);
    });
  }

  test("names the field of a wrong node type and the problem of a wrong model", async (t) => {
    const path = folder(t, { ...tinyModel({ "config.json": "{" }), "types.yaml": "- name: x\n  spec: {vcpus: 1}\n" });
    const types = await inspect([path, "--node-types", join(path, "types.yaml")]);
    assert.match(types.err, /x: spec\.gpu/);
    writeFileSync(join(path, "empty.yaml"), "- name: x\n");
    const empty = await inspect([path, "--node-types", join(path, "empty.yaml")]);
    assert.match(empty.err, /x has no spec: write NodeTypes as kubectl get nodetypes -o yaml prints them/);
    writeFileSync(join(path, "broken.yaml"), "{a: [");
    const broken = await inspect([path, "--node-types", join(path, "broken.yaml")]);
    assert.match(broken.err, /broken\.yaml is no YAML/);
    const model = await inspect([path]);
    assert.equal(model.code, 1);
    assert.match(model.err, /config\.json/);
    const nothing = await inspect([folder(t, {})]);
    assert.equal(nothing.code, 1);
    assert.match(nothing.err, /no file stands there: check the place/);
  });
});
