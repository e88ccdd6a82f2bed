/**
 * Which layers of a model keep what, by config.json. Each family's rule is that of vLLM's model file, named beside it
 * (vllm/model_executor/models/, read at 017e9f4448b700e85ee16023287b025693c72b9e) or of transformers' configuration class.
 * Unknown stays undefined: nothing is guessed.
 */
import { count, isJson, modelTypeOf, textConfig } from "./config.ts";
import type { Json, Task } from "./config.ts";
import { stateLayers } from "./cachestate.ts";
import { blocksOf, type Shape } from "./shape.ts";
import type { CacheLayers } from "../sizing/kv.ts";

/** Encoders attend over the whole text at once and keep no cache (models/bert.py, roberta.py: EncoderOnlyAttention). */
const encoderOnly =
  /^(Bert|Roberta|XLMRoberta|ModernBert|NomicBert|GteModel|GteNew|BgeM3|HF_ColBERT|ColBERTModernBert|ColBERTJinaRoberta|DistilBert|Electra|JinaVLForRanking)/;

/** What one attention layer keeps, by its place. */
export type LayerKind = "full" | "sliding" | "chunked" | "state" | "none";

const words: Readonly<Record<string, LayerKind>> = {
  full_attention: "full", attention: "full", global: "full", full: "full", hybrid: "full", minimax_m1: "full",
  global_attention: "full", sliding_attention: "sliding", local_attention: "sliding", sliding: "sliding", local: "sliding",
  swa: "sliding", sliding_window_attention: "sliding", chunked_attention: "chunked", linear_attention: "state",
  mamba: "state", mamba2: "state", conv: "state", recurrent: "state", moe: "none", mlp: "none",
}; // prettier-ignore

/** By the list that newer configurations carry; undefined where there is none or a word is not known. */
function listed(text: Json, layers: number): readonly LayerKind[] | undefined | "unknown" {
  const list = text["layer_types"] ?? text["layers_block_type"];
  if (!Array.isArray(list)) return undefined;
  if (list.length < layers) return "unknown";
  const kinds = list
    .slice(0, layers)
    .map((word) => (typeof word === "string" && Object.hasOwn(words, word) ? words[word] : undefined));
  return kinds.every((kind) => kind !== undefined) ? (kinds as LayerKind[]) : "unknown";
}

const repeat = (layers: number, kindOf: (index: number) => LayerKind): LayerKind[] =>
  Array.from({ length: layers }, (_, index) => kindOf(index));

/** Layers that a list names, and the others; the list may be far longer than a model is deep. */
function among(layers: number, list: readonly unknown[], named: LayerKind, other: LayerKind): LayerKind[] {
  const indices = new Set(list);
  return repeat(layers, (index) => (indices.has(index) ? named : other));
}

/** Every n-th layer (counted from 1) sees everything, the others a window. */
const everyNth = (layers: number, nth: number, local: LayerKind = "sliding"): LayerKind[] =>
  repeat(layers, (index) => ((index + 1) % nth === 0 ? "full" : local));

/** Families whose pattern lies in their class and not in the file. */
function byFamily(text: Json, type: string, layers: number): readonly LayerKind[] | undefined {
  const pattern = count(text, ["sliding_window_pattern", "_sliding_window_pattern"]);
  // models/gemma2.py: even layers have the window; Gemma2Config's default is 4096.
  if (type === "gemma2") return repeat(layers, (index) => (index % 2 === 0 ? "sliding" : "full"));
  // Gemma3TextConfig: sliding_window_pattern 6; Cohere2Config: 4; gpt-oss: layer i has the window where i is even (models/gpt_oss.py).
  if (type.startsWith("gemma3")) return everyNth(layers, pattern ?? (type.startsWith("gemma3n") ? 5 : 6));
  if (type === "cohere2") return everyNth(layers, pattern ?? 4);
  if (type === "gpt_oss") return repeat(layers, (index) => (index % 2 === 0 ? "sliding" : "full"));
  // Exaone4Config: 4; the published files write the pattern as letters (LLLG) beside it.
  if (type.startsWith("exaone4")) return everyNth(layers, pattern ?? 4);
  if (type.startsWith("llama4")) return llama4(text, layers);
  return byList(text, layers) ?? withStates(text, type, layers);
}

