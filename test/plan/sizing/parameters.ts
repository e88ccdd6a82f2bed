/**
 * Parameters of a model counted from its configuration alone, by the shapes of its modules: what `reported.ts` compares with the size that
 * the engine says it loaded. Undefined for shapes that are not known here.
 */
import { textConfig } from "../../../operator/plan/model/config.ts";
import { shapeOf } from "../../../operator/plan/model/shape.ts";

type Config = Readonly<Record<string, unknown>>;

export interface Counted {
  /** Of the layers, experts included. */
  readonly matrices: number;
  /** Of the embeddings, and of the output layer where it is its own. */
  readonly embedding: number;
  readonly experts: number;
  /** Of an image encoder. */
  readonly vision: number;
}

export const number = (config: Config, key: string): number => (typeof config[key] === "number" ? config[key] : 0);

export function counted(config: Config): Counted | undefined {
  const text = textConfig(config);
  const {
    layers,
    hiddenSize: hidden,
    vocabularySize,
    intermediateSize,
    experts = 0,
    expertSize = 0,
  } = shapeOf(config, []);
  if (!layers || !hidden || !vocabularySize || isOther(config)) return undefined;
  const vision = visionOf(config);
  if (vision === undefined) return undefined;
  if (config["is_encoder_decoder"] === true)
    return { matrices: whisper(config, layers, hidden), embedding: vocabularySize * hidden, experts: 0, vision };
  const attention = mixersOf(config, layers);
  if (attention === undefined) return undefined;
  const routed = experts * 3 * hidden * expertSize * layers;
  const shared = number(text, "shared_expert_intermediate_size") * 3 * hidden * layers;
  const dense = experts > 0 ? shared + experts * hidden * layers : 3 * hidden * (intermediateSize ?? 0) * layers;
  const tied = (text["tie_word_embeddings"] ?? config["tie_word_embeddings"]) === true;
  const embedding = vocabularySize * hidden * (tied ? 1 : 2);
  return { matrices: attention + dense + routed, embedding, experts: routed, vision };
}

/** Latent attention, Mamba beside attention, and families with modules of their own. */
function isOther(config: Config): boolean {
  const text = textConfig(config);
  return (
    "kv_lora_rank" in text ||
    "hybrid_override_pattern" in text ||
    /llama4|gemma4|gemma3n/.test(JSON.stringify(text["model_type"] ?? config["model_type"]))
  );
}

/** Projections of all layers that mix tokens: attention, and gated delta networks where layer_types names them. */
function mixersOf(config: Config, layers: number): number | undefined {
  const text = textConfig(config);
  const { hiddenSize: hidden = 0, attentionHeads, keyValueHeads, headSize } = shapeOf(config, []);
  if (!attentionHeads || !keyValueHeads || !headSize) return undefined;
  const gate = text["attn_output_gate"] === true ? 1 : 0;
  const attention = hidden * headSize * ((2 + gate) * attentionHeads + 2 * keyValueHeads);
  const kinds: readonly unknown[] = Array.isArray(text["layer_types"]) ? text["layer_types"] : [];
  const linear = kinds.filter((kind) => kind === "linear_attention").length;
  const keys = number(text, "linear_num_key_heads") * number(text, "linear_key_head_dim");
  const values = number(text, "linear_num_value_heads") * number(text, "linear_value_head_dim");
  if (linear > 0 && (keys === 0 || values === 0)) return undefined;
  // Queries, keys, values and gate, two numbers per head, the result; the convolution over the first three.
  const inputs = 2 * keys + 2 * values + 2 * number(text, "linear_num_value_heads");
  const delta = hidden * (inputs + values) + (2 * keys + values) * number(text, "linear_conv_kernel_dim");
  return attention * (layers - linear) + delta * linear;
}

/** Zero without an encoder; undefined where its shape is not that of the Qwen encoders. */
function visionOf(config: Config): number | undefined {
  const vision = config["vision_config"];
  if (typeof vision !== "object" || vision === null) return 0;
  const of = (key: string): number => number(vision as Config, key);
  const [depth, hidden, inner, merge] = [
    of("depth"),
    of("hidden_size"),
    of("intermediate_size"),
    of("spatial_merge_size"),
  ];
  if (depth === 0 || hidden === 0 || inner === 0 || merge === 0) return undefined;
  const gated = of("window_size") > 0 ? 3 : 2;
  const wide = hidden * merge ** 2;
  const deepstack = (vision as Config)["deepstack_visual_indexes"];
  const mergers = 1 + (Array.isArray(deepstack) ? deepstack.length : 0);
  const patch = hidden * 3 * of("temporal_patch_size") * of("patch_size") ** 2 + of("num_position_embeddings") * hidden;
  return (
    depth * (4 * hidden ** 2 + gated * hidden * inner) + mergers * (wide ** 2 + wide * of("out_hidden_size")) + patch
  );
}

/** Self-attention and a feed-forward of two matrices on both sides, cross-attention on the decoder's. */
function whisper(config: Config, layers: number, hidden: number): number {
  const block = 4 * hidden * hidden;
  const encoder = number(config, "encoder_layers") * (block + 2 * hidden * number(config, "encoder_ffn_dim"));
  return encoder + layers * (2 * block + 2 * hidden * (shapeOf(config, []).intermediateSize ?? 0));
}
