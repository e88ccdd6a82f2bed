// What vLLM is started with, and which image runs it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { chooseImage, engineArgs, engineEnv } from "../../../operator/plan/engine/args.ts";

const capacity = { contextLength: 8192, kvCacheTokens: 16_384, maxConcurrency: 2 };

test("a generative model is served on all GPUs with exactly the promised context", () => {
  assert.deepEqual(engineArgs({ servedName: "chat", gpuCount: 4, capacity, task: "Generate", shutdownSeconds: 570 }), [
    "/model",
    "--disable-fastapi-docs",
    "--disable-uvicorn-access-log",
    "--enable-force-include-usage",
    "--enable-prompt-tokens-details",
    ...["--generation-config", "auto"],
    ...["--gpu-memory-utilization", "0.92"],
    ...["--load-format", "safetensors"],
    ...["--max-model-len", "8192"],
    ...["--port", "8000"],
    ...["--served-model-name", "chat"],
    ...["--shutdown-timeout", "570"],
    ...["--tensor-parallel-size", "4"],
  ]);
});

test("a checkpoint's deprecated quantization is allowed by name, and no other", () => {
  const settings = { maxNumSeqs: 16, maxNumBatchedTokens: 1024, bits: 8, nativeBits: 8, tensorParallel: 1, expertParallel: false };
  const chat = { servedName: "chat", gpuCount: 1, capacity, task: "Generate", shutdownSeconds: 570 } as const;
  const flag = "--allow-deprecated-quantization";
  assert.ok(engineArgs({ ...chat, settings: { ...settings, deprecatedQuantization: true } }).includes(flag));
  assert.ok(!engineArgs({ ...chat, settings }).includes(flag));
}); // prettier-ignore

for (const task of ["Embed", "Classify", "Reward"] as const) {
  test(`a model for ${task} runs in the pooling runner`, () => {
    const args = engineArgs({ servedName: "m", gpuCount: 1, capacity, task, shutdownSeconds: 1 });
    assert.equal(args[args.indexOf("--runner") + 1], "pooling");
  });
}

test("no hub and no telemetry", () => {
  const env = Object.fromEntries(engineEnv().map(({ name, value }) => [name, value]));
  assert.equal(env["HF_HUB_OFFLINE"], "1");
  assert.equal(env["VLLM_NO_USAGE_STATS"], "1");
});

test("the list's first image is the default, and nothing beside the list is chosen", () => {
  const images = [
    { version: "0.32.0", image: "a" },
    { version: "0.31.1", image: "b" },
  ];
  assert.equal(chooseImage(images, undefined)?.image, "a");
  assert.equal(chooseImage(images, "0.31.1")?.image, "b");
  assert.equal(chooseImage(images, "0.30.0"), undefined);
  assert.equal(chooseImage([], undefined), undefined);
});