/** Families with a list of their own. models/mimo_v2.py: 1 is a window; models/nemotron_nas.py: blocks of which some do not attend. */
function byList(text: Json, layers: number): readonly LayerKind[] | undefined {
  const marks = text["hybrid_layer_pattern"];
  if (Array.isArray(marks) && marks.length >= layers)
    return marks.slice(0, layers).map((mark) => (mark === 1 ? "sliding" : "full"));
  const blocks = blocksOf(text);
  return blocks && blocks.length >= layers
    ? blocks.slice(0, layers).map((heads) => (heads === undefined ? "none" : "full"))
    : undefined;
}

/** models/llama4.py: layers of no_rope_layers (0 there: no rotary embedding) see everything, the others chunks; each fourth by default. */
function llama4(text: Json, layers: number): readonly LayerKind[] {
  if (count(text, ["attention_chunk_size"]) === undefined) return repeat(layers, () => "full");
  const list = text["no_rope_layers"];
  if (Array.isArray(list) && list.length === layers)
    return list.map((rope) => (rope === 0 || rope === false ? "full" : "chunked"));
  return everyNth(layers, count(text, ["no_rope_layer_interval"]) ?? 4, "chunked");
}

/** Families that mix attention with states, before their configurations carried layer_types. */
function withStates(text: Json, type: string, layers: number): readonly LayerKind[] | undefined {
  const pattern = text["hybrid_override_pattern"];
  // models/nemotron_h.py: M is Mamba 2, * attention, - and E feed-forward.
  if (typeof pattern === "string")
    return [...pattern].slice(0, layers).map((mark) => (mark === "M" ? "state" : mark === "*" ? "full" : "none"));
  const period = count(text, ["attn_layer_period"]);
  // JambaConfig.layers_block_type: attention where (i - offset) % period is 0.
  if (period !== undefined) {
    const offset = count(text, ["attn_layer_offset"], 0) ?? 0;
    return repeat(layers, (index) => (index % period === offset ? "full" : "state"));
  }
  const indices = text["attn_layer_indices"] ?? text["full_attn_idxs"];
  // BambaConfig.layers_block_type; Lfm2Config.full_attn_idxs.
  if (Array.isArray(indices)) return among(layers, indices, "full", "state");
  const types = text["attn_type_list"];
  // models/minimax_text_01.py: 0 is linear attention, 1 softmax attention.
  if (Array.isArray(types) && types.length >= layers) return repeat(layers, (i) => (types[i] === 0 ? "state" : "full"));
  const interval = count(text, ["full_attention_interval"]) ?? (type === "qwen3_next" ? 4 : undefined);
  // Qwen3NextConfig: each fourth layer attends, the others are gated delta networks.
  if (interval !== undefined && "linear_num_value_heads" in text) return everyNth(layers, interval, "state");
  const linear = text["linear_attn_config"];
  if (typeof linear === "object" && linear !== null) return kimiLinear(linear as Json, layers);
  if (["mamba", "mamba2", "falcon_mamba"].includes(type)) return repeat(layers, () => "state");
  return undefined;
}

/** models/kimi_linear.py: kda_layers counts from 1. */
function kimiLinear(linear: Json, layers: number): readonly LayerKind[] | undefined {
  const list = linear["kda_layers"];
  return Array.isArray(list) ? among(layers + 1, list, "state", "full").slice(1) : undefined;
}

const classWindows: ReadonlyMap<string, number> = new Map([
  ["gemma2", 4096],
  ["gemma3_text", 4096],
  ["cohere2", 4096],
]);

/** Window in tokens; families that switch it off by use_sliding_window have none (Qwen2Config). */
function windowOf(text: Json, type: string): number | undefined {
  if (text["use_sliding_window"] === false) return undefined;
  const named = count(text, ["sliding_window", "sliding_window_size", "window_size"]);
  if (named !== undefined) return named;
  return "sliding_window" in text ? undefined : classWindows.get(type);
}

