/** Dimensions that sizing depends on, and the KV cache that they cost. Unknown stays absent. */
import type { ModelStatus } from "../../api/model.ts";
import { count, textConfig } from "./config.ts";
import type { Json, Task } from "./config.ts";
import type { Tensor } from "./safetensors.ts";

export type Shape = NonNullable<ModelStatus["shape"]>;

/** Rows of the first tensor with such a name: of a projection, heads times head size. */
function rowsOf(tensors: readonly Tensor[], name: RegExp): number | undefined {
  const tensor = tensors.find((t) => name.test(t.name) && t.shape.length === 2);
  // Packed or block-quantized matrices do not have their logical shape.
  return tensor && ["F32", "F16", "BF16"].includes(tensor.dtype) ? tensor.shape[0] : undefined;
}

function keyValueHeadsOf(text: Json, heads: number | undefined): number | undefined {
  const named = count(text, ["num_key_value_heads", "multi_query_group_num", "num_kv_heads", "n_head_kv"]);
  if (named !== undefined) return named;
  return text["multi_query"] === true ? 1 : heads;
}

/** Head size by config.json, else by the projections themselves, else hidden size over heads where both agree. */
function headSizeOf(
  text: Json,
  heads: number | undefined,
  hidden: number | undefined,
  rows: number | undefined,
): number | undefined {
  const named = count(text, ["head_dim", "kv_channels"]);
  if (named !== undefined) return named;
  if (heads === undefined) return undefined;
  if (rows !== undefined && rows % heads === 0) return rows / heads;
  return hidden !== undefined && hidden % heads === 0 ? hidden / heads : undefined;
}

/** Dimensions by config.json, cross-checked with the shapes of the query projections where they are plain matrices. */
export function shapeOf(config: Json, tensors: readonly Tensor[]): Shape {
  const text = textConfig(config);
  const layers = count(text, ["num_hidden_layers", "n_layers", "n_layer", "num_layers"]);
  const hiddenSize = count(text, ["hidden_size", "d_model", "n_embd"]);
  const attentionHeads = count(text, ["num_attention_heads", "n_heads", "n_head"]);
  const rows = rowsOf(tensors, /(^|\.)(q_proj|query)\.weight$/);
  const shape = {
    layers,
    hiddenSize,
    attentionHeads,
    keyValueHeads: keyValueHeadsOf(text, attentionHeads),
    headSize: headSizeOf(text, attentionHeads, hiddenSize, rows),
    vocabularySize: count(text, ["vocab_size", "padded_vocab_size"]) ?? rowsOf(tensors, /embed_tokens\.weight$/),
  };
  return Object.fromEntries(Object.entries(shape).filter(([, value]) => value !== undefined));
}

/** Encoders attend over the whole text at once and keep no cache. */
const encoderOnly =
  /^(Bert|Roberta|XLMRoberta|ModernBert|NomicBert|GteModel|GteNew|BgeM3|HF_ColBERT|ColBERTModernBert|ColBERTJinaRoberta)/;
/** Layers with a state of constant size, or families whose cache has another form: their cost is not this product. */
const otherStates = [
  "ssm_cfg",
  "mamba_d_state",
  "ssm_state_size",
  "state_size",
  "linear_num_key_heads",
  "attn_type_list",
  "hybrid_override_pattern",
  "index_topk",
  "cross_attention_layers",
];

/** Layers that keep a cache that grows with each token; undefined where the configuration leaves it open. */
function cachingLayers(text: Json, layers: number | undefined): number | undefined {
  const types = text["layer_types"];
  if (Array.isArray(types))
    return types.filter((type) => typeof type === "string" && /attention$/.test(type) && !/linear/.test(type)).length;
  return otherStates.some((key) => key in text) ? undefined : layers;
}

/**
 * Bytes of KV cache per token over all layers at 16 bits: layers × KV heads × head size × 2 (keys and values) × 2 bytes;
 * multi-head latent attention keeps one latent vector per layer instead (kv_lora_rank + qk_rope_head_dim numbers).
 * Layers with a sliding window are counted in full: an upper bound beyond the window.
 */
export function kvBytesPerTokenOf(architecture: string, task: Task, config: Json, shape: Shape): number | undefined {
  if (encoderOnly.test(architecture)) return 0;
  if (task === "Unknown") return undefined;
  const text = textConfig(config);
  const layers = cachingLayers(text, shape.layers);
  if (layers === undefined) return undefined;
  const latent = count(text, ["kv_lora_rank"]);
  if (latent !== undefined) {
    const rope = count(text, ["qk_rope_head_dim"]);
    return rope === undefined ? undefined : layers * (latent + rope) * 2;
  }
  const { keyValueHeads, headSize } = shape;
  return keyValueHeads === undefined || headSize === undefined ? undefined : layers * keyValueHeads * headSize * 2 * 2;
}
