/** One real configuration or more for each attention kind, with fewer layers and experts: what oracle.test.ts asks vLLM and us. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { longCat, miniCpm3, zamba2 } from "./familyconfigs.ts";

type Config = Readonly<Record<string, unknown>>;

export interface OracleCase {
  /** Attention kind and family. */
  readonly kind: string;
  readonly config: Config;
  readonly maxModelLen: number;
  readonly batchedTokens: number;
  /** Further arguments of the engine by their Python names. */
  readonly extra?: Config;
}

const recorded = (name: string): Config =>
  (
    JSON.parse(readFileSync(join(import.meta.dirname, "../model/configs", `${name}.json`), "utf8")) as {
      config: Config;
    }
  ).config;

const without = (config: Config, ...keys: readonly string[]): Config =>
  Object.fromEntries(Object.entries(config).filter(([key]) => !keys.includes(key)));

/** A recorded configuration with so many layers; lists by layer keep their beginning. */
function reduced(name: string, layers: number, changes: Config = {}): Config {
  const config = recorded(name);
  const lists = Object.entries(config)
    .filter(([, value]) => Array.isArray(value) && value.length === config["num_hidden_layers"])
    .map(([key, value]) => [key, (value as readonly unknown[]).slice(0, layers)] as const);
  return { ...config, ...Object.fromEntries(lists), num_hidden_layers: layers, ...changes };
}

/** The language model of a multimodal configuration by itself. */
function textOf(name: string, architecture: string, layers: number, changes: Config = {}): Config {
  const text = recorded(name)["text_config"] as Config;
  const list = text["layer_types"];
  return {
    ...text,
    architectures: [architecture],
    torch_dtype: "bfloat16",
    ...(Array.isArray(list) ? { layer_types: list.slice(0, layers) as unknown[] } : {}),
    num_hidden_layers: layers,
    ...changes,
  };
}

/** Keeps the layers' attention as it is: the CPU build has no kernels for packed experts, which the cache does not depend on. */
const unpacked = (config: Config): Config => without(config, "quantization_config");

const bert: Config = { ...recorded("sentence-transformers__all-MiniLM-L6-v2"), position_embedding_type: "absolute" };

const windows = (layers: number, each: number): string[] =>
  Array.from({ length: layers }, (_, index) => ((index + 1) % each === 0 ? "full_attention" : "sliding_attention"));

/** Sizes of Command R7B by transformers' Cohere2Config, whose layer_types follow from sliding_window_pattern. */
const cohere2: Config = {
  architectures: ["Cohere2ForCausalLM"], model_type: "cohere2", torch_dtype: "bfloat16", num_hidden_layers: 8, layer_types: windows(8, 4), hidden_size: 4096, num_attention_heads: 32,
  num_key_value_heads: 8, head_dim: 128, intermediate_size: 14_336, sliding_window: 4096, sliding_window_pattern: 4, max_position_embeddings: 132_096, vocab_size: 4096,
}; // prettier-ignore

const plain = { maxModelLen: 2048, batchedTokens: 2048 } as const;
const long = { maxModelLen: 8192, batchedTokens: 2048 } as const;