/** Kinds of all layers that hold a cache of their own; undefined where the configuration leaves it open. */
export function layerKinds(text: Json, layers: number): readonly LayerKind[] | undefined {
  const type = modelTypeOf(text);
  const list = listed(text, layers);
  // exaone_moe.py: windows of different lengths.
  if (list === "unknown" || unknownAlways.test(type) || Array.isArray(text["sliding_windows"])) return undefined;
  const kinds = list ?? byFamily(text, type, layers);
  const window = windowOf(text, type);
  if (unknownFamilies.test(type) && !list) return undefined;
  if (kinds) {
    // A window that is switched off leaves full attention.
    const plain = kinds.map((kind) => (kind === "sliding" && window === undefined ? "full" : kind));
    // models/gemma3n.py, gemma4.py: the last num_kv_shared_layers layers read the cache of earlier ones.
    const shared = count(text, ["num_kv_shared_layers"], 0) ?? 0;
    return plain.slice(0, Math.max(0, layers - shared));
  }
  if (unknownMixture.some((key) => key in text)) return undefined;
  // layers/attention: a window without a list holds for every layer, but where the family says from which layer on.
  if (window === undefined || "max_window_layers" in text) return repeat(layers, () => "full");
  return repeat(layers, () => "sliding");
}

/** Families of other rules: packed and compressed caches (DeepSeek V4), sparse indexers of their own (MiniMax M3). */
const unknownAlways = /^(deepseek_v4|minimax_m3|minimax_m3_text)$/;
/** Families whose pattern must stand in the file. */
const unknownFamilies = /^(gemma4|granite.*swa)/;

/** Keys of mixtures whose rule is not known here. */
const unknownMixture = [
  "ssm_cfg",
  "state_size",
  "ssm_state_size",
  "cross_attention_layers",
  "block_types",
  // Ling's linear layers (bailing_moe_linear.py).
  "layer_group_size",
];

/**
 * Families whose model code was not read, or whose layers attend more than once (loops): no context is promised for them. Newer than 0.28 are
 * those of vllm/models/ (qwen4_exp, glm5next, hy_v4, deepseek_v41) and k2_horizon.py, cohere_compass.py, embedding_gemma2.py.
 */
const unread =
  /^(Qwen4Exp|Glm5Next|HYV4|DeepseekV4|K2Horizon|BailingMoeV3|CohereCompass|ClefOmni|EmbeddingGemma2|HrmText|IQuestLoop|Inkling|MuseGlimmer|Dots3Note)/;

/** Falcon-H1 and Zamba 2 (models/falcon_h1.py, zamba2.py): attention and Mamba side by side in one layer. */
const sideBySide = /^(FalconH1|Zamba2)/;

interface Heads {
  readonly heads: number;
  readonly keySize: number;
  readonly valueSize: number;
}

/** Heads and sizes of attention layers with other numbers than the rest: Gemma 4's global layers (models/gemma4.py). */
function globalHeads(text: Json, plain: Heads): Heads {
  const keySize = count(text, ["global_head_dim"]) ?? plain.keySize;
  const heads = count(text, ["num_global_key_value_heads"]) ?? plain.heads;
  return { heads, keySize, valueSize: keySize === plain.keySize ? plain.valueSize : keySize };
}

/** Sizes of window layers that differ from the rest: MiMo V2 (models/mimo_v2.py), Step 3.5 (models/step3p5.py). */
function windowHeads(text: Json, plain: Heads): Heads {
  const other = text["attention_other_setting"];
  if (isJson(other) && other["attention_type"] === "sliding_attention") {
    const keySize = count(other, ["head_dim"]) ?? plain.keySize;
    return { heads: count(other, ["num_attention_groups"]) ?? plain.heads, keySize, valueSize: keySize };
  }
  const keySize = count(text, ["swa_head_dim"]) ?? plain.keySize;
  const valueSize = count(text, ["swa_v_head_dim", "swa_head_dim"]) ?? plain.valueSize;
  return { heads: count(text, ["swa_num_key_value_heads"]) ?? plain.heads, keySize, valueSize };
}

/** models/whisper.py: each decoder layer keeps its own text and the encoder's output (max_source_positions, 1,500 of a window of 30 s). */
function crossLayers(
  text: Json,
  { layers, keyValueHeads: heads, headSize }: Shape,
): readonly CacheLayers[] | undefined {
  const window = count(text, ["max_source_positions"]);
  if (layers === undefined || heads === undefined || headSize === undefined || window === undefined) return undefined;
  const sizes = { layers, heads, keySize: headSize, valueSize: headSize };
  return [
    { kind: "Full", ...sizes },
    { kind: "Cross", ...sizes, window },
  ];
}

