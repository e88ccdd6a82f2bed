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
  /** Whether top-k and top-p run in FlashInfer's kernels, as the start-up log says. */
  readonly flashInferSampler?: boolean;
  /** The safe estimate divides no encoder: not every family's is (--mm-encoder-tp-mode). */
  readonly wholeEncoder?: boolean;
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
  const vision = visionBytes(input, hidden);
  const peak = Math.max(
    vision.encoder,
    vision.outputs + forwardBytes(facts, tokens, hidden, parallel),
    vision.outputs + samplerBytes(input),
  );
  return {
    activationBytes: Math.ceil(peak + resident),
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
 * bytes per entry. Since 0.17 (#33538) top-k and top-p run in place in a Triton kernel: 16 bytes. FlashInfer's kernels, the default
 * where they were installed until 0.11.1 (#26859), mask and normalize: 14. Poolers have no logits.
 */
function samplerBytes({ facts, settings, release, flashInferSampler }: ReserveInput): number {
  if (facts.task !== undefined && facts.task !== "Generate" && facts.task !== "Unknown") return 0;
  const rows = Math.min(settings.maxNumSeqs, settings.maxNumBatchedTokens);
  const native = atLeast(release, 0, 17) ? 16 : 38;
  return rows * (facts.shape?.vocabularySize ?? 128_000) * (flashInferSampler === true ? 14 : native);
}

/**
 * The encoder runs over as many of the largest images as one batch holds; their pixels and its outputs stay while the text is
 * profiled. The outputs were padded to the whole budget before 0.14 (#30475); Qwen3-VL's budget was that of a video of 2,048 frames
 * of 150 tokens, two by two, before 0.15 (#32684).
 */
function visionBytes(input: ReserveInput, hidden: number): { encoder: number; outputs: number } {
  const { facts, settings, parallel, release, wholeEncoder } = input;
  const { visionTokens, visionWidth, visionSplitWidth = 0, visionInput = 0, visionOutput = hidden } = facts.shape ?? {};
  if (!visionTokens || visionWidth === undefined) return { encoder: 0, outputs: 0 };
  const images = Math.max(1, Math.floor(settings.maxNumBatchedTokens / visionTokens));
  const tokens = images * visionTokens;
  const budget =
    visionOutput > hidden && !atLeast(release, 0, 15) ? 153_600 : Math.max(settings.maxNumBatchedTokens, tokens);
  const kept = atLeast(release, 0, 14) ? tokens : budget;
  const outputs = (tokens * visionInput + kept * visionOutput) * 2;
  const width = visionWidth + visionSplitWidth / (wholeEncoder === true ? 1 : parallel.tensor);
  return { encoder: tokens * (width + visionInput) * 2, outputs };
}

/** Sizes that are captured: 1, 2, 4, eights to 256, sixteens to the largest (config/vllm.py _set_cudagraph_sizes). */
export function captureSizes({ maxNumSeqs, maxNumBatchedTokens }: Settings, largest: number): number {
  const most = Math.min(maxNumSeqs * 2, largest, maxNumBatchedTokens);
  const eights = Math.max(0, Math.floor(Math.min(most, 255) / 8));
  return Math.min(3, most) + eights + (most >= 256 ? Math.floor((most - 256) / 16) + 1 : 0);
}

/**
 * The first graph's pool and what each size more adds, for whole decodes and piecewise (profile_cudagraph_memory). Start-up logs of 0.19 to 0.27
 * say 1 to 6 MiB for each, and 6 to 43 MiB where layers keep states, whose kernels bring workspaces of their own. Since 0.29 such models run on the
 * second model runner too: both kinds share one pool and whole decodes are extrapolated from two (gpu/cudagraph_utils.py), 4 MiB by a log.
 */
function graphBytes({ facts, settings, release, enforceEager, gpu }: ReserveInput): number {
  if (enforceEager === true || !atLeast(release, 0, 21)) return 0;
  const blackwell = Math.floor((gpu.computeCapability ?? 0) / 10) === 10 && atLeast(release, 0, 28);
  const pieces = captureSizes(settings, blackwell ? 1024 : 512);
  const whole = captureSizes({ ...settings, maxNumSeqs: settings.maxNumSeqs / 2 }, 512);
  const hasStates = facts.cache?.some(({ kind }) => kind === "State") === true;
  return 128 * MiB + (pieces + whole) * (hasStates && !atLeast(release, 0, 29) ? 20 : 3) * MiB;
}

/**
 * Workspaces of cuBLAS and attention, more of them since 0.21, whose images came with CUDA 13; hipBLASLt's are larger (a log of a MI300X says 2.46 GiB
 * beyond the weights). Between linked GPUs NCCL's channels to each peer, whose number grows with the peers, and the buffers of custom all-reduce;
 * small where the GPUs are not linked (no custom all-reduce across PCIe: custom_all_reduce.py), but for Blackwell cards (1.7 GiB of four).
 */
function otherBytes({ parallel: { tensor, pipeline }, gpu, release }: ReserveInput): number {
  const isBlackwellCard = Math.floor((gpu.computeCapability ?? 0) / 10) === 12;
  const libraries = gpu.vendor === "amd" && gpu.linked ? 2 : atLeast(release, 0, 21) ? 0.25 : 0.1;
  const between = gpu.linked ? 0.15 + 0.035 * tensor * (tensor - 1) : (isBlackwellCard ? 0.3 : 0.02) * tensor;
  return libraries * GiB + (tensor > 1 ? between * GiB : 0) + (pipeline > 1 ? 0.3 * GiB : 0);
}
