/**
 * What the engine's profiling of an image encoder depends on, by its order of work (gpu_model_runner.py profile_run, models/qwen3_vl.py,
 * qwen2_5_vl.py, siglip.py, gemma4_mm.py): one batch of the largest images passes all layers, its inputs and outputs stay until the end.
 */
import type { ModelStatus } from "../../api/model.ts";
import { count, isJson, textConfig, type Json } from "./config.ts";

type Shape = NonNullable<ModelStatus["shape"]>;

/** Largest image of the Qwen processors in merged patches: 12,845,056 pixels of 28 × 28 each, 16,777,216 of 32 × 32 (size.longest_edge). */
const dynamicImageTokens = 16_384;

/** Nothing where there is no image encoder, or where its width is not known. */
export function visionOf(config: Json): Partial<Shape> {
  const thinker = isJson(config["thinker_config"]) ? config["thinker_config"] : config;
  const vision = thinker["vision_config"];
  if (!isJson(vision)) return {};
  const hidden = count(vision, ["embed_dim", "hidden_size", "width", "vt_hidden_size"]);
  if (hidden === undefined) return {};
  const [visionTokens, patches] = sizesOf(thinker, vision);
  const inner = count(vision, ["intermediate_size", "vt_intermediate_size"]) ?? 4 * hidden;
  const gated = vision["hidden_act"] === "silu" || count(vision, ["window_size"]) !== undefined;
  // Attention: queries, keys and values, the rotated copies of the first two in 32 bits, the result. Feed-forward: gate, up and their product, or one and its activation.
  const split = Math.max(8 * hidden, (gated ? 3 : 2) * inner);
  const patch = count(vision, ["patch_size"]) ?? 14;
  const input = (count(vision, ["temporal_patch_size"]) ?? 1) * 3 * patch ** 2;
  return {
    visionTokens,
    // The layer's input that its caller holds, the sum after attention, the norm and the layer's result.
    visionWidth: Math.ceil(patches * 4 * hidden),
    visionSplitWidth: Math.ceil(patches * split),
    visionInput: Math.ceil(patches * input),
    visionOutput: outputOf(config, vision),
  };
}

/** Tokens of the largest image and patches behind each of them. */
function sizesOf(config: Json, vision: Json): readonly [tokens: number, patches: number] {
  const merge = count(vision, ["spatial_merge_size"]) ?? count(config, ["spatial_merge_size"]);
  const side = count(vision, ["image_size"]);
  if (merge !== undefined && side === undefined) return [dynamicImageTokens, merge ** 2];
  const pooled = count(config, ["mm_tokens_per_image", "vision_soft_tokens_per_image"]);
  const kernel = count(vision, ["pooling_kernel_size"]);
  if (pooled !== undefined && kernel !== undefined) return [pooled, kernel ** 2];
  const patches =
    side === undefined ? 1024 : Math.min(65_536, Math.ceil(side / (count(vision, ["patch_size"]) ?? 14)) ** 2);
  if (pooled !== undefined) return [pooled, patches / pooled];
  const factor = merge ?? shrinkOf(config, vision);
  return [Math.ceil(patches / factor ** 2), factor ** 2];
}

/** Patches on a side that become one token: downsample_ratio of InternVL, pixel_shuffle_ratio of Llama 4, scale_factor of SmolVLM. */
function shrinkOf(config: Json, vision: Json): number {
  const ratio = config["downsample_ratio"] ?? vision["pixel_shuffle_ratio"];
  if (typeof ratio === "number" && ratio > 0 && ratio <= 1) return 1 / ratio;
  return count(config, ["scale_factor"]) ?? 1;
}

/** Numbers of one token's embedding; deepstack adds those of the layers that are read on the way (qwen3_vl.py). */
function outputOf(config: Json, vision: Json): number {
  const deepstack = vision["deepstack_visual_indexes"];
  const width = count(vision, ["out_hidden_size"]) ?? count(textConfig(config), ["hidden_size", "n_embd"]) ?? 0;
  return width * (1 + (Array.isArray(deepstack) ? deepstack.length : 0));
}
