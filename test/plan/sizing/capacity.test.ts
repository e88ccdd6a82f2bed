// Capacity of known models on known GPUs, and what must hold for every model and GPU.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import type { NodeType } from "../../../operator/api/nodetype.ts";
import { capacityOf } from "../../../operator/plan/sizing/capacity.ts";
import { fitOneNode, type ModelFacts } from "../../../operator/plan/sizing/fit.ts";
import { gpuOf } from "../../../operator/plan/sizing/gpu.ts";
import { nodeSupportOf } from "../../../operator/plan/sizing/matrix.ts";
import { divisionOf } from "../../../operator/plan/sizing/parallel.ts";
import { weightBytesPerGpu } from "../../../operator/plan/sizing/weights.ts";

const gpu = (product: string, memory: string, count = 1) => ({
  product,
  memory,
  count,
  resourceName: "nvidia.com/gpu",
});
const L4 = gpu("NVIDIA L4", "24Gi");
const H100 = gpu("NVIDIA H100 80GB HBM3", "80Gi");

/** Sizes by the safetensors index of meta-llama/Llama-3.1-8B-Instruct: 16,060,522,496 bytes. */
const llama8: ModelFacts = {
  weightBytes: 16_060_522_496,
  contextLength: 131_072,
  kvBytesPerToken: 131_072,
  task: "Generate",
  shape: {
    layers: 32, hiddenSize: 4096, attentionHeads: 32, keyValueHeads: 8, headSize: 128, vocabularySize: 128_256, intermediateSize: 14_336,
  },
  weights: {
    embeddingBytes: 2 * 128_256 * 4096 * 2, linearBytes: 13_958_643_712, dividedBytes: 0, replicatedBytes: 532_480,
    visionBytes: 0, expertBytes: 0, extraBytes: 0,
  },
  cache: [{ kind: "Full", layers: 32, heads: 8, keySize: 128, valueSize: 128 }],
}; // prettier-ignore

/** RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic: 72.7 GB of repository; matrices in 8 bits, embeddings in 16. */
const llama70fp8: ModelFacts = {
  ...llama8,
  weightBytes: 72_670_000_000,
  quantization: "compressed-tensors",
  effectiveBits: 8.2,
  shape: {
    layers: 80, hiddenSize: 8192, attentionHeads: 64, keyValueHeads: 8, headSize: 128, vocabularySize: 128_256, intermediateSize: 28_672,
  },
  weights: {
    embeddingBytes: 2 * 128_256 * 8192 * 2, linearBytes: 0, dividedBytes: 68_460_000_000, replicatedBytes: 2_637_824,
    visionBytes: 0, expertBytes: 0, extraBytes: 0,
  },
  cache: [{ kind: "Full", layers: 80, heads: 8, keySize: 128, valueSize: 128 }],
}; // prettier-ignore

describe("a managed cloud's figures", () => {
  const context = (model: ModelFacts, shape: typeof L4, bits: number): number => {
    const fit = fitOneNode(model, shape, undefined, { bits });
    return "capacity" in fit ? fit.estimates.expected.longest(131_072) : 0;
  };
  const rows: readonly (readonly [string, ModelFacts, typeof L4, number, number])[] = [
    ["8B in 16 bits on L4", llama8, L4, 16, 40_000],
    ["8B in 8 bits on L4", llama8, L4, 8, 93_000],
    ["8B on L40S", llama8, gpu("NVIDIA L40S", "48Gi"), 16, 131_072],
    ["8B on H100", llama8, H100, 16, 131_072],
    ["70B fp8 on H100", llama70fp8, H100, 8, 15_000],
    ["70B fp8 on 2 × H100", llama70fp8, gpu(H100.product, "80Gi", 2), 8, 131_072],
  ];
  for (const [name, model, shape, bits, published] of rows) {
    test(`${name}: about ${String(published)}`, () => {
      const ours = context(model, shape, bits);
      assert.ok(
        ours > published * 0.75 && ours < published * 1.25,
        `ours ${String(ours)}, theirs ${String(published)}`,
      );
    });
  }
});

