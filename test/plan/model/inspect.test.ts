import assert from "node:assert/strict";
import { test } from "node:test";
import { taskOf } from "../../../operator/plan/model/config.ts";
import { inspect, inspectedFiles } from "../../../operator/plan/model/inspect.ts";
import type { ModelFacts } from "../../../operator/plan/model/inspect.ts";
import { isProblem } from "../../../operator/plan/model/problem.ts";
import type { Tensor } from "../../../operator/plan/model/safetensors.ts";

const tensor = (name: string, dtype: string, ...shape: number[]): Tensor => {
  const elements = shape.reduce((all, next) => all * next, 1);
  const bits = { F32: 32, BF16: 16, F16: 16, I32: 32, U8: 8, F8_E4M3: 8, F8_E8M0: 8 }[dtype] ?? 8;
  return { name, dtype, shape, elements, bytes: (elements * bits) / 8 };
};

function factsOf(
  config: object,
  tensors: readonly Tensor[] = [],
  texts: Record<string, string> = {},
  paths: string[] = [],
): ModelFacts {
  const all = { "config.json": JSON.stringify(config), ...texts };
  const files = [...Object.keys(all), "model.safetensors", ...paths].map((path) => ({
    path,
    key: path,
    sizeBytes: 1,
    etag: "",
  }));
  const facts = inspect(
    { files, leftOut: [], sizeBytes: 1 },
    new Map(Object.entries(all)),
    new Map([["model.safetensors", tensors]]),
  );
  assert.ok(!isProblem(facts), JSON.stringify(facts));
  return facts;
}

/** Numbers of public models (config.json) → KV bytes per token at 16 bits. */
const models: readonly (readonly [string, object, number | undefined, number | undefined])[] = [
  [
    "Llama 3.1 8B",
    {
      architectures: ["LlamaForCausalLM"],
      num_hidden_layers: 32,
      hidden_size: 4096,
      num_attention_heads: 32,
      num_key_value_heads: 8,
      max_position_embeddings: 131072,
      rope_scaling: { rope_type: "llama3", factor: 8 },
    },
    131072,
    131072,
  ],
  [
    "Llama 3.1 70B",
    {
      architectures: ["LlamaForCausalLM"],
      num_hidden_layers: 80,
      hidden_size: 8192,
      num_attention_heads: 64,
      num_key_value_heads: 8,
      head_dim: 128,
      max_position_embeddings: 131072,
    },
    320 * 1024,
    131072,
  ],
  [
    "Qwen3 32B",
    {
      architectures: ["Qwen3ForCausalLM"],
      num_hidden_layers: 64,
      hidden_size: 5120,
      num_attention_heads: 64,
      num_key_value_heads: 8,
      head_dim: 128,
      max_position_embeddings: 40960,
    },
    256 * 1024,
    40960,
  ],
  [
    "DeepSeek V3",
    {
      architectures: ["DeepseekV3ForCausalLM"],
      num_hidden_layers: 61,
      hidden_size: 7168,
      num_attention_heads: 128,
      num_key_value_heads: 128,
      kv_lora_rank: 512,
      qk_rope_head_dim: 64,
      max_position_embeddings: 163840,
    },
    70272,
    163840,
  ],
  [
    "YaRN over 32k",
    {
      architectures: ["Qwen2ForCausalLM"],
      num_hidden_layers: 28,
      hidden_size: 3584,
      num_attention_heads: 28,
      num_key_value_heads: 4,
      max_position_embeddings: 32768,
      rope_scaling: { type: "yarn", factor: 4, original_max_position_embeddings: 32768 },
    },
    57344,
    131072,
  ],
  [
    "text part of a multimodal model",
    {
      architectures: ["Gemma3ForConditionalGeneration"],
      text_config: {
        num_hidden_layers: 62,
        hidden_size: 5376,
        num_attention_heads: 32,
        num_key_value_heads: 16,
        head_dim: 128,
        max_position_embeddings: 131072,
      },
    },
    62 * 16 * 128 * 4,
    131072,
  ],
  ["nothing known", { architectures: ["LlavaForConditionalGeneration"], text_config: {} }, undefined, undefined],
  [
    "a state-space model",
    {
      architectures: ["FalconH1ForCausalLM"],
      num_hidden_layers: 10,
      hidden_size: 64,
      num_attention_heads: 4,
      mamba_d_state: 16,
      max_position_embeddings: 1024,
    },
    undefined,
    1024,
  ],
  [
    "linear and full attention",
    {
      architectures: ["Qwen3NextForCausalLM"],
      num_hidden_layers: 4,
      hidden_size: 64,
      num_attention_heads: 4,
      num_key_value_heads: 2,
      head_dim: 16,
      linear_num_key_heads: 2,
      linear_key_head_dim: 8,
      linear_num_value_heads: 4,
      linear_value_head_dim: 8,
      linear_conv_kernel_dim: 4,
      layer_types: ["linear_attention", "linear_attention", "linear_attention", "full_attention"],
    },
    128,
    undefined,
  ],
  [
    "numbers that no field can carry",
    {
      architectures: ["LlamaForCausalLM"],
      num_hidden_layers: 2 ** 52,
      hidden_size: 64,
      num_attention_heads: 4,
      head_dim: 2 ** 40,
    },
    undefined,
    undefined,
  ],
];
test("KV bytes per token and context of known models; unknown stays absent", () => {
  for (const [name, config, kvBytes, context] of models) {
    const facts = factsOf(config);
    assert.deepEqual([facts.kvBytesPerToken, facts.contextLength], [kvBytes, context], name);
  }
});

