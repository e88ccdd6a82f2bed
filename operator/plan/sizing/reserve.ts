/**
 * What the engine takes of a GPU besides weights and cache, by its own order of work (v1/worker/gpu_worker.py
 * determine_available_memory → gpu_model_runner.py profile_run): a forward pass over the largest batch, the sampler's warm-up,
 * the encoder's largest input, what lies outside torch, and since 0.21 an estimate of the CUDA graphs. No number here belongs to one model.
 */
import type { ModelFacts } from "./facts.ts";
import type { Gpu, Settings } from "./gpu.ts";
import { atLeast, type EngineRelease } from "./release.ts";
import type { Parallel } from "./weights.ts";

const MiB = 2 ** 20;
const GiB = 2 ** 30;

export interface ReserveInput {
  readonly facts: ModelFacts;
  readonly gpu: Gpu;
  readonly parallel: Parallel;
  readonly settings: Settings;
  readonly release: EngineRelease;
  readonly enforceEager?: boolean;
  /** The safe estimate counts encoders larger: their shapes vary most. */
  readonly encoderFactor?: number;
}

export interface Reserve {
  /** Peak of tensors that are freed again: the larger of forward pass, sampler and encoder. */
  readonly activationBytes: number;
  /** CUDA graphs, as far as the version charges them to the budget. */
  readonly graphBytes: number;
  /** Libraries' workspaces and buffers for communication between GPUs. */
  readonly otherBytes: number;
}

export function reserveOf(input: ReserveInput): Reserve {
  const { facts, settings, parallel } = input;
  const hidden = facts.shape?.hiddenSize ?? 4096;
  const tokens = settings.maxNumBatchedTokens;
  const resident = tokens * hidden * 2 * 2;
  const vision = visionBytes(facts, tokens, hidden);
  const peak = Math.max(
    forwardBytes(facts, tokens, hidden, parallel),
    samplerBytes(input),
    vision.encoder * (input.encoderFactor ?? 1),
  );
  return {
    activationBytes: Math.ceil(peak + resident + vision.outputs),
    graphBytes: Math.ceil(graphBytes(input)),
    otherBytes: Math.ceil(otherBytes(input)),
  };
}

/** One layer's widest moment: residual twice, queries, keys, values and output, gate and up with their product; experts once per routed token. */
function forwardBytes({ shape, cache }: ModelFacts, tokens: number, hidden: number, { tensor }: Parallel): number {
  const dense = ((shape?.intermediateSize ?? 4 * hidden) * 3) / tensor;
  const width = (shape?.expertSize ?? 0) / tensor;
  const routed = (shape?.experts ? (shape.expertsPerToken ?? 2) : 0) * (3 * width + hidden);
  const attention = (2 * (shape?.attentionHeads ?? 0) * (shape?.headSize ?? 0)) / tensor;
  const latent =
    cache?.some((run) => run.kind === "Latent") === true ? latentWorkspace(shape?.attentionHeads ?? 0, tensor) : 0;
  return tokens * 2 * (4 * hidden + Math.max(dense, routed) + attention) + latent;
}

/** mla_attention.py profiles the expansion of up to 64 Ki latent tokens to keys and values of 128 numbers per head. */
const latentWorkspace = (heads: number, tensor: number): number => 65_536 * (heads / tensor) * 256 * 2;

/**
 * Logits of every sequence: in 16 and 32 bits, sorted with 64-bit indices and the sort's own buffers, probabilities and noise: 38
 * bytes per entry. Since 0.17 (#33538) top-k and top-p run in place in a Triton kernel: 16 bytes. Poolers have no logits.
 */
function samplerBytes({ facts, settings, release }: ReserveInput): number {
  if (facts.task !== undefined && facts.task !== "Generate" && facts.task !== "Unknown") return 0;
  const rows = Math.min(settings.maxNumSeqs, settings.maxNumBatchedTokens);
  return rows * (facts.shape?.vocabularySize ?? 128_000) * (atLeast(release, 0, 17) ? 16 : 38);
}

/** The encoder runs over as many of the largest images as one batch holds; its outputs stay while the text is profiled. */
function visionBytes({ shape }: ModelFacts, tokens: number, hidden: number): { encoder: number; outputs: number } {
  const { visionTokens, visionWidth } = shape ?? {};
  if (visionTokens === undefined || visionWidth === undefined) return { encoder: 0, outputs: 0 };
  const budget = Math.max(tokens, visionTokens);
  return { encoder: budget * visionWidth * 2, outputs: budget * hidden * 2 };
}

/** Sizes that are captured: 1, 2, 4, eights to 256, sixteens to the largest (config/vllm.py _set_cudagraph_sizes). */
export function captureSizes({ maxNumSeqs, maxNumBatchedTokens }: Settings, largest: number): number {
  const most = Math.min(maxNumSeqs * 2, largest, maxNumBatchedTokens);
  const eights = Math.max(0, Math.floor(Math.min(most, 255) / 8));
  return Math.min(3, most) + eights + (most >= 256 ? Math.floor((most - 256) / 16) + 1 : 0);
}

/** The first graph's pool and at least one graph more per size, for whole decodes and piecewise (profile_cudagraph_memory). */
function graphBytes({ settings, release, enforceEager, gpu }: ReserveInput): number {
  if (enforceEager === true || !atLeast(release, 0, 21)) return 0;
  const blackwell = Math.floor((gpu.computeCapability ?? 0) / 10) === 10 && atLeast(release, 0, 28);
  const pieces = captureSizes(settings, blackwell ? 1024 : 512);
  const whole = captureSizes({ ...settings, maxNumSeqs: settings.maxNumSeqs / 2 }, 512);
  return 128 * MiB + (pieces + whole) * 3 * MiB;
}

/**
 * Workspaces of cuBLAS and attention; NCCL's channels and the buffers of custom all-reduce, which grow with the peers and are small
 * where the GPUs are not linked (no custom all-reduce across PCIe: custom_all_reduce.py).
 */
function otherBytes({ parallel: { tensor, pipeline }, gpu }: ReserveInput): number {
  const between = gpu.linked ? 0.3 + 0.2 * tensor : 0.1 + 0.05 * tensor;
  return 0.15 * GiB + (tensor > 1 ? between * GiB : 0) + (pipeline > 1 ? 0.3 * GiB : 0);
}
