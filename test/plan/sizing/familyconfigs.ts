/** Sizes of published models whose caches have rules of their own, as their config.json states them; some with fewer layers. */

type Config = Readonly<Record<string, unknown>>;

/** openbmb/MiniCPM3-4B. */
export const miniCpm3: Config = {
  architectures: ["MiniCPM3ForCausalLM"], model_type: "minicpm3", num_hidden_layers: 62, hidden_size: 2560, num_attention_heads: 40,
  num_key_value_heads: 40, q_lora_rank: 768, kv_lora_rank: 256, qk_nope_head_dim: 64, qk_rope_head_dim: 32, v_head_dim: 64,
  intermediate_size: 6400, vocab_size: 73_448, max_position_embeddings: 32_768, torch_dtype: "bfloat16", scale_emb: 12, dim_model_base: 256,
  scale_depth: 1.4, tie_word_embeddings: false,
}; // prettier-ignore

/** meituan-longcat/LongCat-Flash-Chat. */
export const longCat: Config = {
  architectures: ["LongcatFlashForCausalLM"], model_type: "longcat_flash", num_layers: 28, hidden_size: 6144, num_attention_heads: 64,
  q_lora_rank: 1536, kv_lora_rank: 512, qk_nope_head_dim: 128, qk_rope_head_dim: 64, v_head_dim: 128, ffn_hidden_size: 12_288,
  expert_ffn_hidden_size: 2048, n_routed_experts: 512, zero_expert_num: 256, zero_expert_type: "identity", moe_topk: 12, vocab_size: 131_072,
  max_position_embeddings: 131_072, torch_dtype: "bfloat16", rms_norm_eps: 1e-5, mla_scale_q_lora: true,
  mla_scale_kv_lora: true, attention_method: "MLA", attention_bias: false,
}; // prettier-ignore

const attends = {
  attention: { n_heads_in_group: 8, no_op: false, replace_with_linear: false },
  ffn: { ffn_mult: 5.25, no_op: false },
};
const skips = {
  attention: { n_heads_in_group: null, no_op: true, replace_with_linear: false },
  ffn: { ffn_mult: 2.6, no_op: false },
};

/** nvidia/Llama-3_3-Nemotron-Super-49B-v1, five of its 80 blocks. */
export const superNemotron: Config = {
  architectures: ["DeciLMForCausalLM"], model_type: "nemotron-nas", num_hidden_layers: 5, hidden_size: 8192, num_attention_heads: 64,
  num_key_value_heads: null, block_configs: [attends, attends, skips, skips, attends], vocab_size: 128_256, max_position_embeddings: 131_072,
  torch_dtype: "bfloat16",
}; // prettier-ignore

const sliding = "sliding_attention";

/** The shape of stepfun-ai/Step-3.5-Flash, with six layers and other numbers in its window layers. */
export const step35: Config = {
  architectures: ["Step3p5ForCausalLM"], model_type: "step3p5", num_hidden_layers: 6, hidden_size: 4096, num_attention_heads: 64,
  num_attention_groups: 8, head_dim: 128, sliding_window: 512, layer_types: ["full_attention", sliding, sliding, sliding, "full_attention", sliding],
  attention_other_setting: { attention_type: sliding, num_attention_heads: 96, num_attention_groups: 4, head_dim: 64 },
  vocab_size: 128_896, max_position_embeddings: 65_536, torch_dtype: "bfloat16",
}; // prettier-ignore

/** Zyphra/Zamba2-1.2B, six of its 38 layers. */
export const zamba2: Config = {
  architectures: ["Zamba2ForCausalLM"], model_type: "zamba2", num_hidden_layers: 6, layers_block_type: ["mamba", "mamba", "hybrid", "mamba", "mamba", "hybrid"],
  hybrid_layer_ids: [2, 5], hidden_size: 2048, attention_hidden_size: 4096, attention_head_dim: 128, num_attention_heads: 32, num_key_value_heads: 32,
  intermediate_size: 8192, mamba_d_state: 128, mamba_d_conv: 4, mamba_expand: 2, mamba_ngroups: 1, n_mamba_heads: 64, mamba_headdim: 64,
  num_mem_blocks: 1, vocab_size: 32_000, max_position_embeddings: 4096, torch_dtype: "bfloat16", use_shared_attention_adapter: true, adapter_rank: 128,
  use_mem_rope: true, chunk_size: 256, add_bias_linear: false,
}; // prettier-ignore