describe("words", () => {
  const says = (model: ModelFacts, shape: typeof L4, bits?: number, context?: number): string => {
    const fit = fitOneNode(model, shape, context, bits === undefined ? {} : { bits });
    return "problem" in fit ? fit.problem.message : "fits";
  };
  test("weights that do not fit come with both numbers", () => {
    const heavy = {
      ...llama70fp8,
      quantization: undefined,
      effectiveBits: 16,
      weights: llama70fp8.weights && { ...llama70fp8.weights, linearBytes: 136_900_000_000, dividedBytes: 0 },
    };
    assert.match(
      says(heavy, H100),
      /needs 142\.\d GB of weights, 1 × 80Gi \(NVIDIA H100 80GB HBM3\) gives 7\d\.\d GB: use a larger node type \(it needs 2 such nodes in a pipeline, and a replica runs on one\)$/,
    );
  });
  test("bits that cannot be had say why", () => {
    assert.match(says(llama70fp8, H100, 16), /never served at more/);
    assert.match(says(llama8, H100, 4), /use a checkpoint that was quantized to 4 bits/);
    assert.match(says(llama8, gpu("Tesla T4", "16Gi"), 8), /need compute capability 8\.0, this GPU has 7\.5/);
  });
  test("groups of a 4-bit checkpoint, groups of states and heads say so", () => {
    // Qwen2.5 72B in GPTQ and AWQ: 29,568 over eight GPUs are 28.9 groups of 128 (Qwen's own advice is to pad the weights).
    const quantized = { ...llama8, quantization: "gptq", effectiveBits: 4.2, shape: { ...llama8.shape, intermediateSize: 29_568, quantizationBlock: 128 } };
    assert.match(says(quantized, gpu(H100.product, "80Gi", 8)), /feed-forward width of 29568 in blocks of 128 cannot be divided over 8 GPUs/);
    assert.equal(says(quantized, gpu(H100.product, "80Gi", 1)), "fits");
    // Qwen2.5 0.5B: 14 heads of 64 are 896, of which two GPUs hold 3.5 groups each.
    const narrow = { ...llama8, shape: { ...llama8.shape, attentionHeads: 14, keyValueHeads: 2, headSize: 64, quantizationBlock: 128 } };
    assert.match(says(narrow, gpu(H100.product, "80Gi", 2)), /attention width of 896 in blocks of 128 cannot be divided over 2 GPUs/);
    const state = { kind: "State" as const, layers: 4, convolution: 64, groups: 2, groupSize: 8, recurrent: 64, recurrentBytes: 2 };
    assert.match(says({ ...llama8, cache: [...(llama8.cache ?? []), state] }, gpu(H100.product, "80Gi", 4)), /2 groups of states cannot be divided over 4 GPUs/);
    assert.match(says(llama8, gpu(H100.product, "80Gi", 3)), /32 attention heads cannot be divided over 3 GPUs: use a node type whose GPU count divides 32/);
  }); // prettier-ignore
  test("widths that do not divide say so", () => {
    const blocks = { ...llama8, shape: { ...llama8.shape, intermediateSize: 18_432, quantizationBlock: 128 } };
    assert.match(says(blocks, gpu(H100.product, "80Gi", 32)), /32 GPUs/);
  });
});

const memories = fc.integer({ min: 8, max: 300 });
const products = fc.constantFrom("NVIDIA L4", "NVIDIA H100 80GB", "NVIDIA A100", "any", "NVIDIA B200", "AMD MI300X");
const counts = fc.constantFrom(1, 2, 4, 8);
const weightsOf = (linearBytes: number): ModelFacts["weights"] => ({
  embeddingBytes: 2e9, linearBytes, dividedBytes: 0, replicatedBytes: 1e6, visionBytes: 0, expertBytes: 0, extraBytes: 0,
}); // prettier-ignore
const other = (cache: ModelFacts["cache"], shape: ModelFacts["shape"], linearBytes = 20e9): ModelFacts => ({
  weightBytes: linearBytes + 2e9, contextLength: 131_072, task: "Generate", weights: weightsOf(linearBytes), cache,
  shape: { layers: 48, hiddenSize: 4096, attentionHeads: 32, keyValueHeads: 8, headSize: 128, vocabularySize: 200_000, intermediateSize: 12_288, ...shape },
}); // prettier-ignore
const heads = { heads: 8, keySize: 128, valueSize: 128 };
/** States beside attention, windows beside attention, latent attention of experts, an image encoder. */
const hybrid = other(
  [
    { kind: "Full", layers: 12, ...heads },
    { kind: "State", layers: 36, convolution: 24_576, groups: 0, groupSize: 0, recurrent: 524_288, recurrentBytes: 4 },
  ],
  {},
);
const windowed = other([{ kind: "Full", layers: 8, ...heads }, { kind: "Sliding", layers: 40, ...heads, window: 1024 }], {}); // prettier-ignore
const latent = other([{ kind: "Latent", layers: 48, keySize: 576 }], {
  experts: 64,
  expertsPerToken: 6,
  expertSize: 1408,
});
const seeing = other([{ kind: "Full", layers: 48, ...heads }], { visionTokens: 16_384, visionWidth: 18_432, visionSplitWidth: 36_864, visionInput: 6144, visionOutput: 4096 }); // prettier-ignore
const models = fc.constantFrom(llama8, llama70fp8, hybrid, windowed, latent, seeing);

