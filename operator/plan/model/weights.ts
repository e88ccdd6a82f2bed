/** Parameters and data type out of the tensors, quantized ones included. */
import { isJson, textConfig } from "./config.ts";
import type { Json } from "./config.ts";
import type { Tensor } from "./safetensors.ts";

/** Tensors that belong to a quantization and not to the model. */
const auxiliary =
  /(_scales?(_inv|_2)?|weight_global_scale|_zero_point|zero_point|input_scale|weight_shape|g_idx|qzeros|\.scales|\.biases_packed|absmax|quant_map|_scales)$|quant_state\./;
/** Methods whose packing this file knows. */
const known = new Set([
  "fp8", "gptq", "awq", "compressed-tensors", "mxfp4", "fbgemm_fp8", "bitsandbytes", "modelopt", "modelopt_fp4", "modelopt_mxfp8",
  "modelopt_mixed", "deepseek_v4_fp8", "auto-round",
]); // prettier-ignore

/** Bits of one packed weight by the quantization's own words. */
function packedBits(config: Json): number | undefined {
  const quantization = config["quantization_config"] ?? textConfig(config)["quantization_config"];
  if (!isJson(quantization)) return undefined;
  const groups = quantization["config_groups"];
  const group = isJson(groups) ? Object.values(groups)[0] : undefined;
  const weights = isJson(group) ? group["weights"] : undefined;
  const bits = quantization["bits"] ?? quantization["w_bit"] ?? (isJson(weights) ? weights["num_bits"] : undefined);
  if (quantization["load_in_4bit"] === true) return 4;
  return typeof bits === "number" && [2, 3, 4, 8].includes(bits) ? bits : undefined;
}

/** Weights in one element of a tensor: more than one where integers carry packed weights; undefined where unknown. */
function packing(
  tensor: Tensor,
  method: string,
  bits: number | undefined,
  hasNarrowExperts: boolean,
): number | undefined {
  if (/(qweight|weight_packed)$/.test(tensor.name) && tensor.dtype === "I32") return bits && 32 / bits;
  if (method === "mxfp4" && /_blocks$/.test(tensor.name) && tensor.dtype === "U8") return 2;
  // DeepSeek V4: expert_dtype fp4 is said of the routed experts alone, two to a byte.
  const isRouted = /\.experts\./.test(tensor.name) && !tensor.name.includes("shared_experts");
  if (hasNarrowExperts && isRouted && ["I8", "U8"].includes(tensor.dtype)) return 2;
  if (tensor.dtype === "U8" && /weight(_packed)?$/.test(tensor.name)) return bits === 8 ? 1 : 2;
  return 1;
}

/** Number of parameters by the tensors' shapes; undefined for a quantization whose packing is not known. */
export function parametersOf(
  tensors: readonly Tensor[],
  config: Json,
  quantization: string | undefined,
): number | undefined {
  if (quantization === undefined) return tensors.reduce((sum, tensor) => sum + tensor.elements, 0);
  if (!known.has(quantization)) return undefined;
  const bits = packedBits(config);
  const hasNarrowExperts = /fp4/i.test(String(textConfig(config)["expert_dtype"] ?? config["expert_dtype"]));
  let sum = 0;
  for (const tensor of tensors) {
    if (auxiliary.test(tensor.name) || tensor.dtype === "F8_E8M0") continue;
    const factor = packing(tensor, quantization, bits, hasNarrowExperts);
    if (factor === undefined) return undefined;
    sum += Math.round(tensor.elements * factor);
  }
  return sum;
}

/** Bytes of tensor data by data type, in the order of the names. */
export function dtypesOf(tensors: readonly Tensor[]): Record<string, number> {
  const bytes = new Map<string, number>();
  for (const tensor of tensors) bytes.set(tensor.dtype, (bytes.get(tensor.dtype) ?? 0) + tensor.bytes);
  return Object.fromEntries([...bytes].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Data type that holds most bytes; ties go to the name that sorts first. */
export function dtypeOf(tensors: readonly Tensor[]): string | undefined {
  return Object.entries(dtypesOf(tensors)).sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1))[0]?.[0];
}