export const oracleCases: readonly OracleCase[] = [
  { kind: "full, as many key-value heads as query heads: Llama, OLMo 2", config: reduced("allenai__OLMo-2-1124-7B", 4), ...plain },
  { kind: "full, grouped queries: Llama 3.1 8B", config: reduced("meta-llama__Llama-3.1-8B-Instruct", 4), ...long },
  { kind: "full, one key-value head: Falcon 7B", config: reduced("tiiuae__falcon-7b", 4), ...plain },
  { kind: "latent: DeepSeek-V2-Lite", config: reduced("deepseek-ai__DeepSeek-V2-Lite", 4, { n_routed_experts: 8 }), ...long },
  { kind: "compressed keys kept expanded: MiniCPM 3", config: { ...miniCpm3, num_hidden_layers: 4 }, ...plain },
  { kind: "sliding in every layer: Mistral 7B 0.1", config: reduced("mistralai__Mistral-7B-v0.1", 4), ...long },
  { kind: "sliding and full, five to one: Gemma 3 27B", config: textOf("google__gemma-3-27b-it", "Gemma3ForCausalLM", 14), ...long },
  { kind: "sliding and full alternating: Gemma 2 9B", config: reduced("google__gemma-2-9b-it", 6), ...long },
  { kind: "sliding and full alternating: gpt-oss 20B", config: unpacked(reduced("openai__gpt-oss-20b", 6, { num_local_experts: 4 })), ...long },
  { kind: "chunked and full: Llama 4 Scout", config: textOf("meta-llama__Llama-4-Scout-17B-16E-Instruct", "Llama4ForCausalLM", 8, { num_local_experts: 2, attention_chunk_size: 2048 }), ...long },
  { kind: "Mamba 2 and full: Nemotron-H 56B", config: reduced("nvidia__Nemotron-H-56B-Base-8K", 12, { hybrid_override_pattern: "M-M-M-M*-M-M" }), ...plain },
  { kind: "Mamba 2 and full beside it: Falcon-H1 0.5B", config: { architectures: ["FalconH1ForCausalLM"], model_type: "falcon_h1", hidden_size: 1024, intermediate_size: 2048, num_hidden_layers: 4, num_attention_heads: 8, num_key_value_heads: 2, head_dim: 64, mamba_d_ssm: 1536, mamba_n_heads: 24, mamba_d_head: 64, mamba_d_state: 128, mamba_n_groups: 1, mamba_d_conv: 4, mamba_expand: 2, mamba_chunk_size: 128, vocab_size: 32784, max_position_embeddings: 16384, torch_dtype: "bfloat16" }, ...plain },
  { kind: "gated delta network and full: Qwen3-Next 80B", config: reduced("Qwen__Qwen3-Next-80B-A3B-Instruct", 8, { num_experts: 4, num_experts_per_tok: 2 }), ...plain },
  { kind: "sliding and full, three to one: Cohere 2", config: cohere2, ...long },
  { kind: "sliding and full with heads and values of their own: MiMo V2", config: unpacked(reduced("XiaomiMiMo__MiMo-V2-Flash", 8, { moe_layer_freq: [0, 0, 0, 0, 0, 0, 0, 0], n_routed_experts: 8, layernorm_epsilon: 1e-5, rope_theta: 5_000_000, hidden_act: "silu" })), ...long },
  { kind: "short convolution and full: LFM2", config: { architectures: ["Lfm2ForCausalLM"], model_type: "lfm2", hidden_size: 1024, num_hidden_layers: 6, num_attention_heads: 16, num_key_value_heads: 8, conv_L_cache: 3, conv_bias: false, conv_dim: 1024, block_dim: 1024, layer_types: ["conv", "conv", "full_attention", "conv", "conv", "full_attention"], intermediate_size: 6656, block_ff_dim: 6656, block_multiple_of: 256, block_auto_adjust_ff_dim: true, vocab_size: 65536, max_position_embeddings: 128000, torch_dtype: "bfloat16" }, ...plain },
  { kind: "latent, twice in each layer: LongCat Flash", config: { ...longCat, num_layers: 2, n_routed_experts: 8, moe_topk: 2, zero_expert_num: 4 }, ...plain },
  { kind: "Mamba 2 in each layer, full beside it in some: Zamba 2", config: zamba2, ...plain },
  { kind: "state alone: Mamba 130M", config: { architectures: ["MambaForCausalLM"], model_type: "mamba", hidden_size: 768, intermediate_size: 1536, num_hidden_layers: 4, state_size: 16, conv_kernel: 4, expand: 2, time_step_rank: 48, vocab_size: 50280, torch_dtype: "bfloat16" }, ...plain },
  { kind: "decoder with an encoder's output: Whisper", config: { ...recorded("openai__whisper-large-v3"), encoder_layers: 2, decoder_layers: 4, torch_dtype: "bfloat16" }, maxModelLen: 448, batchedTokens: 2048 },
  { kind: "encoder alone: MiniLM", config: bert, maxModelLen: 256, batchedTokens: 2048, extra: { runner: "pooling" } },
  { kind: "pooling over full attention: Qwen3 0.6B as an embedder", config: reduced("Qwen__Qwen3-0.6B", 4), ...plain, extra: { runner: "pooling" } },
]; // prettier-ignore
