/**
 * The KV cache as vLLM's block manager lays it out: layers of equal kind form groups, all groups draw blocks of one size
 * from one pool, and a sequence of L tokens costs whole blocks of every group. Source: vllm/v1/core/kv_cache_utils.py
 * (get_kv_cache_groups, get_kv_cache_config_from_groups, get_max_concurrency_for_kv_cache_config) and
 * vllm/v1/kv_cache_interface.py (max_memory_usage_bytes of each spec), read at v0.8.5, v0.9.2, v0.10.0 and 017e9f44 (before 0.28).
 */
import { NEWEST_RELEASE, atLeast, type EngineRelease } from "./release.ts";

/** Equal layers of one kind. Sizes are those of the whole model, before tensor parallelism divides them. */
export type CacheLayers =
  | { readonly kind: "Full"; readonly layers: number; readonly heads: number; readonly keySize: number; readonly valueSize: number }
  | {
      readonly kind: "Sliding" | "Chunked";
      readonly layers: number;
      readonly heads: number;
      readonly keySize: number;
      readonly valueSize: number;
      /** Tokens that a layer looks back. */
      readonly window: number;
    }
  /** One latent vector per token, the same on every GPU. */
  | { readonly kind: "Latent"; readonly layers: number; readonly keySize: number; readonly elementBytes?: number }
  /** Keys and values of the encoder's output, kept beside those of the decoder's own text. */
  | {
      readonly kind: "Cross";
      readonly layers: number;
      readonly heads: number;
      readonly keySize: number;
      readonly valueSize: number;
      /** Tokens of the encoder's output. */
      readonly window: number;
    }
  /** A state of constant size per sequence. */
  | {
      readonly kind: "State";
      readonly layers: number;
      /** Numbers of the convolution's state that the GPUs divide, and of one group of it. */
      readonly convolution: number;
      readonly groups: number;
      readonly groupSize: number;
      readonly recurrent: number;
      readonly recurrentBytes: number;
    }; // prettier-ignore

export interface CacheOptions {
  readonly tensorParallel: number;
  readonly pipelineParallel?: number;
  /** Bytes of one cached number: 2, or 1 for an fp8 cache. */
  readonly elementBytes: number;
  readonly batchedTokens: number;
  readonly release: EngineRelease;
  readonly blockTokens?: number;
  /** Batches that are scheduled and not yet settled; the version's default on a GPU where absent. */
  readonly batchesInFlight?: number;
  /** With prefix caching a sequence holds two states per layer (mamba_cache_mode "align"), else one. */
  readonly prefixCaching?: boolean;
}

interface Group {
  readonly layers: CacheLayers;
  readonly blockTokens: number;
}

/** How one GPU's cache is cut; none where the model keeps no cache. */
export interface CachePlan {
  readonly groups: readonly Group[];
  /** Bytes of one block over all layers that share the pool. */
  readonly blockBytes: number;
  /** Blocks that one sequence of `length` tokens needs at most. */
  blocksFor(length: number): number;
}

export const DEFAULT_BLOCK_TOKENS = 16;
const ceilDivide = (value: number, by: number): number => Math.ceil(value / by);

/** Bytes of one token in one layer on one GPU; a state's bytes for one sequence. */
export function layerBytes(run: CacheLayers, options: CacheOptions): number {
  const { tensorParallel: tp, elementBytes } = options;
  switch (run.kind) {
    case "Latent":
      return run.keySize * (run.elementBytes ?? elementBytes);
    case "State":
      return stateBytes(run, tp);
    default:
      // Replicated where the GPUs outnumber the heads: config/model.py get_num_kv_heads, max(1, heads // tp).
      return Math.max(1, Math.floor(run.heads / tp)) * (run.keySize + run.valueSize) * elementBytes;
  }
}

/** mamba/mamba_utils.py: groups that the GPUs do not divide are repeated until they do. */
function stateBytes(run: Extract<CacheLayers, { kind: "State" }>, tp: number): number {
  const groups = run.groups === 0 || run.groups % tp === 0 ? run.groups : tp;
  const convolution = (run.convolution + groups * run.groupSize) / tp;
  return Math.ceil(convolution * 2 + (run.recurrent / tp) * run.recurrentBytes);
}

