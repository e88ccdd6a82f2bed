/** The entries of the catalogue, which the bundle carries: a test holds this list and the folder together. */
import type { CatalogueEntry } from "./schema.ts";
import allMinilmL6V2 from "./entries/all-minilm-l6-v2.json" with { type: "json" };
import deepseekR1_0528 from "./entries/deepseek-r1-0528.json" with { type: "json" };
import deepseekR1DistillLlama_8b from "./entries/deepseek-r1-distill-llama-8b.json" with { type: "json" };
import deepseekR1DistillQwen_14b from "./entries/deepseek-r1-distill-qwen-14b.json" with { type: "json" };
import deepseekV3_2 from "./entries/deepseek-v3-2.json" with { type: "json" };
import gemma_3_27bIt from "./entries/gemma-3-27b-it.json" with { type: "json" };
import gemma_3_4bIt from "./entries/gemma-3-4b-it.json" with { type: "json" };
import gemma_4_26bA4bIt from "./entries/gemma-4-26b-a4b-it.json" with { type: "json" };
import glm_5_2Fp8 from "./entries/glm-5-2-fp8.json" with { type: "json" };
import gptOss_120b from "./entries/gpt-oss-120b.json" with { type: "json" };
import gptOss_20b from "./entries/gpt-oss-20b.json" with { type: "json" };
import llama_3_1_8bInstruct from "./entries/llama-3-1-8b-instruct.json" with { type: "json" };
import llama_3_2_3bInstruct from "./entries/llama-3-2-3b-instruct.json" with { type: "json" };
import llama_3_3_70bInstruct from "./entries/llama-3-3-70b-instruct.json" with { type: "json" };
import mistral_7bInstructV0_3 from "./entries/mistral-7b-instruct-v0-3.json" with { type: "json" };
import nemotron_3Nano_30bA3b from "./entries/nemotron-3-nano-30b-a3b.json" with { type: "json" };
import phi_4MiniInstruct from "./entries/phi-4-mini-instruct.json" with { type: "json" };
import phi_4 from "./entries/phi-4.json" with { type: "json" };
import qwen2_5Coder_32bInstruct from "./entries/qwen2-5-coder-32b-instruct.json" with { type: "json" };
import qwen2_5Coder_7bInstruct from "./entries/qwen2-5-coder-7b-instruct.json" with { type: "json" };
import qwen3_30bA3b from "./entries/qwen3-30b-a3b.json" with { type: "json" };
import qwen3_32b from "./entries/qwen3-32b.json" with { type: "json" };
import qwen3_4b from "./entries/qwen3-4b.json" with { type: "json" };
import qwen3_5_122bA10b from "./entries/qwen3-5-122b-a10b.json" with { type: "json" };
import qwen3_6_27b from "./entries/qwen3-6-27b.json" with { type: "json" };
import qwen3_6_35bA3b from "./entries/qwen3-6-35b-a3b.json" with { type: "json" };
import qwen3_8_27b from "./entries/qwen3-8-27b.json" with { type: "json" };
import qwen3Coder_30bA3bInstruct from "./entries/qwen3-coder-30b-a3b-instruct.json" with { type: "json" };
import qwen3Embedding_8b from "./entries/qwen3-embedding-8b.json" with { type: "json" };
import qwen3Vl_30bA3bInstruct from "./entries/qwen3-vl-30b-a3b-instruct.json" with { type: "json" };
import whisperLargeV3 from "./entries/whisper-large-v3.json" with { type: "json" };

/** By name. A test holds each to the schema, so nothing is parsed here. */
export const entries = [
  allMinilmL6V2,
  deepseekR1_0528,
  deepseekR1DistillLlama_8b,
  deepseekR1DistillQwen_14b,
  deepseekV3_2,
  gemma_3_27bIt,
  gemma_3_4bIt,
  gemma_4_26bA4bIt,
  glm_5_2Fp8,
  gptOss_120b,
  gptOss_20b,
  llama_3_1_8bInstruct,
  llama_3_2_3bInstruct,
  llama_3_3_70bInstruct,
  mistral_7bInstructV0_3,
  nemotron_3Nano_30bA3b,
  phi_4MiniInstruct,
  phi_4,
  qwen2_5Coder_32bInstruct,
  qwen2_5Coder_7bInstruct,
  qwen3_30bA3b,
  qwen3_32b,
  qwen3_4b,
  qwen3_5_122bA10b,
  qwen3_6_27b,
  qwen3_6_35bA3b,
  qwen3_8_27b,
  qwen3Coder_30bA3bInstruct,
  qwen3Embedding_8b,
  qwen3Vl_30bA3bInstruct,
  whisperLargeV3,
] as readonly unknown[] as readonly CatalogueEntry[];