test("heads that config.json does not tell are read off the projections", () => {
  const config = {
    architectures: ["LlamaForCausalLM"],
    num_hidden_layers: 1,
    hidden_size: 64,
    num_attention_heads: 4,
    num_key_value_heads: 2,
  };
  const facts = factsOf(config, [tensor("model.layers.0.self_attn.q_proj.weight", "BF16", 128, 64)]);
  assert.equal(facts.shape?.headSize, 32);
  assert.equal(facts.kvBytesPerToken, 1 * 2 * 32 * 4);
});

test("parameters are counted through the packing of quantized weights", () => {
  const base = { architectures: ["LlamaForCausalLM"] };
  const plain = factsOf(base, [tensor("a.weight", "BF16", 10, 10), tensor("b.bias", "F32", 3)]);
  assert.deepEqual(
    [plain.parameters, plain.dtype, plain.quantization, plain.weightBytes],
    [103, "BF16", undefined, 206],
  );
  const awq = factsOf({ ...base, quantization_config: { quant_method: "awq", bits: 4 } }, [
    tensor("q.qweight", "I32", 8, 4),
    tensor("q.qzeros", "I32", 8, 1),
    tensor("q.scales", "F16", 8, 4),
    tensor("norm.weight", "F16", 7),
  ]);
  assert.deepEqual([awq.parameters, awq.quantization], [8 * 4 * 8 + 7, "awq"]);
  const fp8 = factsOf({ ...base, quantization_config: { quant_method: "fp8" } }, [
    tensor("w.weight", "F8_E4M3", 16, 16),
    tensor("w.weight_scale_inv", "F32", 1, 1),
  ]);
  assert.deepEqual([fp8.parameters, fp8.dtype], [256, "F8_E4M3"]);
  const mxfp4 = factsOf({ ...base, quantization_config: { quant_method: "mxfp4" } }, [
    tensor("e.down_proj_blocks", "U8", 4, 16),
    tensor("e.down_proj_scales", "U8", 4, 1),
  ]);
  assert.equal(mxfp4.parameters, 128);
  const unknown = factsOf({ ...base, quantization_config: { quant_method: "novel" } }, [tensor("w", "U8", 4)]);
  assert.deepEqual([unknown.parameters, unknown.quantization], [undefined, "novel"]);
});

test("experts of DeepSeek V4 are two to a byte, the shared ones are not", () => {
  const config = { architectures: ["LlamaForCausalLM"], expert_dtype: "fp4", quantization_config: { quant_method: "fp8" } };
  const facts = factsOf(config, [
    tensor("layers.0.ffn.experts.0.w1.weight", "I8", 8, 4),
    tensor("layers.0.ffn.experts.0.w1.scale", "F8_E8M0", 8, 1),
    tensor("layers.0.ffn.shared_experts.w1.weight", "F8_E4M3", 8, 8),
  ]);
  assert.equal(facts.parameters, 8 * 4 * 2 + 64);
}); // prettier-ignore