function attentionLayers(text: Json, kinds: readonly LayerKind[], shape: Shape): readonly CacheLayers[] | undefined {
  const layersOf = (kind: LayerKind): number => kinds.filter((one) => one === kind).length;
  const latent = count(text, ["kv_lora_rank"]);
  const type = modelTypeOf(text);
  if (latent !== undefined && type !== "minicpm3")
    return latentTypes.test(type)
      ? latentLayers(text, layersOf("full") * (type === "longcat_flash" ? 2 : 1), latent)
      : undefined;
  const { heads, keySize } =
    latent === undefined ? { heads: shape.keyValueHeads, keySize: shape.headSize } : expanded(text);
  if (kinds.every((kind) => kind === "state" || kind === "none")) return [];
  if (heads === undefined || keySize === undefined) return undefined;
  const valueSize = latent === undefined ? (count(text, ["v_head_dim"]) ?? keySize) : keySize;
  const plain: Heads = { heads, keySize, valueSize };
  const window = windowOf(text, type) ?? 0;
  const runs: CacheLayers[] = [
    { kind: "Full", layers: layersOf("full"), ...(layersOf("sliding") > 0 ? globalHeads(text, plain) : plain) },
    { kind: "Sliding", layers: layersOf("sliding"), ...windowHeads(text, plain), window },
    { kind: "Chunked", layers: layersOf("chunked"), ...plain, window: count(text, ["attention_chunk_size"]) ?? 0 },
  ];
  return runs.filter((run) => run.layers > 0);
}

/**
 * Types whose compressed keys and values the engine keeps as they are (model_arch_config_convertor.py is_deepseek_mla; sarvam.py). MiniCPM 3
 * has the same keys and keeps expanded heads, padded to the width of its keys (minicpm3.py). LongCat's layers attend twice (longcat_flash.py).
 */
const latentTypes =
  /^(|axk1|deepseek_v2|deepseek_v3|deepseek_v32|glm_moe_dsa|glm4_moe_lite|kimi_k2|kimi_linear|longcat_flash|pangu_ultra_moe|sarvam.*)$/;

function expanded(text: Json): { heads: number | undefined; keySize: number | undefined } {
  const [nope, rope] = [count(text, ["qk_nope_head_dim"]), count(text, ["qk_rope_head_dim"])];
  const keySize = nope === undefined || rope === undefined ? undefined : nope + rope;
  return { heads: count(text, ["num_attention_heads"]), keySize };
}

/**
 * Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434 §2.1): kv_lora_rank + qk_rope_head_dim numbers per token and layer.
 * DeepSeek V3.2 keeps the keys of its indexer besides: index_head_dim bytes and one fp32 scale per 128 of them (models/deepseek_v2.py).
 */
function latentLayers(text: Json, layers: number, latent: number): readonly CacheLayers[] | undefined {
  const rope = count(text, ["qk_rope_head_dim"]);
  if (rope === undefined) return undefined;
  const main: CacheLayers = { kind: "Latent", layers, keySize: latent + rope };
  const index = count(text, ["index_head_dim"]);
  if (index === undefined) return [main];
  return [main, { kind: "Latent", layers, keySize: index + Math.ceil(index / 128) * 4, elementBytes: 1 }];
}

/** More layers than this are no model: the list of a hostile configuration is not built. */
const MAX_LAYERS = 4096;

/** What each layer keeps, in runs of equal ones; empty where nothing is kept, undefined where it cannot be known. */
export function cacheOf(
  architecture: string,
  task: Task,
  config: Json,
  shape: Shape,
): readonly CacheLayers[] | undefined {
  if (encoderOnly.test(architecture)) return [];
  if (task === "Unknown" || unread.test(architecture)) return undefined;
  const text = textConfig(config);
  if (text["is_encoder_decoder"] === true) return crossLayers(text, shape);
  const { layers } = shape;
  const kinds = layers === undefined || layers > MAX_LAYERS ? undefined : layerKinds(text, layers);
  if (!kinds) return undefined;
  const attention = attentionLayers(text, kinds, shape);
  const states = sideBySide.test(architecture) ? kinds.length : kinds.filter((kind) => kind === "state").length;
  if (!attention || states === 0) return attention;
  const state = stateLayers(text, states);
  return state && [...attention, state];
}
