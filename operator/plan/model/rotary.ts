/**
 * The table of rotary positions: cosine and sine of every position that the configuration allows, in the engine's 16 bits. It stands in
 * no checkpoint and is held whole by every GPU, whatever context is served (vllm/model_executor/layers/rotary_embedding/__init__.py
 * get_rope and the class of each type, read at 017e9f44; layers with equal arguments share one table).
 */
import { count, isJson, modelTypeOf, textConfig, type Json } from "./config.ts";

/** Families whose positions are learnt, relative to the distance, or none (their model files never call get_rope). */
const without =
  /^(gpt2|gpt_bigcode|opt|bloom|mpt|t5|bert|roberta|xlm-roberta|whisper|mamba|mamba2|falcon_mamba|nemotron_h|jamba|kimi_linear)$/;
/** mrope.py: three axes of positions; the table is four times as long, since a video may have that many. */
const threeAxes = /^(qwen2_vl|qwen2_5_vl|qwen3_vl|qwen3_5|qwen2_5_omni|qwen3_omni|glm4v)/;
/** Qwen3NextConfig, Qwen3_5TextConfig: a quarter of the head is rotated where the file does not say. */
const quarter = /^qwen3_(next|5)/;

/** No model has more positions times numbers than these; a hostile configuration may. */
const MOST_BYTES = 2 ** 36;

/** Tables of a model: one, or one for each kind of layer where the kinds differ (Gemma 3, Gemma 4). */
function tablesOf(text: Json): readonly { readonly kind: string; readonly rope: Json }[] {
  const rope = text["rope_parameters"] ?? text["rope_scaling"];
  const named = isJson(rope) ? rope : {};
  const nested = Object.entries(named).filter((entry): entry is [string, Json] => isJson(entry[1]));
  const byKind = new Map(nested.map(([kind, one]) => [JSON.stringify(one), { kind, rope: one }]));
  if (byKind.size > 0) return [...byKind.values()];
  const own = { kind: "", rope: named };
  // Gemma3TextConfig before transformers 5: layers with a window have a base of their own and are not stretched.
  const hasLocal = "rope_local_base_freq" in text || modelTypeOf(text).startsWith("gemma3");
  return hasLocal ? [own, { kind: "sliding_attention", rope: {} }] : [own];
}

/** Positions of one table. */
function positionsOf(text: Json, rope: Json): number | undefined {
  const most = count(text, ["max_position_embeddings", "n_positions", "max_seq_len", "seq_length"]);
  if (most === undefined) return undefined;
  const type = rope["rope_type"] ?? rope["type"] ?? "default";
  const factor = typeof rope["factor"] === "number" && rope["factor"] >= 1 ? rope["factor"] : 1;
  const original = count("original_max_position_embeddings" in rope ? rope : text, [
    "original_max_position_embeddings",
  ]);
  const axes = "mrope_section" in rope || threeAxes.test(modelTypeOf(text)) ? 4 : 1;
  if (type === "yarn" || type === "deepseek_yarn") return axes * (original ?? most) * factor;
  if (type === "linear" || type === "dynamic") return most * factor;
  if (type === "longrope" || type === "su") return most + (original ?? 0);
  return axes * most;
}

/** Numbers of one position: the rotated part of a head. */
function rotatedOf(text: Json, rope: Json, headSize: number): number {
  const named = count(text, ["qk_rope_head_dim", "rotary_dim"]) ?? count(rope, ["rope_dim"]);
  if (named !== undefined) return named;
  const share = rope["partial_rotary_factor"] ?? text["partial_rotary_factor"] ?? text["rotary_pct"];
  const own = quarter.test(modelTypeOf(text)) ? 0.25 : 1;
  return headSize * (typeof share === "number" && share > 0 && share <= 1 ? share : own);
}

/** Bytes on each GPU; undefined where positions or the head's size are not known, or no layer rotates. */
export function rotaryBytesOf(config: Json, headSize: number | undefined): number | undefined {
  const text = textConfig(config);
  if (headSize === undefined || without.test(modelTypeOf(text)) || text["alibi"] === true) return undefined;
  let bytes = 0;
  for (const { kind, rope } of tablesOf(text)) {
    const positions = positionsOf(text, rope);
    if (positions === undefined) return undefined;
    const size = kind === "full_attention" ? (count(text, ["global_head_dim"]) ?? headSize) : headSize;
    bytes += Math.ceil(positions * rotatedOf(text, rope, size) * 2);
  }
  return bytes <= MOST_BYTES ? bytes : undefined;
}
