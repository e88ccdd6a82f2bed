// Does a model fit one node: the arithmetic, its edges, and messages that say what to write instead.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { fitOneNode, type ModelFacts } from "../../../operator/plan/sizing/fit.ts";

const L4 = { product: "NVIDIA L4", count: 1, memory: "22Gi", resourceName: "nvidia.com/gpu" };
/** Weights and cache of an 8-billion-parameter Llama in bfloat16. */
const llama: ModelFacts = {
  weightBytes: 16_060_522_496,
  contextLength: 131_072,
  kvBytesPerToken: 131_072,
  shape: { attentionHeads: 32, keyValueHeads: 8 },
};

function problemOf(model: ModelFacts, gpu = L4, context?: number): string {
  const fit = fitOneNode(model, gpu, context);
  return "problem" in fit ? `${fit.problem.reason}: ${fit.problem.message}` : "fits";
}

describe("one node", () => {
  test("gives the context that fits, below the model's own", () => {
    const fit = fitOneNode(llama, L4, undefined);
    assert.ok("capacity" in fit);
    assert.ok(fit.capacity.contextLength > 8_000 && fit.capacity.contextLength < 131_072);
    assert.equal(fit.capacity.kvCacheTokens % 16, 0);
    assert.equal(fit.capacity.maxConcurrency, 1);
  });

  test("gives a wanted context and counts the requests that fit at once", () => {
    const fit = fitOneNode(llama, L4, 2048);
    assert.ok("capacity" in fit);
    assert.equal(fit.capacity.contextLength, 2048);
    assert.equal(fit.capacity.maxConcurrency, Math.floor(fit.capacity.kvCacheTokens / 2048));
  });

  test("needs no cache for a model that keeps none", () => {
    const fit = fitOneNode({ weightBytes: 9e7, contextLength: 512, kvBytesPerToken: 0 }, L4, undefined);
    assert.ok("capacity" in fit);
    assert.deepEqual(fit.capacity, { contextLength: 512, kvCacheTokens: 0, maxConcurrency: 0 });
  });

  test("lowers the sequences of a model with states until each has a block, and says so", () => {
    // vLLM refuses to start with 1,024 sequences there: "max_num_seqs (1024) exceeds available Mamba cache blocks (939)" (recipes #831).
    const pro = { product: "NVIDIA RTX PRO 6000", count: 1, memory: "96Gi", resourceName: "nvidia.com/gpu" };
    const hybrid: ModelFacts = {
      weightBytes: 30e9,
      contextLength: 262_144,
      shape: { layers: 64, hiddenSize: 5120, vocabularySize: 248_320, attentionHeads: 24, keyValueHeads: 4, intermediateSize: 17_408 },
      cache: [
        { kind: "Full", layers: 16, heads: 4, keySize: 256, valueSize: 256 },
        { kind: "State", layers: 48, convolution: 30_720, groups: 0, groupSize: 0, recurrent: 786_432, recurrentBytes: 4 },
      ],
    }; // prettier-ignore
    const fit = fitOneNode(hybrid, pro, undefined, { engineVersion: "0.28.0" });
    assert.ok("engine" in fit && "estimates" in fit);
    assert.ok(fit.engine.lowered && fit.engine.maxNumSeqs <= 256, String(fit.engine.maxNumSeqs));
    assert.ok(fit.engine.maxNumSeqs <= fit.estimates.safe.mostSequences / 2);
    const before = fitOneNode(hybrid, pro, undefined, { engineVersion: "0.18.1" });
    assert.ok("engine" in before);
    assert.equal(before.engine.maxNumSeqs, 1024);
  });

  const refused: readonly (readonly [string, ModelFacts, typeof L4, number | undefined, RegExp])[] = [
    ["weights that exceed it", { ...llama, weightBytes: 140e9 }, L4, undefined, /^DoesNotFit: .*larger node type$/],
    ["no weights known", { ...llama, weightBytes: undefined }, L4, undefined, /^DoesNotFit: .*unknown/],
    ["no cache size known", { ...llama, kvBytesPerToken: undefined }, L4, undefined, /^DoesNotFit: .*unknown/],
    ["heads that do not divide", llama, { ...L4, count: 5 }, undefined, /^DoesNotFit: .*32 attention heads .* 5 GPUs/],
    ["more context than the model has", { ...llama, contextLength: 4096 }, L4, 5000, /^ContextTooLong: .*4096 or less/],
    ["more context than fits", llama, L4, 100_000, /^DoesNotFit: .*set spec\.contextLength to \d{4,} or less/],
    [
      "room for no block at all",
      { ...llama, kvBytesPerToken: 2 ** 40 },
      L4,
      undefined,
      /^DoesNotFit: .*larger node type$/,
    ],
  ];
  for (const [name, model, gpu, context, says] of refused) {
    test(`is refused for ${name}`, () => assert.match(problemOf(model, gpu, context), says));
  }

  test("never advises a context of nothing", () => {
    assert.doesNotMatch(problemOf({ ...llama, kvBytesPerToken: 2 ** 40 }), /to 0 or less/);
  });
});

describe("properties", () => {
  const facts = fc.record({
    weightBytes: fc.integer({ min: 1, max: 200e9 }),
    contextLength: fc.integer({ min: 16, max: 1_000_000 }),
    kvBytesPerToken: fc.integer({ min: 0, max: 2_000_000 }),
    shape: fc.record({ attentionHeads: fc.constantFrom(16, 32, 64), keyValueHeads: fc.constantFrom(1, 2, 8, 16) }),
  });
  const gpus = fc.record({
    product: fc.constant("any"),
    count: fc.constantFrom(1, 2, 4, 8),
    memory: fc.integer({ min: 4, max: 192 }).map((gib) => `${gib}Gi`),
    resourceName: fc.constant("nvidia.com/gpu"),
  });

  test("a promise is within the model, the wish and the cache", () => {
    fc.assert(
      fc.property(
        facts,
        gpus,
        fc.option(fc.integer({ min: 16, max: 1_000_000 }), { nil: undefined }),
        (model, gpu, context) => {
          const fit = fitOneNode(model, gpu, context);
          if ("problem" in fit) return;
          const { contextLength, kvCacheTokens, maxConcurrency } = fit.capacity;
          assert.ok(contextLength <= model.contextLength && contextLength >= 1);
          if (context !== undefined) assert.equal(contextLength, context);
          if (model.kvBytesPerToken > 0) {
            assert.ok(kvCacheTokens >= contextLength);
            assert.ok(maxConcurrency >= 1 && maxConcurrency * contextLength <= kvCacheTokens);
          }
        },
      ),
    );
  });

  test("heavier weights never give more context", () => {
    fc.assert(
      fc.property(facts, gpus, fc.integer({ min: 0, max: 50e9 }), (model, gpu, more) => {
        const light = fitOneNode(model, gpu, undefined);
        const heavy = fitOneNode({ ...model, weightBytes: model.weightBytes + more }, gpu, undefined);
        if ("problem" in heavy) return;
        assert.ok("capacity" in light && light.capacity.contextLength >= heavy.capacity.contextLength);
      }),
    );
  });
});
