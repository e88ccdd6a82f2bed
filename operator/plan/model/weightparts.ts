/**
 * Weights as the engine holds them, sorted by how the GPUs of one node share them. Rules of vLLM's layers
 * (model_executor/layers/linear.py, vocab_parallel_embedding.py, fused_moe/layer.py at 017e9f44): matrices are divided, vectors and
 * ReplicatedLinear (routers, latent down-projections) are held whole.
 */
import type { ModelStatus } from "../../api/model.ts";
import { count, textConfig } from "./config.ts";
import type { Json } from "./config.ts";
import type { Tensor } from "./safetensors.ts";
import { layersOf } from "./shape.ts";

export type WeightParts = NonNullable<ModelStatus["weights"]>;

const embedding =
  /(^|\.)(embed_tokens|word_embeddings|wte|embed_in|embed_out|tok_embeddings|lm_head|output_layer|embeddings?\.weight$|embed_tokens_per_layer)(\.|$)/;
const vision =
  /(^|\.)(visual|vision_tower|vision_model|vision_encoder|vision_embed_tokens|audio_tower|audio_encoder|audio_model|vision|mm_projector|multi_modal_projector|vision_language_adapter|mlp1|aligner|merger)\./;
const router = /(^|\.)(gate|router|shared_expert_gate|wg)\.(weight|bias|wg\.weight|e_score_correction_bias)$/;
const latentDown = /(q_a_proj|kv_a_proj_with_mqa|fused_qkv_a_proj|indexer\.)/;
const expert = /(^|\.)experts\./;
const plain = new Set(["F32", "F16", "BF16", "F64"]);

/** Buffers that are computed and not loaded, and what only speculative decoding would load (models/deepseek_v2.py, qwen3_next.py). */
function isLoaded(name: string, layers: number | undefined, tied: boolean): boolean {
  if (/rotary_emb\.inv_freq$|\.attn\.masked_bias$|\.attn\.bias$/.test(name)) return false;
  if (/^(mtp|model\.mtp|mtp_block)\./.test(name)) return false;
  if (tied && /(^|\.)lm_head\.weight$/.test(name)) return false;
  const layer = /(?:^|\.)layers\.(\d{1,6})\./.exec(name)?.[1];
  // Layers beyond the configured number are draft layers (num_nextn_predict_layers); encoders count their own.
  return (
    layer === undefined ||
    layers === undefined ||
    vision.test(name) ||
    /^(model\.)?encoder\./.test(name) ||
    !/^(model|language_model|transformer)\./.test(name) ||
    Number(layer) < layers
  );
}

/** Bytes in the engine: plain 32-bit matrices are cast to the 16 bits that the engine computes with (config/model.py _resolve_auto_dtype). */
function heldBytes(tensor: Tensor, isQuantized: boolean): number {
  const wide = tensor.dtype === "F32" || tensor.dtype === "F64";
  return wide && !isQuantized ? tensor.elements * 2 : tensor.bytes;
}

type Part = "embeddingBytes" | "linearBytes" | "dividedBytes" | "replicatedBytes" | "visionBytes";

function partOf(tensor: Tensor): Part {
  const { name, shape, dtype } = tensor;
  if (vision.test(name)) return "visionBytes";
  if (shape.length >= 2 && embedding.test(name)) return "embeddingBytes";
  if (router.test(name) || latentDown.test(name) || (shape.length < 2 && !expert.test(name))) return "replicatedBytes";
  return plain.has(dtype) && shape.length >= 2 ? "linearBytes" : "dividedBytes";
}

/** All tensors that the engine will hold, by part. */
export function weightPartsOf(tensors: readonly Tensor[], config: Json, isQuantized: boolean): WeightParts {
  const text = textConfig(config);
  const layers = layersOf(text);
  const drop = (text["tie_word_embeddings"] ?? config["tie_word_embeddings"]) === true && hasInput(tensors);
  const parts = {
    embeddingBytes: 0,
    linearBytes: 0,
    dividedBytes: 0,
    replicatedBytes: 0,
    visionBytes: 0,
    expertBytes: 0,
  };
  for (const tensor of tensors) {
    if (!isLoaded(tensor.name, layers, drop)) continue;
    const bytes = heldBytes(tensor, isQuantized);
    const part = partOf(tensor);
    parts[part] += bytes;
    if (expert.test(tensor.name) && part !== "visionBytes") parts.expertBytes += bytes;
  }
  return { ...parts, extraBytes: absorbedBytes(text, layers) };
}

const hasInput = (tensors: readonly Tensor[]): boolean =>
  tensors.some(({ name }) => /(^|\.)(embed_tokens|wte|word_embeddings|embed_in)\.weight$/.test(name));

/** Latent attention keeps W_UK and W_UV beside kv_b_proj, in 16 bits (layers/attention/mla_attention.py process_weights_after_loading). */
function absorbedBytes(text: Json, layers: number | undefined): number {
  const latent = count(text, ["kv_lora_rank"]);
  const heads = count(text, ["num_attention_heads"]);
  const [key, value] = [count(text, ["qk_nope_head_dim"]), count(text, ["v_head_dim"])];
  if (latent === undefined || heads === undefined || key === undefined || value === undefined) return 0;
  return (layers ?? 0) * heads * (key + value) * latent * 2;
}

/** Sum of the parts: bytes of the weights in the engine's memory over all GPUs, replicas counted once. */
export function loadedBytes(parts: WeightParts): number {
  return parts.embeddingBytes + parts.linearBytes + parts.dividedBytes + parts.replicatedBytes + parts.visionBytes;
}
