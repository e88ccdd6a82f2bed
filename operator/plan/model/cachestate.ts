/**
 * States of constant size: Mamba, Mamba 2, gated delta networks, linear attention, short convolutions. Shapes are those of
 * vllm/model_executor/layers/mamba/mamba_utils.py (MambaStateShapeCalculator) with the arguments that each model file gives
 * (get_mamba_state_shape_from_config), read at 017e9f4448b700e85ee16023287b025693c72b9e.
 */
import { count, isJson } from "./config.ts";
import type { Json } from "./config.ts";
import type { CacheLayers } from "../sizing/kv.ts";

type StateLayers = Extract<CacheLayers, { kind: "State" }>;
type Sizes = Omit<StateLayers, "kind" | "layers" | "recurrentBytes">;

/** A product of numbers that must all be known. */
function product(...numbers: readonly (number | undefined)[]): number | undefined {
  return numbers.reduce((all, next) => (all === undefined || next === undefined ? undefined : all * next), 1);
}

function sizes(convolution: number | undefined, recurrent: number | undefined, groups = 0, groupSize = 0) {
  return convolution === undefined || recurrent === undefined
    ? undefined
    : { convolution, groups, groupSize, recurrent };
}

/** qwen3_next.py, qwen3_5.py: keys twice and values pass the convolution; one matrix per value head. */
function gatedDelta(text: Json): Sizes | undefined {
  const keys = product(count(text, ["linear_num_key_heads"]), count(text, ["linear_key_head_dim"]));
  const values = product(count(text, ["linear_num_value_heads"]), count(text, ["linear_value_head_dim"]));
  const kernel = count(text, ["linear_conv_kernel_dim"]);
  if (keys === undefined || values === undefined || kernel === undefined) return undefined;
  return sizes((2 * keys + values) * (kernel - 1), product(values, count(text, ["linear_key_head_dim"])));
}

/** kimi_linear.py: kda_state_shape, three projections of heads × head size. */
function kimiDelta(linear: Json): Sizes | undefined {
  const heads = count(linear, ["num_heads"]);
  const size = count(linear, ["head_dim"]);
  const kernel = count(linear, ["short_conv_kernel_size"]) ?? 4;
  return sizes(product(3, heads, size, kernel - 1), product(heads, size, size));
}

/** bamba.py, falcon_h1.py, granitemoehybrid.py, nemotron_h.py, zamba2.py, mamba2.py. */
function mamba2(text: Json): Sizes | undefined {
  const hidden = count(text, ["hidden_size"]);
  const heads = count(text, ["mamba_n_heads", "mamba_num_heads", "n_mamba_heads", "num_heads"]);
  const size = count(text, ["mamba_d_head", "mamba_head_dim", "mamba_headdim", "head_dim"]);
  const state = count(text, ["mamba_d_state", "ssm_state_size", "state_size"]);
  const groups = count(text, ["mamba_n_groups", "mamba_ngroups", "n_groups"]);
  const kernel = count(text, ["mamba_d_conv", "conv_kernel"]);
  const inner =
    count(text, ["mamba_d_ssm"]) ??
    ("mamba_num_heads" in text ? product(heads, size) : product(count(text, ["mamba_expand", "expand"]), hidden));
  if (inner === undefined || kernel === undefined || groups === undefined || state === undefined) return undefined;
  return sizes(inner * (kernel - 1), product(heads, size, state), groups, 2 * state * (kernel - 1));
}

/** jamba.py, mamba.py (mamba1_state_shape). */
function mamba1(text: Json): Sizes | undefined {
  const inner =
    "mamba_expand" in text
      ? product(count(text, ["mamba_expand"]), count(text, ["hidden_size"]))
      : count(text, ["intermediate_size"]);
  const kernel = count(text, ["mamba_d_conv", "conv_kernel"]);
  if (kernel === undefined) return undefined;
  return sizes(product(inner, kernel - 1), product(inner, count(text, ["mamba_d_state", "state_size"])));
}

function sizesOf(text: Json): Sizes | undefined {
  const linear = text["linear_attn_config"];
  if (isJson(linear)) return kimiDelta(linear);
  if ("linear_num_value_heads" in text) return gatedDelta(text);
  // lfm2.py (short_conv_state_shape): conv_dim is the hidden size unless it is named.
  if ("conv_L_cache" in text) {
    const width = count(text, ["conv_dim", "hidden_size"]);
    return sizes(product(width, (count(text, ["conv_L_cache"]) ?? 3) - 1), 0);
  }
  // minimax_text_01.py (linear_attention_state_shape): one square matrix per head, no convolution.
  if ("attn_type_list" in text) {
    const size = count(text, ["head_dim"]);
    return sizes(0, product(count(text, ["num_attention_heads"]), size, size));
  }
  const second = ["mamba_n_heads", "mamba_num_heads", "n_mamba_heads", "n_groups", "mamba_n_groups"];
  return second.some((key) => key in text) ? mamba2(text) : mamba1(text);
}

/** The state of `layers` layers; undefined where a number is missing. The recurrent part is fp32 only where the configuration says so. */
export function stateLayers(text: Json, layers: number): StateLayers | undefined {
  const found = sizesOf(text);
  if (!found) return undefined;
  const kimi = isJson(text["linear_attn_config"]);
  const wide = [text["mamba_ssm_cache_dtype"], text["mamba_ssm_dtype"]].includes("float32");
  return { kind: "State", layers, ...found, recurrentBytes: wide || kimi || "attn_type_list" in text ? 4 : 2 };
}
