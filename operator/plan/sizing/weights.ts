/** Bytes of weights that one GPU holds: what is divided, repeated, padded or quantized at load. */
import type { ModelFacts } from "./facts.ts";
import { atLeast, type EngineRelease } from "./release.ts";

export interface Parallel {
  readonly tensor: number;
  readonly pipeline: number;
}

const roundUp = (value: number, step: number): number => Math.ceil(value / step) * step;

/** Bits that the checkpoint's matrices have: 16 where nothing is quantized. */
export function nativeBits(facts: ModelFacts): number {
  if (facts.quantization === undefined) return 16;
  const effective = facts.effectiveBits;
  if (effective !== undefined && effective > 0) return effective < 6.5 ? 4 : effective < 13 ? 8 : 16;
  return /fp8|int8|w8|modelopt$/i.test(facts.quantization) ? 8 : 4;
}

/** Bytes on one GPU at the given bits of the matrices; `bits` below 16 shrinks plain matrices only, as online quantization does. */
export function weightBytesPerGpu(
  facts: ModelFacts,
  parallel: Parallel,
  bits: number,
  safe: boolean,
): number | undefined {
  const { weights, weightBytes } = facts;
  const gpus = parallel.tensor * parallel.pipeline;
  const shrink = bits >= 16 || facts.quantization !== undefined ? 1 : bits / 16;
  if (!weights)
    return weightBytes === undefined ? undefined : Math.ceil((weightBytes * (shrink < 1 ? 0.55 : 1)) / gpus);
  const vision = safe ? weights.visionBytes : weights.visionBytes / parallel.tensor;
  const replicated = weights.replicatedBytes / parallel.pipeline;
  const divided =
    weights.linearBytes * shrink + weights.dividedBytes + weights.extraBytes + expertPadding(facts, parallel);
  // The pipeline's first stage holds the embeddings, its last the output layer: the fullest stage carries about half of both.
  const embedding =
    (weights.embeddingBytes * vocabularyPadding(facts)) / parallel.tensor / Math.min(2, parallel.pipeline);
  const tables = facts.shape?.rotaryBytes ?? 0;
  return Math.ceil(divided / gpus + embedding + replicated + vision + tables + repeatedHeads(facts, parallel, shrink));
}

/** vocab_parallel_embedding.py pads the vocabulary to a multiple of 64. */
function vocabularyPadding({ shape }: ModelFacts): number {
  const size = shape?.vocabularySize;
  return size === undefined || size === 0 ? 1 : roundUp(size, 64) / size;
}

/** Key and value projections are repeated where the GPUs outnumber their heads (linear.py QKVParallelLinear). */
function repeatedHeads(
  { shape, quantization, cache }: ModelFacts,
  { tensor, pipeline }: Parallel,
  shrink: number,
): number {
  const { keyValueHeads: heads, headSize, hiddenSize, layers } = shape ?? {};
  if (!heads || !headSize || !hiddenSize || !layers || heads >= tensor) return 0;
  if (cache?.some((run) => run.kind === "Latent")) return 0;
  const bytes = quantization === undefined ? 2 * shrink : 1;
  return (2 * layers * (1 - heads / tensor) * headSize * hiddenSize * bytes) / pipeline;
}

/** mxfp4 experts are padded for the Marlin kernels: hidden size to 256, a GPU's share of the width to 128 (quantization/mxfp4.py). */
function expertPadding({ quantization, shape, weights }: ModelFacts, { tensor }: Parallel): number {
  const { hiddenSize, expertSize } = shape ?? {};
  if (quantization !== "mxfp4" || !hiddenSize || !expertSize || !weights) return 0;
  const padded = (roundUp(hiddenSize, 256) * roundUp(expertSize / tensor, 128) * tensor) / (hiddenSize * expertSize);
  return weights.expertBytes * (padded - 1);
}

/** Before 0.16 (#31914) online quantization loaded all layers in 16 bits first: they must fit for a moment. */
export function peakAtLoad(facts: ModelFacts, parallel: Parallel, bits: number, release: EngineRelease): number {
  if (bits >= 16 || facts.quantization !== undefined || atLeast(release, 0, 16)) return 0;
  return weightBytesPerGpu(facts, parallel, 16, true) ?? 0;
}
