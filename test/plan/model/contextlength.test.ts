// The native context as vLLM derives it (config/model.py _get_and_verify_max_len): configurations as published, lengths as model cards state them.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { contextLengthOf, type LengthFiles, type Task } from "../../../operator/plan/model/config.ts";

type Config = Readonly<Record<string, unknown>>;

const published: readonly (readonly [model: string, config: Config, length: number, why: string])[] = [
  ["meta-llama/Llama-3.1-8B", { max_position_embeddings: 131_072, rope_scaling: { rope_type: "llama3", factor: 8, original_max_position_embeddings: 8192 } }, 131_072, "llama3 states the stretched length"],
  ["Qwen/Qwen2.5-7B-Instruct with YaRN", { max_position_embeddings: 32_768, rope_scaling: { type: "yarn", factor: 4, original_max_position_embeddings: 32_768 } }, 131_072, "yarn stretches the original length"],
  ["deepseek-ai/DeepSeek-V3", { max_position_embeddings: 163_840, rope_scaling: { type: "yarn", factor: 40, original_max_position_embeddings: 4096 } }, 163_840, "not the stretched one once more"],
  ["openai/gpt-oss-20b", { max_position_embeddings: 131_072, rope_scaling: { rope_type: "yarn", factor: 32, original_max_position_embeddings: 4096 } }, 131_072, "yarn"],
  ["microsoft/Phi-3-mini-128k-instruct", { max_position_embeddings: 131_072, original_max_position_embeddings: 4096, rope_scaling: { type: "longrope", short_factor: [1], long_factor: [1] } }, 131_072, "longrope states the stretched length"],
  ["microsoft/Phi-3-mini-128k-instruct as first published", { max_position_embeddings: 131_072, rope_scaling: { type: "su" } }, 131_072, "su is longrope's first name"],
  ["google/gemma-3-27b-it", { text_config: { model_type: "gemma3_text", max_position_embeddings: 131_072, rope_scaling: { rope_type: "linear", factor: 8 } } }, 131_072, "Gemma 3 states the stretched length"],
  ["a linear stretch", { max_position_embeddings: 4096, rope_scaling: { type: "linear", factor: 4 } }, 16_384, "linear"],
  ["a dynamic stretch", { max_position_embeddings: 4096, rope_scaling: { type: "dynamic", factor: 2 } }, 8192, "dynamic"],
  ["Qwen/Qwen3-VL-8B-Instruct", { text_config: { max_position_embeddings: 262_144, rope_scaling: { rope_type: "default", mrope_section: [24, 20, 20] } } }, 262_144, "three axes stretch nothing"],
  ["lengths by kinds of layers", { max_position_embeddings: 32_768, rope_parameters: { full_attention: { rope_type: "yarn", factor: 4, original_max_position_embeddings: 32_768 }, sliding_attention: { rope_type: "default" } } }, 131_072, "transformers 5 nests them"],
  ["CohereForAI/c4ai-command-r-v01", { max_position_embeddings: 8192, model_max_length: 131_072 }, 131_072, "Cohere's own key goes first"],
  ["zai-org/chatglm3-6b-32k", { seq_length: 32_768 }, 32_768, "ChatGLM's key"],
  ["mosaicml/mpt-7b", { max_seq_len: 2048 }, 2048, "MPT's key"],
  ["openai/whisper-large-v3", { max_target_positions: 448, max_source_positions: 1500 }, 448, "the decoder's text"],
  ["Qwen/Qwen2.5-Omni-7B", { thinker_config: { text_config: { max_position_embeddings: 32_768 } } }, 32_768, "the thinker's text"],
  ["an InternVL chat model", { llm_config: { max_position_embeddings: 40_960 } }, 40_960, "llm_config"],
  ["two keys", { max_position_embeddings: 8192, seq_length: 4096 }, 4096, "the smaller one counts"],
]; // prettier-ignore

const poolers: readonly (readonly [model: string, config: Config, task: Task, files: LengthFiles, length: number])[] = [
  ["sentence-transformers/all-MiniLM-L6-v2", { max_position_embeddings: 512, position_embedding_type: "absolute" }, "Embed", { sentence: { max_seq_length: 256 }, tokenizer: { model_max_length: 512 } }, 256],
  ["FacebookAI/roberta-large-mnli", { max_position_embeddings: 514, position_embedding_type: "absolute" }, "Classify", { tokenizer: { model_max_length: 512 } }, 512],
  ["BAAI/bge-m3", { max_position_embeddings: 8194, position_embedding_type: "absolute" }, "Embed", { tokenizer: { model_max_length: 8192 } }, 8192],
  ["a generating model, whose tokenizer says less", { max_position_embeddings: 32_768, position_embedding_type: "absolute" }, "Generate", { tokenizer: { model_max_length: 2048 } }, 32_768],
  ["an embedder with rotary positions", { max_position_embeddings: 32_768 }, "Embed", { tokenizer: { model_max_length: 2048 } }, 32_768],
  ["a tokenizer without a limit", { max_position_embeddings: 512, position_embedding_type: "absolute" }, "Embed", { tokenizer: { model_max_length: 1e30 } }, 512],
]; // prettier-ignore

describe("native context", () => {
  for (const [model, config, length, why] of published) {
    test(`${model}: ${String(length)}, ${why}`, () => {
      assert.equal(contextLengthOf(config, "Generate"), length);
    });
  }

  for (const [model, config, task, files, length] of poolers) {
    test(`${model}: ${String(length)}`, () => {
      assert.equal(contextLengthOf(config, task, files), length);
    });
  }

  test("is unknown where no file says it", () => {
    assert.equal(contextLengthOf({ rope_scaling: { type: "yarn", factor: 4 } }, "Generate"), undefined);
  });
});
