// Which checkpoint runs on which GPU: the table of vLLM's documentation (features/quantization/README.md), the least compute capability of
// each method's class, and platforms/rocm.py; not our own table read back.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { fitOneNode, type ModelFacts } from "../../../operator/plan/sizing/fit.ts";

const heads = { heads: 8, keySize: 128, valueSize: 128 };
function checkpoint(quantization: string | undefined, effectiveBits: number, dtypes: Record<string, number> = {}): ModelFacts {
  return {
    weightBytes: 1e9,
    contextLength: 8192,
    task: "Generate",
    effectiveBits,
    dtypes,
    shape: { layers: 8, hiddenSize: 2048, attentionHeads: 16, keyValueHeads: 8, headSize: 128, vocabularySize: 32_000, intermediateSize: 8192 },
    weights: { embeddingBytes: 1e8, linearBytes: 9e8, dividedBytes: 0, replicatedBytes: 1e6, visionBytes: 0, expertBytes: 0, extraBytes: 0 },
    cache: [{ kind: "Full", layers: 8, ...heads }],
    ...(quantization === undefined ? {} : { quantization }),
  };
} // prettier-ignore

const gpus = {
  V100: "Tesla V100", T4: "Tesla T4", A100: "NVIDIA A100", L40S: "NVIDIA L40S", H100: "NVIDIA H100", B200: "NVIDIA B200", MI300X: "AMD Instinct MI300X",
} as const; // prettier-ignore
type Name = keyof typeof gpus;
const all = Object.keys(gpus) as Name[];
const memory: Partial<Record<Name, string>> = {
  V100: "32Gi",
  T4: "16Gi",
  L40S: "48Gi",
  B200: "180Gi",
  MI300X: "192Gi",
};

function reasonOf(model: ModelFacts, name: Name, engineVersion = "0.32.0", bits?: number): string | undefined {
  const gpu = { product: gpus[name], memory: memory[name] ?? "80Gi", count: 1, resourceName: "nvidia.com/gpu" };
  const fit = fitOneNode(model, gpu, undefined, { engineVersion, ...(bits === undefined ? {} : { bits }) });
  return "problem" in fit ? fit.problem.message : undefined;
}

const withoutOld: readonly Name[] = all.filter((name) => name !== "V100");
const from80: readonly Name[] = withoutOld.filter((name) => name !== "T4");

/** Method of the checkpoint, its effective bits, GPUs that serve it. */
const served: readonly (readonly [method: string, bits: number, on: readonly Name[], dtypes?: Record<string, number>])[] = [
  ["awq", 4.2, withoutOld],
  ["gptq", 4.2, all],
  ["fp8", 8.1, withoutOld],
  ["modelopt", 8.1, from80],
  ["modelopt_fp4", 4.6, withoutOld],
  ["mxfp4", 4.3, from80],
  ["fbgemm_fp8", 8.2, from80],
  ["compressed-tensors", 8.1, withoutOld, { F8_E4M3: 9e8 }],
  // Integers of weights and activations: not on compute capability 10.0.
  ["compressed-tensors", 8.1, withoutOld.filter((name) => name !== "B200"), { I8: 9e8 }],
  ["compressed-tensors", 4.2, withoutOld, { I32: 5e8 }],
  ["experts_int8", 8.1, from80.filter((name) => name !== "MI300X")],
  ["fp_quant", 4.3, ["B200"]],
  ["bitsandbytes", 4.3, []],
  ["aqlm", 2.1, []],
  ["unknown", 4.1, []],
]; // prettier-ignore

describe("checkpoints on GPUs", () => {
  for (const [method, bits, on, dtypes] of served) {
    test(`${method} at ${String(bits)} bits${dtypes ? ` of ${Object.keys(dtypes).join()}` : ""}: ${on.join(", ") || "nowhere"}`, () => {
      for (const name of all) {
        const reason = reasonOf(checkpoint(method, bits, dtypes), name);
        if (on.includes(name)) assert.equal(reason, undefined, name);
        else assert.match(reason ?? "allowed", /^\d+ bits on .*(\d+\.\d|AMD|does not know|plugin)/, name);
      }
    });
  }

  test("bitsandbytes ran until the engine moved it into a plugin", () => {
    assert.equal(reasonOf(checkpoint("bitsandbytes", 4.3), "A100", "0.27.1"), undefined);
    assert.match(
      reasonOf(checkpoint("bitsandbytes", 4.3), "A100", "0.28.0") ?? "",
      /plugin that its images lack since 0\.28/,
    );
  });

  test("16 bits may become 8 at load from Ampere on and on AMD, never 4; nothing grows", () => {
    const plain = checkpoint(undefined, 16);
    for (const name of all) {
      const reason = reasonOf(plain, name, "0.32.0", 8);
      if (from80.includes(name)) assert.equal(reason, undefined, name);
      else assert.match(reason ?? "allowed", /need compute capability 8\.0, this GPU has 7\.[05]/, name);
      assert.match(reasonOf(plain, name, "0.32.0", 4) ?? "allowed", /use a checkpoint that was quantized to 4 bits/);
      assert.match(reasonOf(checkpoint("fp8", 8.1), name, "0.32.0", 16) ?? "allowed", /never served at more/);
    }
  });

  test("a method that the engine takes on request only is asked for", () => {
    const gpu = { product: gpus.H100, memory: "80Gi", count: 1, resourceName: "nvidia.com/gpu" };
    const fit = (method: string): unknown => {
      const answer = fitOneNode(checkpoint(method, 8.1), gpu, undefined);
      return "engine" in answer && answer.engine.deprecatedQuantization;
    };
    assert.equal(fit("fbgemm_fp8"), true);
    assert.equal(fit("fp8"), false);
  });
});
