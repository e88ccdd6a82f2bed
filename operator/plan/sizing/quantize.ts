/**
 * Which bits a model may have on a GPU. Pre-quantized checkpoints are served as they are; 16-bit ones may be quantized at load
 * where the engine has kernels (docs: features/quantization/README.md; online schemes: quantization/online at 017e9f44). A
 * checkpoint of fewer bits is never offered at more.
 */
import type { ModelFacts } from "./facts.ts";
import type { Gpu } from "./gpu.ts";
import { nativeBits } from "./weights.ts";

/** Bits that the matrix has a row for. */
export const MATRIX_BITS = [4, 8, 16] as const;

/** Least compute capability of a method (each class's get_min_capability); AMD has lists of its own (platforms/rocm.py). */
const leastCapability: Readonly<Record<string, number>> = {
  awq: 75, gptq: 60, fp8: 75, fbgemm_fp8: 80, "compressed-tensors": 75, modelopt: 80, modelopt_fp4: 75, mxfp4: 80,
  bitsandbytes: 70, experts_int8: 80, quark: 70, torchao: 75, auto_awq: 75, auto_gptq: 60, awq_marlin: 75, gptq_marlin: 75,
}; // prettier-ignore
const onAmd = new Set([
  "awq",
  "auto_awq",
  "gptq",
  "auto_gptq",
  "fp8",
  "compressed-tensors",
  "fbgemm_fp8",
  "quark",
  "mxfp4",
  "torchao",
]);

/** Online fp8: computed in 8 bits from 8.9, kept in 8 bits by the Marlin kernels from 8.0. */
const ONLINE_FP8_CAPABILITY = 80;

/** Why `bits` cannot be had for this model on this GPU; undefined where they can. */
export function bitsProblem(facts: ModelFacts, gpu: Gpu, bits: number): string | undefined {
  const native = nativeBits(facts);
  if (bits > native) return `the checkpoint has ${String(native)} bits: a checkpoint is never served at more`;
  if (bits === native) return methodProblem(facts, gpu);
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

function methodProblem({ quantization }: ModelFacts, gpu: Gpu): string | undefined {
  if (quantization === undefined) return undefined;
  if (gpu.vendor === "amd")
    return onAmd.has(quantization)
      ? undefined
      : `quantization ${quantization} is not supported on AMD GPUs by the engine`;
  const least = Object.hasOwn(leastCapability, quantization) ? (leastCapability[quantization] ?? 0) : 0;
  const has = gpu.computeCapability;
  if (has === undefined || has >= least) return undefined;
  return `quantization ${quantization} needs compute capability ${(least / 10).toFixed(1)}, this GPU has ${(has / 10).toFixed(1)}`;
}
