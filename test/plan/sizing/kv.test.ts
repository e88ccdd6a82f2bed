// The KV cache of each attention kind, by numbers that papers, model cards, vLLM's documentation and its start-up logs state.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { cacheOf } from "../../../operator/plan/model/cache.ts";
import { shapeOf } from "../../../operator/plan/model/shape.ts";
import { cachePlan, cacheSize, kvBytesPerToken, longestSequence } from "../../../operator/plan/sizing/kv.ts";
import type { CacheLayers, CacheOptions } from "../../../operator/plan/sizing/kv.ts";
import { releaseOf } from "../../../operator/plan/sizing/release.ts";

const KiB = 1024;
const base: CacheOptions = { tensorParallel: 1, elementBytes: 2, batchedTokens: 2048, release: releaseOf("0.11.0") };

function cache(architecture: string, config: object): readonly CacheLayers[] | undefined {
  return cacheOf(
    architecture,
    "Generate",
    config as Record<string, unknown>,
    shapeOf(config as Record<string, unknown>, []),
  );
}

/** Layers, width, heads, key-value heads and head size. */
const plain = (layers: number, heads: number, kv: number, size: number): object => ({
  num_hidden_layers: layers, num_attention_heads: heads, num_key_value_heads: kv, head_dim: size, hidden_size: heads * size,
}); // prettier-ignore

describe("bytes per token over all layers at 16 bits", () => {
  const rows: readonly (readonly [string, string, object, number])[] = [
    // vLLM issue threads and NVIDIA's inference guide give 128 KiB, 320 KiB, 160 KiB and 256 KiB.
    ["Llama 3.1 8B", "LlamaForCausalLM", plain(32, 32, 8, 128), 128 * KiB],
    ["Llama 3.3 70B", "LlamaForCausalLM", plain(80, 64, 8, 128), 320 * KiB],
    ["Mistral Small 24B", "MistralForCausalLM", plain(40, 32, 8, 128), 160 * KiB],
    ["Qwen3 32B", "Qwen3ForCausalLM", { ...plain(64, 64, 8, 128), hidden_size: 5120 }, 256 * KiB],
    // DeepSeek-V3 report (arXiv 2412.19437) and 2505.09343 table 1: 70.272 KB per token.
    ["DeepSeek V3", "DeepseekV3ForCausalLM", { ...plain(61, 128, 128, 56), kv_lora_rank: 512, qk_rope_head_dim: 64 }, 70_272],
    // The same table 1: Qwen2.5 72B 327.680 KB, Llama 3.1 405B 516.096 KB.
    ["Qwen2.5 72B", "Qwen2ForCausalLM", plain(80, 64, 8, 128), 327_680],
    ["Llama 3.1 405B", "LlamaForCausalLM", plain(126, 128, 8, 128), 516_096],
    ["Falcon 7B, one head", "FalconForCausalLM", { num_hidden_layers: 32, num_attention_heads: 71, hidden_size: 4544, multi_query: true }, 32 * 64 * 4],
  ]; // prettier-ignore
  for (const [name, architecture, config, bytes] of rows) {
    test(name, () => assert.equal(kvBytesPerToken(cache(architecture, config) ?? []), bytes));
  }

  test("an encoder keeps nothing", () => assert.deepEqual(cache("BertModel", plain(12, 12, 12, 64)), []));
});

describe("an encoder-decoder", () => {
  test("keeps its own text and the encoder's output: two groups, whose blocks one request needs together", () => {
    // openai/whisper-large-v3: 32 decoder layers, 20 heads of 64, 1,500 positions of sound.
    const whisper = { model_type: "whisper", is_encoder_decoder: true, d_model: 1280, encoder_layers: 32, decoder_layers: 32, decoder_attention_heads: 20, max_source_positions: 1500 }; // prettier-ignore
    const runs = cache("WhisperForConditionalGeneration", whisper) ?? [];
    assert.deepEqual(
      runs.map((run) => [run.kind, run.layers]),
      [
        ["Full", 32],
        ["Cross", 32],
      ],
    );
    assert.equal(kvBytesPerToken(runs), 32 * 20 * 64 * 2 * 2);
    const plan = cachePlan(runs, { ...base, batchedTokens: 448 });
    assert.equal(plan?.blockBytes, 32 * 20 * 64 * 2 * 2 * 16);
    assert.equal(plan.blocksFor(448), 448 / 16 + Math.ceil(1500 / 16));
    assert.equal(cachePlan(runs, base)?.blocksFor(448), 448 / 16 + 2048 / 16, "the engine counts its whole batch");
  });

  test("without the length of the encoder's output is unknown", () => {
    assert.equal(
      cache("WhisperForConditionalGeneration", { is_encoder_decoder: true, ...plain(4, 4, 4, 64) }),
      undefined,
    );
  });
});