/** Releases before the hybrid allocator (#17996, first in 0.9.2) keep every token of a window layer too. */
function asAllocated(runs: readonly CacheLayers[], release: EngineRelease): readonly CacheLayers[] {
  const mixed = runs.some((run) => run.kind === "Full") && runs.some((run) => isLocal(run));
  const hybrid = atLeast(release, 0, 9, 2);
  // Chunked layers were counted in full from 0.10.1 (#21761) until 0.13 (#29627).
  const chunkedHybrid = hybrid && (!atLeast(release, 0, 10, 1) || atLeast(release, 0, 13));
  return runs.map((run) => {
    if (!isLocal(run) || !mixed) return run;
    if (run.kind === "Chunked" ? chunkedHybrid : hybrid) return run;
    const { layers, heads, keySize, valueSize } = run;
    return { kind: "Full", layers, heads, keySize, valueSize };
  });
}

type Local = Extract<CacheLayers, { kind: "Sliding" | "Chunked" }>;
const isLocal = (run: CacheLayers): run is Local => run.kind === "Sliding" || run.kind === "Chunked";

function merged(runs: readonly CacheLayers[]): CacheLayers[] {
  const byShape = new Map<string, CacheLayers>();
  for (const run of runs) {
    if (run.layers <= 0) continue;
    const key = JSON.stringify({ ...run, layers: 0 });
    const before = byShape.get(key);
    byShape.set(key, before ? { ...before, layers: before.layers + run.layers } : run);
  }
  return [...byShape.values()];
}

/** One pool and one table of blocks for layers that need the same number of token slots. */
const sameSlots = (runs: readonly CacheLayers[]): boolean => {
  const first = runs[0];
  if (!first) return true;
  if (isLocal(first))
    return runs.every((run) => run.kind === first.kind && isLocal(run) && run.window === first.window);
  if (first.kind === "State" || first.kind === "Cross") return runs.length === 1;
  return runs.every((run) => run.kind === "Full" || run.kind === "Latent");
};

/** Layers per group: the smallest kind's number, or the largest where padding to it wastes less than the version allows. */
function groupSize(counts: readonly number[], release: EngineRelease): number {
  const least = Math.min(...counts);
  const most = Math.max(...counts);
  const tolerance = atLeast(release, 0, 18) ? 1.5 : atLeast(release, 0, 12) ? 1.25 : 1;
  return most < least * tolerance ? most : least;
}

/** Layout of the cache of one GPU; undefined where there is nothing to keep. */
export function cachePlan(cache: readonly CacheLayers[], options: CacheOptions): CachePlan | undefined {
  const stages = options.pipelineParallel ?? 1;
  const runs = merged(
    asAllocated(cache, options.release).map((run) => ({ ...run, layers: ceilDivide(run.layers, stages) })),
  );
  if (runs.length === 0) return undefined;
  const blockTokens = options.blockTokens ?? DEFAULT_BLOCK_TOKENS;
  if (sameSlots(runs)) {
    const bytes = runs.reduce((sum, run) => sum + run.layers * pageBytes(run, blockTokens, options), 0);
    return planOf(
      runs.slice(0, 1).map((layers) => ({ layers, blockTokens })),
      bytes,
      options,
    );
  }
  return hybridPlan(runs, blockTokens, options);
}

const pageBytes = (run: CacheLayers, blockTokens: number, options: CacheOptions): number =>
  layerBytes(run, options) * (run.kind === "State" ? 1 : blockTokens);

function hybridPlan(runs: readonly CacheLayers[], blockTokens: number, options: CacheOptions): CachePlan {
  const states = runs.filter((run) => run.kind === "State");
  const attention = runs.filter((run) => run.kind !== "State");
  const most = Math.max(0, ...states.map((run) => layerBytes(run, options)));
  // platforms/interface.py _align_hybrid_block_size: attention blocks grow until a page holds a state.
  const perToken = Math.max(...attention.map((run) => layerBytes(run, options)));
  const tokens = most === 0 ? blockTokens : aligned(most, perToken, attention, blockTokens);
  // unify_kv_cache_spec_page_size: smaller pages take more tokens where they divide the largest, else they are padded.
  const page = perToken * tokens;
  const size = groupSize(buckets(runs), options.release);
  const groups = runs.flatMap((run) => {
    const own = run.kind === "State" ? 0 : layerBytes(run, options) * tokens;
    const ratio = own > 0 && page % own === 0 ? page / own : 1;
    return Array.from({ length: ceilDivide(run.layers, size) }, () => ({ layers: run, blockTokens: tokens * ratio }));
  });
  return planOf(groups, page * size, options);
}

const buckets = (runs: readonly CacheLayers[]): number[] => runs.map((run) => run.layers);

function aligned(state: number, perToken: number, attention: readonly CacheLayers[], blockTokens: number): number {
  const step = attention.some((run) => run.kind === "Latent") ? Math.max(128, blockTokens) : blockTokens;
  return Math.max(blockTokens, step * ceilDivide(state, step * perToken));
}