test("ModelOpt's quantization counts where it stands: in a file of its own, or in config.json by its algorithm", () => {
  const quantizationOf = (config: object, separate?: object): string | undefined => {
    const texts = new Map([["config.json", JSON.stringify({ architectures: ["LlamaForCausalLM"], ...config })]]);
    if (separate) texts.set("hf_quant_config.json", JSON.stringify(separate));
    const facts = inspect({ files: [], leftOut: [], sizeBytes: 1 }, texts, new Map());
    return isProblem(facts) ? facts.message : facts.quantization;
  };
  const file = (quant_algo: string): object => ({ producer: { name: "modelopt", version: "0.29.0" }, quantization: { quant_algo } });
  assert.equal(quantizationOf({}, file("FP8")), "modelopt");
  assert.equal(quantizationOf({}, file("NVFP4")), "modelopt_fp4");
  assert.equal(quantizationOf({}, file("MIXED_PRECISION")), "modelopt_mixed");
  assert.equal(quantizationOf({ quantization_config: { quant_method: "modelopt", quant_algo: "NVFP4" } }), "modelopt_fp4");
  assert.equal(quantizationOf({ quantization_config: { quant_method: "fp8" } }, file("NVFP4")), "fp8");
  assert.equal(quantizationOf({}, { producer: {} }), undefined);
}); // prettier-ignore

test("what shares a scale is read by each method's own key", () => {
  const blockOf = (quantization_config: object): number | undefined =>
    factsOf({ architectures: ["LlamaForCausalLM"], quantization_config }, []).shape?.quantizationBlock;
  assert.equal(blockOf({ quant_method: "fp8", weight_block_size: [128, 128] }), 128);
  assert.equal(blockOf({ quant_method: "gptq", bits: 4, group_size: 64 }), 64);
  assert.equal(blockOf({ quant_method: "gptq", bits: 4, group_size: -1 }), undefined);
  assert.equal(blockOf({ quant_method: "awq", bits: 4, q_group_size: 128 }), 128);
  const group = { group_0: { weights: { num_bits: 4, group_size: 32 } } };
  assert.equal(blockOf({ quant_method: "compressed-tensors", config_groups: group }), 32);
  assert.equal(blockOf({ quant_method: "fp8" }), undefined);
});

test("what a model does follows its architecture and its pooling", () => {
  assert.equal(taskOf("LlamaForCausalLM", false), "Generate");
  assert.equal(taskOf("Qwen3ForCausalLM", true), "Embed");
  assert.equal(taskOf("BertModel", false), "Embed");
  assert.equal(taskOf("BertForSequenceClassification", false), "Classify");
  assert.equal(taskOf("Qwen2ForRewardModel", false), "Reward");
  assert.equal(taskOf("Gemma3ForConditionalGeneration", false), "Generate");
});

test("shards count by the index, and a sentence model's limit is the smaller one", () => {
  const config = { architectures: ["BertModel"], max_position_embeddings: 512 };
  const facts = factsOf(config, [tensor("w", "F32", 2)], { "sentence_bert_config.json": '{"max_seq_length":256}' });
  assert.deepEqual([facts.contextLength, facts.kvBytesPerToken], [256, 0]);
});

test("a configuration that names every expert of every layer is read", () => {
  const names = Array.from(
    { length: 61 * 384 * 3 },
    (_, n) => `model.layers.${String(n % 61)}.mlp.experts.${String(n)}`,
  );
  const layers = Object.fromEntries(names.map((name) => [name, { quant_algo: "NVFP4", group_size: 16 }]));
  const quantization = { quant_algo: "MIXED_PRECISION", quantized_layers: layers };
  const config = { architectures: ["LlamaForCausalLM"], num_hidden_layers: 1 };
  const separate = { "hf_quant_config.json": JSON.stringify({ quantization }) };
  assert.equal(factsOf(config, [], separate).quantization, "modelopt_mixed");
  const together = { ...config, quantization_config: { quant_method: "modelopt", ...quantization } };
  const sizeBytes = JSON.stringify(together).length;
  assert.ok(sizeBytes > 4 << 20 && sizeBytes <= (inspectedFiles["config.json"] ?? 0), String(sizeBytes));
  assert.equal(factsOf(together).quantization, "modelopt_mixed");
});