describe("for every model and GPU", () => {
  test("more memory never lowers a context", () => {
    fc.assert(
      fc.property(
        models,
        products,
        memories,
        fc.integer({ min: 0, max: 200 }),
        counts,
        (model, product, memory, more, count) => {
          const at = (gib: number): number => {
            const fit = fitOneNode(model, gpu(product, `${String(gib)}Gi`, count), undefined);
            return "capacity" in fit ? fit.capacity.contextLength : 0;
          };
          assert.ok(at(memory + more) >= at(memory));
        },
      ),
    );
  });

  test("fewer bits never raise weight bytes, and safe never exceeds expected", () => {
    fc.assert(
      fc.property(models, counts, fc.constantFrom(4, 8, 16), fc.constantFrom(4, 8, 16), (model, tensor, a, b) => {
        const bytes = (bits: number): number => weightBytesPerGpu(model, { tensor, pipeline: 1 }, bits, true) ?? 0;
        assert.ok(bytes(Math.min(a, b)) <= bytes(Math.max(a, b)));
        const two = capacityOf({ facts: model, gpu: H100, tensorParallel: tensor });
        assert.ok(two && two.safe.cacheBytes <= two.expected.cacheBytes);
      }),
    );
  });

  test("the matrix and the plan of a deployment never disagree", () => {
    fc.assert(
      fc.property(
        models,
        products,
        memories,
        counts,
        fc.integer({ min: 16, max: 131_072 }),
        (model, product, memory, count, wanted) => {
          const shape = gpu(product, `${String(memory)}Gi`, count);
          const [row] = nodeSupportOf(model, [{ metadata: { name: "n" }, spec: { gpu: shape } } as NodeType]);
          for (const { bits, allowed, maxContextLength, reason } of row?.quantizations ?? []) {
            const fits = "capacity" in fitOneNode(model, shape, wanted, { bits });
            assert.equal(fits, allowed && wanted <= maxContextLength);
            if (!allowed) assert.match(reason ?? "", /\d/);
          }
        },
      ),
    );
  });

  test("GPUs divide what they share, or the reason says what they cannot divide", () => {
    const sizes = fc.integer({ min: 1, max: 256 });
    fc.assert(
      fc.property(sizes, sizes, sizes, fc.constantFrom(1, 2, 3, 4, 6, 8, 16), (heads, keyValueHeads, blocks, count) => {
        const shape = { attentionHeads: heads, keyValueHeads, intermediateSize: blocks * 128, quantizationBlock: 128 };
        const division = divisionOf({ shape } as ModelFacts, count);
        const divides = [heads % count, Math.min(keyValueHeads % count, count % keyValueHeads), blocks % count];
        if (divides.every((rest) => rest === 0)) assert.ok(!("reason" in division));
        else assert.match("reason" in division ? division.reason : "", /\d+ GPUs$/);
      }),
    );
  });

  test("safe never holds more than expected, at any length", () => {
    fc.assert(
      fc.property(models, counts, fc.integer({ min: 16, max: 131_072 }), (model, tensor, length) => {
        const two = capacityOf({ facts: model, gpu: H100, tensorParallel: tensor, engineVersion: "0.24.0" });
        assert.ok(two && two.safe.concurrency(length) <= two.expected.concurrency(length));
        assert.ok(two.safe.longest(length) <= two.expected.longest(length));
      }),
    );
  });

  test("a NodeType's memory is never exceeded", () => {
    fc.assert(
      fc.property(products, memories, (product, memory) => {
        assert.ok(gpuOf({ product, memory: `${String(memory)}Gi` }).usableBytes <= memory * 2 ** 30);
      }),
    );
  });
});
