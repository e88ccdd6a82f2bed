/**
 * What one replica can hold: memory × utilization − weights − reserve = cache, cut as the block manager does. Two answers: `expected`
 * is the estimate shown to users, `safe` decides what is allowed, since a promise that the engine refuses at start costs a node.
 */
import type { GpuShape } from "../../api/nodetype.ts";
import { cacheLayersOf, type ModelFacts } from "./facts.ts";
import { defaultSettings, gpuOf, type Gpu, type Settings } from "./gpu.ts";
import { cachePlan, cacheSize, longestSequence, mostSequences, type CacheOptions, type CachePlan } from "./kv.ts";
import { atLeast, releaseOf, type EngineRelease } from "./release.ts";
import { reserveOf, type Reserve } from "./reserve.ts";
import { weightBytesPerGpu, type Parallel } from "./weights.ts";

/** vLLM's default for --gpu-memory-utilization since April 2026; rendered explicitly so that a new default changes nothing. */
export const GPU_MEMORY_UTILIZATION = 0.92;

export interface CapacityInput {
  readonly facts: ModelFacts;
  readonly gpu: Pick<GpuShape, "product" | "memory">;
  readonly tensorParallel: number;
  readonly pipelineParallel?: number;
  /** Bits of the matrices; the checkpoint's own where absent. */
  readonly bits?: number;
  /** 1 for an fp8 cache. */
  readonly cacheElementBytes?: 1 | 2;
  readonly engineVersion?: string;
  readonly utilization?: number;
  /** The engine's own defaults for this GPU where absent. */
  readonly settings?: Partial<Settings>;
  readonly enforceEager?: boolean;
  /** VLLM_USE_FLASHINFER_SAMPLER, where the engine has the kernels. */
  readonly flashInferSampler?: boolean;
  /** The version's default where absent: only models with states depend on it. */
  readonly prefixCaching?: boolean;
}

export interface Estimate {
  /** Bytes of one GPU. */
  readonly weightBytes: number;
  readonly reserve: Reserve;
  /** Left for the cache; negative where weights and reserve do not fit. */
  readonly cacheBytes: number;
  /** Largest length of one sequence up to the asked one, in tokens. */
  longest(most: number): number;
  /** Sequences of this length at once; Infinity where no cache is kept. */
  concurrency(length: number): number;
  /** Largest --max-num-seqs that the engine starts with; Infinity where no layer keeps a state. */
  readonly mostSequences: number;
  /** Tokens of the cache as the start-up log prints them; 0 where no cache is kept. */
  tokens(length: number): number;
}

export interface TwoEstimates {
  readonly settings: Settings;
  readonly budgetBytes: number;
  readonly expected: Estimate;
  readonly safe: Estimate;
}

/** The safe estimate holds more back: a share of what is estimated, of the card, and a constant for what varies between drivers. */
const SAFE = {
  reserve: 1.25,
  graphs: 2.5,
  peers: 0.4 * 2 ** 30,
  weights: 1.01,
  memory: 0.005,
  bytes: 0.35 * 2 ** 30,
} as const;

/** Both estimates for one node; undefined where weights or cache of the model are unknown. */
export function capacityOf(input: CapacityInput): TwoEstimates | undefined {
  const gpu = gpuOf(input.gpu);
  const release = releaseOf(input.engineVersion);
  const settings = { ...defaultSettings(gpu, release), ...input.settings };
  const parallel = { tensor: input.tensorParallel, pipeline: input.pipelineParallel ?? 1 };
  const layers = cacheLayersOf(input.facts);
  const bits = input.bits ?? 16;
  const expectedWeights = weightBytesPerGpu(input.facts, parallel, bits, false);
  const safeWeights = weightBytesPerGpu(input.facts, parallel, bits, true);
  if (!layers || expectedWeights === undefined || safeWeights === undefined) return undefined;
  const planOf = (prefixCaching: boolean): CachePlan | undefined =>
    cachePlan(layers, cacheOptions(input, parallel, settings.maxNumBatchedTokens, release, prefixCaching));
  const enforceEager = input.enforceEager ?? false;
  const flashInferSampler = input.flashInferSampler ?? false;
  const common = { facts: input.facts, gpu, parallel, settings, release, enforceEager, flashInferSampler };
  const budgetBytes = Math.floor(gpu.usableBytes * (input.utilization ?? GPU_MEMORY_UTILIZATION));
  return {
    settings,
    budgetBytes,
    // Models with states cache no prefixes on their own before 0.28 (#50991).
    expected: estimateOf(
      expectedWeights,
      reserveOf(common),
      budgetBytes,
      planOf(input.prefixCaching ?? atLeast(release, 0, 28)),
      release,
    ),
    safe: estimateOf(
      Math.ceil(safeWeights * SAFE.weights),
      scaled(reserveOf({ ...common, wholeEncoder: true })),
      budgetBytes - heldBack(gpu, parallel.tensor * parallel.pipeline),
      planOf(input.prefixCaching ?? true),
      release,
    ),
  };
}

const cacheOptions = (
  { cacheElementBytes = 2 }: CapacityInput,
  { tensor, pipeline }: Parallel,
  batchedTokens: number,
  release: EngineRelease,
  prefixCaching: boolean,
): CacheOptions => ({
  tensorParallel: tensor,
  pipelineParallel: pipeline,
  elementBytes: cacheElementBytes,
  batchedTokens,
  release,
  prefixCaching,
});

const heldBack = (gpu: Gpu, gpus: number): number =>
  Math.ceil(gpu.usableBytes * SAFE.memory + SAFE.bytes + (gpus > 1 ? SAFE.peers : 0));

const scaled = (reserve: Reserve): Reserve => ({
  activationBytes: Math.ceil(reserve.activationBytes * SAFE.reserve),
  graphBytes: Math.ceil(reserve.graphBytes * SAFE.graphs),
  otherBytes: Math.ceil(reserve.otherBytes * SAFE.reserve),
});

function estimateOf(
  weightBytes: number,
  reserve: Reserve,
  budgetBytes: number,
  plan: CachePlan | undefined,
  release: EngineRelease,
): Estimate {
  const cacheBytes = budgetBytes - weightBytes - reserve.activationBytes - reserve.graphBytes - reserve.otherBytes;
  const bytes = Math.max(0, cacheBytes);
  return {
    weightBytes,
    reserve,
    cacheBytes,
    mostSequences: plan ? mostSequences(plan, bytes, release) : Infinity,
    longest: (most) => (plan ? longestSequence(plan, bytes, most) : cacheBytes >= 0 ? most : 0),
    concurrency: (length) => (plan ? cacheSize(plan, bytes, length, release).concurrency : Infinity),
    tokens: (length) => (plan ? cacheSize(plan, bytes, length, release).reportedTokens : 0),
  };
}