/**
 * States that one sequence holds (MambaSpec.max_memory_usage_bytes): with prefix caching two, and Mamba 2, the kind whose state has
 * groups, one more for the checkpoint of a prefill (mamba_mixer2.py; in 0.32, not in 0.28, the releases between were not read).
 */
function statesOf(run: Extract<CacheLayers, { kind: "State" }>, { prefixCaching, release }: CacheOptions): number {
  if (prefixCaching !== true) return 1;
  return run.groups > 0 && atLeast(release, 0, 29) ? 3 : 2;
}

function planOf(groups: readonly Group[], blockBytes: number, options: CacheOptions): CachePlan {
  const inFlight = options.batchedTokens * (options.batchesInFlight ?? (atLeast(options.release, 0, 26) ? 2 : 1));
  const blocks = ({ layers, blockTokens }: Group, length: number): number => {
    if (layers.kind === "State") return statesOf(layers, options);
    // Blocks are freed after a step, so a window's tokens and those in flight are held together; a window may begin in the
    // middle of a block (SlidingWindowSpec.max_admission_blocks_per_request). Async scheduling has two steps in flight (#47728).
    if (layers.kind === "Sliding") return ceilDivide(Math.min(layers.window - 1 + inFlight, length), blockTokens) + 1;
    // CrossAttentionSpec.max_memory_usage_bytes counts max_num_encoder_input_tokens, which is the batch (config/scheduler.py).
    if (layers.kind === "Cross") return ceilDivide(Math.max(layers.window, options.batchedTokens), blockTokens);
    if (layers.kind === "Chunked") return ceilDivide(Math.min(layers.window + inFlight, length), blockTokens);
    return ceilDivide(length, blockTokens);
  };
  return {
    groups,
    blockBytes,
    blocksFor: (length) => groups.reduce((sum, group) => sum + blocks(group, length), 0),
  };
}

export interface CacheSize {
  readonly blocks: number;
  /** Sequences of `length` tokens at once, as the start-up log prints it. */
  readonly concurrency: number;
  /** Tokens as the start-up log prints them: one group's until 0.20, concurrency × length since (#42206). */
  readonly reportedTokens: number;
}

/** What `bytes` of one GPU hold. */
export function cacheSize(plan: CachePlan, bytes: number, length: number, release: EngineRelease): CacheSize {
  const blocks = Math.max(0, Math.floor(bytes / plan.blockBytes));
  const concurrency = blocks / plan.blocksFor(length);
  const least = Math.min(...plan.groups.map((group) => (group.layers.kind === "State" ? length : group.blockTokens)));
  const perGroup = Math.floor(blocks / plan.groups.length) * least;
  return { blocks, concurrency, reportedTokens: atLeast(release, 0, 21) ? Math.floor(concurrency * length) : perGroup };
}

/** Largest length up to `most` of which one sequence fits into `bytes`; 0 where not one token does. */
export function longestSequence(plan: CachePlan, bytes: number, most: number): number {
  const blocks = Math.floor(bytes / plan.blockBytes);
  if (plan.blocksFor(1) > blocks) return 0;
  if (plan.blocksFor(most) <= blocks) return most;
  let [fits, over] = [1, most];
  while (over - fits > 1) {
    const middle = Math.floor((fits + over) / 2);
    if (plan.blocksFor(middle) <= blocks) fits = middle;
    else over = middle;
  }
  return fits;
}

/**
 * Sequences that the engine captures graphs for: each needs a block where layers keep states. Since 0.19 (#38270) it refuses to start with more
 * (config/compilation.py: "max_num_seqs exceeds available Mamba cache blocks").
 */
export function mostSequences(plan: CachePlan, bytes: number, release: EngineRelease): number {
  const hasStates = plan.groups.some(({ layers }) => layers.kind === "State");
  return hasStates && atLeast(release, 0, 19) ? Math.max(0, Math.floor(bytes / plan.blockBytes)) : Infinity;
}

/** Bytes that one more token costs at 16 bits over all layers of the model; windows counted in full, states and encoders' output not at all. */
export function kvBytesPerToken(cache: readonly CacheLayers[]): number {
  const options = { tensorParallel: 1, elementBytes: 2, batchedTokens: 1, release: NEWEST_RELEASE };
  const grows = (run: CacheLayers): boolean => run.kind !== "State" && run.kind !== "Cross";
  return cache.reduce((sum, run) => sum + (grows(run) ? run.layers * layerBytes(run, options) : 0), 0);
}
