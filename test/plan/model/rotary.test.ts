// Tables of rotary positions, held to what start-up logs say beyond the weights themselves: "Model loading took" less parameters × 2.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { rotaryBytesOf } from "../../../operator/plan/model/rotary.ts";
import { shapeOf } from "../../../operator/plan/model/shape.ts";
import { weightBytesPerGpu } from "../../../operator/plan/sizing/weights.ts";

const MiB = 2 ** 20;

function recorded(name: string): Readonly<Record<string, unknown>> {
  const path = join(import.meta.dirname, "configs", `${name}.json`);
  return (JSON.parse(readFileSync(path, "utf8")) as { config: Readonly<Record<string, unknown>> }).config;
}

/** Recorded configuration, bytes on each GPU, why. */
const tables = [
  // 14.9889 GiB loaded, 8,030,261,248 parameters (model card: 8.03 B).
  ["meta-llama__Llama-3.1-8B-Instruct", 131_072 * 128 * 2, "one position of 131,072: half a head of cosines and of sines"],
  // 3.4554 GiB loaded without images, 3.20 of weights: the axes of a video need four times the positions.
  ["Qwen__Qwen3-VL-2B-Instruct", 4 * 262_144 * 128 * 2, "three axes of positions"],
  // 17.66 GiB loaded, 17.53 of weights.
  ["Qwen__Qwen3.5-9B", 4 * 262_144 * 64 * 2, "three axes, a quarter of the head of 256"],
  ["google__gemma-3-27b-it", 2 * 131_072 * 128 * 2, "layers with a window have a base of their own"],
  ["meta-llama__Llama-4-Scout-17B-16E-Instruct", 10_485_760 * 128 * 2, "ten million positions: 2.5 GiB of every GPU"],
  ["deepseek-ai__DeepSeek-V3", 163_840 * 64 * 2, "the rotated part of latent attention"],
] as const; // prettier-ignore

describe("tables of rotary positions", () => {
  for (const [name, bytes, why] of tables) {
    test(`${name}: ${String(bytes / MiB)} MiB, ${why}`, () => {
      assert.equal(shapeOf(recorded(name), []).rotaryBytes, bytes);
    });
  }

  test("what stretches the positions stretches the table", () => {
    const plain = { model_type: "qwen2", max_position_embeddings: 32_768 };
    const of = (rope: object): number | undefined => rotaryBytesOf({ ...plain, rope_scaling: rope }, 128);
    assert.equal(rotaryBytesOf(plain, 128), 8 * MiB);
    assert.equal(of({ type: "yarn", factor: 4, original_max_position_embeddings: 32_768 }), 32 * MiB);
    assert.equal(of({ rope_type: "linear", factor: 2 }), 16 * MiB);
    assert.equal(of({ rope_type: "dynamic", factor: 2 }), 16 * MiB);
    assert.equal(of({ rope_type: "llama3", factor: 8, original_max_position_embeddings: 8192 }), 8 * MiB);
    assert.equal(of({ type: "longrope", original_max_position_embeddings: 4096 }), 9 * MiB);
  });

  test("Gemma 3 stretches its global layers eightfold and leaves those with a window alone", () => {
    const text_config = { model_type: "gemma3_text", max_position_embeddings: 131_072, rope_scaling: { rope_type: "linear", factor: 8 } };
    assert.equal(rotaryBytesOf({ text_config }, 128), (8 + 1) * 32 * MiB);
    const nested = { full_attention: { rope_type: "linear", factor: 8 }, sliding_attention: { rope_type: "default" } };
    assert.equal(rotaryBytesOf({ text_config: { ...text_config, rope_scaling: undefined, rope_parameters: nested } }, 128), (8 + 1) * 32 * MiB);
  }); // prettier-ignore

  test("families without rotation have none, and numbers beyond any model's are not believed", () => {
    for (const model_type of ["gpt2", "opt", "bert", "whisper", "mamba2", "nemotron_h"])
      assert.equal(rotaryBytesOf({ model_type, max_position_embeddings: 2048 }, 64), undefined);
    const huge = { model_type: "llama", max_position_embeddings: Number.MAX_SAFE_INTEGER };
    assert.equal(rotaryBytesOf(huge, 128), undefined);
    assert.equal(rotaryBytesOf({ model_type: "llama" }, 128), undefined);
  });

  test("no GPU shares its table: eight hold eight", () => {
    const facts = (rotaryBytes: number) => ({
      shape: { rotaryBytes },
      weights: { embeddingBytes: 0, linearBytes: 8e9, dividedBytes: 0, replicatedBytes: 0, visionBytes: 0, expertBytes: 0, extraBytes: 0 },
    }); // prettier-ignore
    const parallel = { tensor: 8, pipeline: 1 };
    assert.equal(weightBytesPerGpu(facts(0), parallel, 16, false), 1e9);
    assert.equal(weightBytesPerGpu(facts(5e8), parallel, 16, false), 1.5e9);
  });
});