describe("keys of older and nested configurations", () => {
  const shapes: readonly (readonly [string, object, object])[] = [
    // Sources: each model's config.json on its hub page.
    ["GPT-2 124M", { n_layer: 12, n_embd: 768, n_head: 12 }, { layers: 12, keyValueHeads: 12, headSize: 64 }],
    ["GPT-J 6B", { n_layer: 28, n_embd: 4096, n_head: 16 }, { layers: 28, keyValueHeads: 16, headSize: 256 }],
    ["MPT 7B", { n_layers: 32, d_model: 4096, n_heads: 32 }, { layers: 32, keyValueHeads: 32, headSize: 128 }],
    ["BLOOM 7B", { n_layer: 30, n_embed: 4096, num_attention_heads: 32 }, { layers: 30, keyValueHeads: 32, headSize: 128 }],
    ["OPT 6.7B", { num_hidden_layers: 32, hidden_size: 4096, num_attention_heads: 32 }, { layers: 32, keyValueHeads: 32, headSize: 128 }],
    ["ChatGLM3 6B", { num_layers: 28, hidden_size: 4096, num_attention_heads: 32, kv_channels: 128, multi_query_attention: true, multi_query_group_num: 2 }, { layers: 28, keyValueHeads: 2, headSize: 128 }],
    ["DBRX", { n_layers: 40, d_model: 6144, n_heads: 48, attn_config: { kv_n_heads: 8 } }, { layers: 40, keyValueHeads: 8, headSize: 128 }],
    ["Falcon 7B, which names 71 heads", { num_hidden_layers: 32, hidden_size: 4544, num_attention_heads: 71, num_kv_heads: 71, multi_query: true, new_decoder_architecture: false }, { layers: 32, keyValueHeads: 1, headSize: 64 }],
    ["Falcon 40B, whose newer layers ignore multi_query", { num_hidden_layers: 60, hidden_size: 8192, num_attention_heads: 128, num_kv_heads: 8, multi_query: true, new_decoder_architecture: true }, { layers: 60, keyValueHeads: 8, headSize: 64 }],
    ["Gemma 3 4B, which leaves out what its class has", { text_config: { model_type: "gemma3_text", num_hidden_layers: 34, hidden_size: 2560 } }, { layers: 34, keyValueHeads: 4, headSize: 256 }],
    ["LLaVA 1.5 7B, whose text part names its length alone", { text_config: { model_type: "llama", max_position_embeddings: 4096 } }, { layers: 32, keyValueHeads: 32, headSize: 128 }],
  ]; // prettier-ignore
  for (const [name, config, { ...wanted }] of shapes) {
    test(name, () => {
      const { layers, keyValueHeads, headSize } = shapeOf(config as Record<string, unknown>, []);
      assert.deepEqual({ layers, keyValueHeads, headSize }, wanted);
    });
  }
});

