/** Dimensions that sizing depends on. Unknown stays absent. */
import type { ModelStatus } from "../../api/model.ts";
import { count, isJson, textConfig } from "./config.ts";
import type { Json } from "./config.ts";
import { rotaryBytesOf } from "./rotary.ts";
import type { Tensor } from "./safetensors.ts";
import { visionOf } from "./vision.ts";

export type Shape = NonNullable<ModelStatus["shape"]>;

/** Rows of the first tensor with such a name: of a projection, heads times head size. */
function rowsOf(tensors: readonly Tensor[], name: RegExp): number | undefined {
  const tensor = tensors.find((t) => name.test(t.name) && t.shape.length === 2);
  // Packed or block-quantized matrices do not have their logical shape.
  return tensor && ["F32", "F16", "BF16"].includes(tensor.dtype) ? tensor.shape[0] : undefined;
}

/**
 * Query heads that share a key-value head in each block of Nemotron's searched architectures (nemotron_nas.py), undefined in those that do
 * not attend; undefined as a whole for other families.
 */
export function blocksOf(text: Json): readonly (number | undefined)[] | undefined {
  const blocks = text["block_configs"];
  if (!Array.isArray(blocks)) return undefined;
  return blocks.map((block: unknown) => {
    const attention = isJson(block) ? block["attention"] : undefined;
    if (!isJson(attention) || attention["no_op"] === true || attention["replace_with_linear"] === true)
      return undefined;
    return count(attention, ["n_heads_in_group"]);
  });
}

function keyValueHeadsOf(text: Json, heads: number | undefined): number | undefined {
  const sharing = blocksOf(text)?.find((block) => block !== undefined);
  if (heads !== undefined && sharing !== undefined) return heads % sharing === 0 ? heads / sharing : undefined;
  // Falcon names its query heads here too: without its newer architecture multi_query means one (model_arch_config_convertor.py).
  if (text["multi_query"] === true && text["new_decoder_architecture"] !== true) return 1;
  // MPT and DBRX nest it.
  const attention = isJson(text["attn_config"]) ? count(text["attn_config"], ["kv_n_heads"]) : undefined;
  const keys = ["n_head_kv", "num_kv_heads", "num_key_value_heads", "num_attention_groups"];
  // ChatGLM: only where it says so.
  if (text["multi_query_attention"] !== false) keys.push("multi_query_group_num");
  return count(text, keys) ?? attention ?? heads;
}

/** Head size by config.json, else by the projections themselves, else hidden size over heads where both agree. */
function headSizeOf(
  text: Json,
  heads: number | undefined,
  hidden: number | undefined,
  rows: number | undefined,
): number | undefined {
  const named = count(text, ["head_dim", "kv_channels", "attention_head_dim"]);
  if (named !== undefined) return named;
  if (heads === undefined) return undefined;
  if (rows !== undefined && rows % heads === 0) return rows / heads;
  return hidden !== undefined && hidden % heads === 0 ? hidden / heads : undefined;
}

/** An encoder-decoder's own key: there num_hidden_layers counts the encoder's layers (WhisperConfig.attribute_map). */
const decoder = (text: Json, key: string): string[] => (text["is_encoder_decoder"] === true ? [key] : []);

/** Layers of the language model; of an encoder-decoder those of the decoder. */
export const layersOf = (text: Json): number | undefined =>
  count(text, [...decoder(text, "decoder_layers"), "num_hidden_layers", "n_layers", "n_layer", "num_layers"]);

/** Dimensions by config.json, cross-checked with the shapes of the query projections where they are plain matrices. */
export function shapeOf(config: Json, tensors: readonly Tensor[]): Shape {
  const text = textConfig(config);
  const layers = layersOf(text);
  const hiddenSize = count(text, ["hidden_size", "d_model", "n_embd", "n_embed"]);
  const attentionHeads = count(text, [
    ...decoder(text, "decoder_attention_heads"),
    "num_attention_heads",
    "n_heads",
    "n_head",
  ]);
  const rows = rowsOf(tensors, /(^|\.)(q_proj|query)\.weight$/);
  const headSize = headSizeOf(text, attentionHeads, hiddenSize, rows);
  const shape = {
    layers,
    hiddenSize,
    attentionHeads,
    keyValueHeads: keyValueHeadsOf(text, attentionHeads),
    headSize,
    vocabularySize: count(text, ["vocab_size", "padded_vocab_size"]) ?? rowsOf(tensors, /embed_tokens\.weight$/),
    intermediateSize: count(text, [
      ...decoder(text, "decoder_ffn_dim"),
      "intermediate_size",
      "ffn_hidden_size",
      "n_inner",
      "ffn_dim",
      "ffn_hidden_dim",
    ]),
    ...expertsOf(text),
    quantizationBlock: quantizationBlockOf(config),
    rotaryBytes: rotaryBytesOf(config, headSize),
    ...visionOf(config),
  };
  return Object.fromEntries(Object.entries(shape).filter(([, value]) => value !== undefined));
}

function expertsOf(text: Json): Partial<Shape> {
  const experts = count(text, ["n_routed_experts", "num_local_experts", "num_experts", "moe_num_experts"]);
  if (experts === undefined || experts < 2) return {};
  return {
    experts,
    expertsPerToken: count(text, [
      "num_experts_per_tok",
      "num_experts_per_token",
      "moe_topk",
      "moe_k",
      "experts_per_token",
      "top_k_experts",
    ]),
    expertSize: count(text, ["moe_intermediate_size", "expert_ffn_hidden_size", "intermediate_size"]),
  };
}

/**
 * Inputs and rows that share a scale, of which a GPU's share of a matrix must hold whole ones: weight_block_size [rows, columns] of fp8
 * (quantization/utils/fp8_utils.py validate_fp8_block_shape), group_size of gptq and awq (auto_gptq.py, auto_awq.py create_weights: "not
 * aligned with the quantized weight shape"), the groups of compressed-tensors.
 */
function quantizationBlockOf(config: Json): number | undefined {
  const quantization = config["quantization_config"] ?? textConfig(config)["quantization_config"];
  if (!isJson(quantization)) return undefined;
  const block = quantization["weight_block_size"];
  if (Array.isArray(block)) return count({ rows: block[0] }, ["rows"]);
  const groups = quantization["config_groups"];
  const first = isJson(groups) ? Object.values(groups).find(isJson) : undefined;
  const weights = isJson(first?.["weights"]) ? first["weights"] : {};
  return count(quantization, ["group_size", "q_group_size"]) ?? count(weights, ["group_size"]);
}
