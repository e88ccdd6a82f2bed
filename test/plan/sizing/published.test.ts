// A second sanity check: largest contexts that a managed cloud publishes for its node types, beside our unbiased estimate.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { capacityOf } from "../../../operator/plan/sizing/capacity.ts";
import { factsOf } from "./reported.ts";

/** Model, quantization of the checkpoint, GPU, its memory, GPUs, bits, published largest context. */
const published = [
  ["meta-llama/Llama-3.1-8B-Instruct", "NVIDIA L4", "24Gi", 1, 16, 40_000],
  ["meta-llama/Llama-3.1-8B-Instruct", "NVIDIA L4", "24Gi", 1, 8, 93_000],
  ["meta-llama/Llama-3.1-8B-Instruct", "NVIDIA L40S", "48Gi", 1, 16, 131_072],
  ["meta-llama/Llama-3.1-8B-Instruct", "NVIDIA H100", "80Gi", 1, 16, 131_072],
  ["meta-llama/Llama-3.3-70B-Instruct", "NVIDIA H100", "80Gi", 1, 8, 15_000],
  ["meta-llama/Llama-3.3-70B-Instruct", "NVIDIA H100", "80Gi", 2, 8, 131_072],
] as const;

/** Published for one long request at a time, so with the smallest step that the fit tries: 16 sequences, batches of 1,024 tokens. */
const settings = { maxNumSeqs: 16, maxNumBatchedTokens: 1024 } as const;

describe("largest contexts that a managed cloud publishes", () => {
  for (const [model, product, memory, gpuCount, bits, context] of published) {
    test(`${model} at ${String(bits)} bits on ${String(gpuCount)} × ${product}: ${String(context)}`, () => {
      const asReported = {
        id: "", url: "", model, gpu: product, gpuCount, vllmVersion: "0.28.0", gpuMemoryUtilization: 0.92, maxModelLen: 131_072,
        quantization: /70B/.test(model) ? "fp8" : "none",
      }; // prettier-ignore
      const found = factsOf(asReported);
      assert.ok(found?.weights);
      // Matrices of a 16-bit checkpoint may shrink at load; those of an fp8 one are served as they are.
      const { dividedBytes: linearBytes } = found.weights;
      const facts = { ...found, weights: { ...found.weights, linearBytes, dividedBytes: 0 } };
      const gpu = { product, memory };
      const own = /70B/.test(model) ? found : facts;
      const two = capacityOf({ facts: own, gpu, tensorParallel: gpuCount, bits, engineVersion: "0.28.0", settings });
      const expected = two?.expected.longest(131_072) ?? 0;
      assert.ok(Math.abs(expected / context - 1) <= 0.05, `expected ${String(expected)}`);
      assert.ok((two?.safe.longest(131_072) ?? 0) <= context, "safe promises no more than is published");
    });
  }
});