describe("layers by family", () => {
  const counts = (runs: readonly CacheLayers[] | undefined): object =>
    Object.fromEntries((runs ?? []).map(({ kind, layers }) => [kind, layers]));
  const gdn = { linear_num_key_heads: 16, linear_num_value_heads: 32, linear_key_head_dim: 128, linear_value_head_dim: 128, linear_conv_kernel_dim: 4 }; // prettier-ignore
  const rows: readonly (readonly [string, string, object, object | undefined])[] = [
    ["Gemma 3 27B: five local layers to one global", "Gemma3ForCausalLM", { model_type: "gemma3_text", ...plain(62, 32, 16, 128), sliding_window: 1024 }, { Full: 10, Sliding: 52 }],
    ["Gemma 2 9B: alternating", "Gemma2ForCausalLM", { model_type: "gemma2", ...plain(42, 16, 8, 256) }, { Full: 21, Sliding: 21 }],
    ["gpt-oss 20B: alternating", "GptOssForCausalLM", { model_type: "gpt_oss", ...plain(24, 64, 8, 64), sliding_window: 128 }, { Full: 12, Sliding: 12 }],
    ["Cohere 2: three to one", "Cohere2ForCausalLM", { model_type: "cohere2", ...plain(32, 32, 8, 128), sliding_window: 4096 }, { Full: 8, Sliding: 24 }],
    ["Mistral 7B 0.1: all local", "MistralForCausalLM", { model_type: "mistral", ...plain(32, 32, 8, 128), sliding_window: 4096 }, { Sliding: 32 }],
    ["Mistral 7B 0.3: none", "MistralForCausalLM", { model_type: "mistral", ...plain(32, 32, 8, 128), sliding_window: null }, { Full: 32 }],
    ["Qwen2.5 with its window off", "Qwen2ForCausalLM", { model_type: "qwen2", ...plain(28, 28, 4, 128), sliding_window: 131072, use_sliding_window: false, max_window_layers: 28 }, { Full: 28 }],
    ["Llama 4 Scout: three chunked to one", "Llama4ForCausalLM", { model_type: "llama4_text", ...plain(48, 40, 8, 128), attention_chunk_size: 8192 }, { Chunked: 36, Full: 12 }],
    ["Qwen3-Next 80B: three linear to one", "Qwen3NextForCausalLM", { model_type: "qwen3_next", ...plain(48, 16, 2, 256), ...gdn }, { Full: 12, State: 36 }],
    ["Jamba: one attention layer in eight", "JambaForCausalLM", { model_type: "jamba", ...plain(32, 32, 8, 128), attn_layer_period: 8, attn_layer_offset: 4, mamba_expand: 2, mamba_d_conv: 4, mamba_d_state: 16 }, { Full: 4, State: 28 }],
    ["Bamba 9B", "BambaForCausalLM", { model_type: "bamba", ...plain(32, 32, 8, 128), attn_layer_indices: [9, 18, 27], mamba_expand: 2, mamba_n_heads: 128, mamba_d_head: 64, mamba_d_state: 128, mamba_d_conv: 4, mamba_n_groups: 1 }, { Full: 3, State: 29 }],
    ["Falcon-H1: both in each layer", "FalconH1ForCausalLM", { model_type: "falcon_h1", ...plain(44, 12, 2, 128), mamba_d_ssm: 3072, mamba_n_heads: 24, mamba_d_head: 128, mamba_d_state: 256, mamba_d_conv: 4, mamba_n_groups: 2 }, { Full: 44, State: 44 }],
    ["Nemotron-H 8B", "NemotronHForCausalLM", { model_type: "nemotron_h", ...plain(52, 32, 8, 128), hybrid_override_pattern: "M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M-", mamba_num_heads: 128, mamba_head_dim: 64, ssm_state_size: 128, conv_kernel: 4, n_groups: 8 }, { Full: 4, State: 24 }],
    ["MiniMax-Text-01: seven linear to one", "MiniMaxText01ForCausalLM", { model_type: "minimax_text_01", ...plain(80, 64, 8, 128), attn_type_list: Array.from({ length: 80 }, (_, i) => (i % 8 === 7 ? 1 : 0)) }, { Full: 10, State: 70 }],
    ["Gemma 3n E4B: the last 15 layers read others' caches", "Gemma3nForCausalLM", { model_type: "gemma3n_text", ...plain(35, 8, 2, 256), sliding_window: 512, num_kv_shared_layers: 15 }, { Full: 4, Sliding: 16 }],
    ["Mamba: states only", "MambaForCausalLM", { model_type: "mamba", num_hidden_layers: 64, hidden_size: 2560, intermediate_size: 5120, state_size: 16, conv_kernel: 4 }, { State: 64 }],
    ["a mixture that is not known", "LlamaForCausalLM", { ...plain(4, 4, 4, 64), layer_types: ["full_attention", "what", "is", "this"] }, {}],
  ]; // prettier-ignore
  for (const [name, architecture, config, expected] of rows) {
    test(name, () => assert.deepEqual(counts(cache(architecture, config)), expected));
  }
});

