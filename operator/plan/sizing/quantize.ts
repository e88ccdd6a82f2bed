/**
 * Which bits a model may have on a GPU. Pre-quantized checkpoints are served as they are; 16-bit ones may be quantized at load
 * where the engine has kernels (docs: features/quantization/README.md; online schemes: quantization/online at 017e9f44). A
 * checkpoint of fewer bits is never offered at more.
 */
import type { ModelFacts } from "./facts.ts";
import type { Gpu } from "./gpu.ts";
import { atLeast, type EngineRelease } from "./release.ts";
import { nativeBits } from "./weights.ts";

/** Bits that the matrix has a row for. */
export const MATRIX_BITS = [4, 8, 16] as const;

/** Least compute capability of each method that the engine knows (each class's get_min_capability, named beside quantization/__init__.py). */
const leastCapability: Readonly<Record<string, number>> = {
  awq: 75, gptq: 60, fp8: 75, fbgemm_fp8: 80, fp_quant: 100, "compressed-tensors": 75, modelopt: 80, modelopt_fp4: 75, modelopt_mxfp8: 80,
  modelopt_mixed: 75, mxfp4: 80, mxfp8: 80, gpt_oss_mxfp4: 80, deepseek_v4_fp8: 75, bitsandbytes: 70, experts_int8: 80, quark: 70,
  torchao: 75, inc: 60, "auto-round": 60, humming: 75, moe_wna16: 70, auto_awq: 75, auto_gptq: 60, awq_marlin: 75, gptq_marlin: 75,
}; // prettier-ignore
/** platforms/rocm.py supported_quantization. */
const onAmd = new Set([
  "awq", "auto_awq", "awq_marlin", "gptq", "auto_gptq", "fp8", "deepseek_v4_fp8", "compressed-tensors", "fbgemm_fp8", "inc", "auto-round",
  "quark", "mxfp4", "gpt_oss_mxfp4", "mxfp8", "torchao", "modelopt", "modelopt_fp4", "modelopt_mxfp8", "modelopt_mixed",
]); // prettier-ignore

/** Methods that the engine refuses to load unless it is told to (quantization/__init__.py DEPRECATED_QUANTIZATION_METHODS). */
export const isDeprecated = ({ quantization }: ModelFacts): boolean =>
  quantization === "fbgemm_fp8" || quantization === "fp_quant";

/** Online fp8: computed in 8 bits from 8.9, kept in 8 bits by the Marlin kernels from 8.0. */
const ONLINE_FP8_CAPABILITY = 80;

/** Why `bits` cannot be had for this model on this GPU; undefined where they can. */
export function bitsProblem(facts: ModelFacts, gpu: Gpu, bits: number, release: EngineRelease): string | undefined {
  const native = nativeBits(facts);
  if (bits > native) return `the checkpoint has ${String(native)} bits: a checkpoint is never served at more`;
  if (bits === native) return methodProblem(facts, gpu, release);
  if (native !== 16)
    return `the checkpoint is quantized already (${facts.quantization ?? "unknown"}, ${String(native)} bits): it is served as it is`;
  if (facts.task !== undefined && facts.task !== "Generate")
    return "only models that generate text are quantized at load";
  if (bits !== 8)
    return `weights are quantized at load to 8 bits only: use a checkpoint that was quantized to ${String(bits)} bits`;
  if (gpu.vendor === "amd" || (gpu.computeCapability ?? 0) >= ONLINE_FP8_CAPABILITY) return undefined;
  return gpu.computeCapability === undefined
    ? "the GPU's compute capability is not known: 8 bits at load cannot be promised"
    : `8 bits at load need compute capability 8.0, this GPU has ${(gpu.computeCapability / 10).toFixed(1)}`;
}

function methodProblem(facts: ModelFacts, gpu: Gpu, release: EngineRelease): string | undefined {
  const { quantization } = facts;
  if (quantization === undefined) return undefined;
  const least = Object.hasOwn(leastCapability, quantization) ? leastCapability[quantization] : undefined;
  if (least === undefined)
    return `the engine does not know the quantization ${quantization}: use a checkpoint in 16 bits or quantized by a method that it serves (fp8, awq, gptq, compressed-tensors, mxfp4)`;
  // Moved out of the engine on 2026-08-09 (#43529): its images carry no plugin.
  if (quantization === "bitsandbytes" && atLeast(release, 0, 28))
    return "the engine reads bitsandbytes only with a plugin that its images lack since 0.28: use a checkpoint in 16 bits, awq or fp8";
  return gpu.vendor === "amd" ? amdProblem(quantization) : capabilityProblem(facts, quantization, gpu, least);
}

const amdProblem = (quantization: string): string | undefined =>
  onAmd.has(quantization) ? undefined : `quantization ${quantization} is not supported on AMD GPUs by the engine`;

const versionOf = (capability: number): string => (capability / 10).toFixed(1);

function capabilityProblem({ dtypes }: ModelFacts, quantization: string, gpu: Gpu, least: number): string | undefined {
  const has = gpu.computeCapability;
  if (has === undefined) return undefined;
  if (has < least)
    return `quantization ${quantization} needs compute capability ${versionOf(least)}, this GPU has ${versionOf(has)}`;
  // docs/features/quantization/int8.md: weights and activations of 8-bit integers have no kernels on Blackwell.
  const isInteger = quantization === "compressed-tensors" && (dtypes?.["I8"] ?? 0) > 0;
  return isInteger && has >= 100
    ? `weights and activations of 8-bit integers need a compute capability below 10.0, this GPU has ${versionOf(has)}: use an fp8 checkpoint`
    : undefined;
}