describe("blocks", () => {
  const llama: readonly CacheLayers[] = [{ kind: "Full", layers: 32, heads: 8, keySize: 128, valueSize: 128 }];
  const window: readonly CacheLayers[] = [
    { kind: "Full", layers: 12, heads: 8, keySize: 64, valueSize: 64 },
    { kind: "Sliding", layers: 12, heads: 8, keySize: 64, valueSize: 64, window: 128 },
  ];

  test("a full cache is cut into blocks of 16 tokens", () => {
    const plan = cachePlan(llama, base);
    assert.ok(plan);
    assert.equal(plan.blockBytes, 16 * 128 * KiB);
    assert.equal(cacheSize(plan, 2 ** 30, 8192, base.release).reportedTokens, 8192);
    assert.equal(longestSequence(plan, 2 ** 30 - 1, 131_072), 8176);
  });

  test("heads are repeated where the GPUs outnumber them", () => {
    const bytes = (tensorParallel: number): number | undefined =>
      cachePlan(llama, { ...base, tensorParallel })?.blockBytes;
    assert.equal(bytes(8), 16 * 16 * KiB);
    assert.equal(bytes(16), bytes(8));
  });

  test("a latent vector is not divided, an fp8 cache has half the bytes", () => {
    const latent: readonly CacheLayers[] = [{ kind: "Latent", layers: 61, keySize: 576 }];
    assert.equal(cachePlan(latent, { ...base, tensorParallel: 8 })?.blockBytes, 16 * 70_272);
    assert.equal(cachePlan(llama, { ...base, elementBytes: 1 })?.blockBytes, 16 * 64 * KiB);
  });

  test("two kinds of equal number make two groups that draw from one pool", () => {
    const plan = cachePlan(window, base);
    assert.equal(plan?.groups.length, 2);
    assert.equal(plan.blockBytes, 12 * 16 * 2 * KiB);
    // 131072 / 16 blocks of the full group; (127 + 2048) / 16 rounded up and one more of the other.
    assert.equal(plan.blocksFor(131_072), 8192 + 137);
  });

  test("before 0.9.2 windows cost every token; since 0.26 two steps are in flight", () => {
    assert.equal(cachePlan(window, { ...base, release: releaseOf("0.8.5") })?.groups.length, 1);
    assert.equal(cachePlan(window, { ...base, release: releaseOf("0.27.0") })?.blocksFor(131_072), 8192 + 265);
  });

  test("Gemma 3 27B: ten layers a group, the last padded", () => {
    const gemma = cache("Gemma3ForCausalLM", {
      model_type: "gemma3_text",
      ...plain(62, 32, 16, 128),
      sliding_window: 1024,
    });
    const plan = cachePlan(gemma ?? [], base);
    assert.equal(plan?.groups.length, 7);
    assert.equal(plan.blockBytes, 10 * 16 * 16 * 256 * 2);
  });

  test("attention blocks grow until a page holds a state", () => {
    // Start-up logs of Qwen3-Next 80B print: Setting attention block size to 544 tokens.
    const next = cache("Qwen3NextForCausalLM", {
      model_type: "qwen3_next", ...plain(48, 16, 2, 256), linear_num_key_heads: 16, linear_num_value_heads: 32,
      linear_key_head_dim: 128, linear_value_head_dim: 128, linear_conv_kernel_dim: 4,
    }); // prettier-ignore
    const plan = cachePlan(next ?? [], base);
    assert.equal(plan?.groups[0]?.blockTokens, 544);
    assert.equal(plan.groups.length, 4);
  });

  test("a state costs a sequence the same at every length", () => {
    const mamba: readonly CacheLayers[] = [
      { kind: "State", layers: 64, convolution: 15_360, groups: 0, groupSize: 0, recurrent: 81_920, recurrentBytes: 2 },
    ];
    const plan = cachePlan(mamba, base);
    assert.equal(plan?.blocksFor(10), plan?.blocksFor(1_000_000));
  });
});
