/**
 * Does a model fit one node, with how much context? First honest version: weights and KV cache of one full-length sequence
 * must fit beside a reserve. Estimates err on the safe side, since a promise that vLLM refuses at start costs a node.
 *
 * Budget per GPU (vLLM's own order, v1/worker/gpu_worker.py): memory × utilization − weights − peak activations − CUDA graphs
 * = KV cache. Tensor parallelism over all GPUs of the node divides weights and, up to the number of KV heads, the cache.
 */
import type { ModelStatus } from "../../api/model.ts";
import type { GpuShape } from "../../api/nodetype.ts";
import { bytesText, wholeQuantity } from "../quantity.ts";
import type { Problem } from "../plan.ts";

/** vLLM's default for --gpu-memory-utilization since April 2026; rendered explicitly so that a new default changes nothing. */
export const GPU_MEMORY_UTILIZATION = 0.92;

export interface Capacity {
  /** Tokens of prompt and answer together that one request may use. */
  readonly contextLength: number;
  /** Tokens that fit into the KV cache of one replica; 0 where the model keeps none. */
  readonly kvCacheTokens: number;
  /** Full-length requests at once; 0 where the model keeps no cache. */
  readonly maxConcurrency: number;
}

export type Fit = { readonly capacity: Capacity } | { readonly problem: Problem };

/** Sizes of a model as its headers state them; a missing one means that it could not be known. */
export type ModelFacts = Pick<ModelStatus, "weightBytes" | "kvBytesPerToken" | "contextLength" | "shape">;

/** Model facts in; the largest safe context out, or the first thing that does not fit, with numbers. */
export function fitOneNode(model: ModelFacts, gpu: GpuShape, wantedContext: number | undefined): Fit {
  const { weightBytes, contextLength: nativeContext } = model;
  if (weightBytes === undefined || nativeContext === undefined) {
    return {
      problem: {
        reason: "DoesNotFit",
        message: "the model's weight bytes or context length are unknown: its size cannot be checked against the node",
      },
    };
  }
  const heads = model.shape?.attentionHeads;
  if (heads !== undefined && heads % gpu.count !== 0) {
    return {
      problem: {
        reason: "DoesNotFit",
        message: `the model's ${heads} attention heads cannot be divided over ${gpu.count} GPUs: use a node type whose GPU count divides ${heads}`,
      },
    };
  }
  if (wantedContext !== undefined && wantedContext > nativeContext) {
    return {
      problem: {
        reason: "ContextTooLong",
        message: `spec.contextLength is ${wantedContext}, the model was made for ${nativeContext}: set it to ${nativeContext} or less`,
      },
    };
  }
  const kvBudgetBytes = kvBudget(gpu, weightBytes);
  if (kvBudgetBytes <= 0) return { problem: tooHeavy(gpu, weightBytes) };
  return contextWithin(model, gpu, { kvBudgetBytes, nativeContext, wantedContext });
}

function contextWithin(
  model: ModelFacts,
  gpu: GpuShape,
  {
    kvBudgetBytes,
    nativeContext,
    wantedContext,
  }: { kvBudgetBytes: number; nativeContext: number; wantedContext: number | undefined },
): Fit {
  const perToken = kvBytesPerTokenPerGpu(model, gpu.count);
  if (perToken === undefined)
    return {
      problem: {
        reason: "DoesNotFit",
        message: "the model's KV cache per token is unknown: its context cannot be checked against the node",
      },
    };
  if (perToken === 0)
    return { capacity: { contextLength: wantedContext ?? nativeContext, kvCacheTokens: 0, maxConcurrency: 0 } };
  const kvCacheTokens = Math.floor(kvBudgetBytes / perToken / BLOCK_TOKENS) * BLOCK_TOKENS;
  const contextLength = wantedContext ?? Math.min(nativeContext, kvCacheTokens);
  if (kvCacheTokens < BLOCK_TOKENS) {
    const message = `${BLOCK_TOKENS} tokens need ${bytesText(BLOCK_TOKENS * perToken)} of KV cache per GPU, ${bytesText(kvBudgetBytes)} are left beside the weights: use a larger node type`;
    return { problem: { reason: "DoesNotFit", message } };
  }
  if (contextLength > kvCacheTokens) {
    return {
      problem: {
        reason: "DoesNotFit",
        message: `one request of ${contextLength} tokens needs ${bytesText(contextLength * perToken)} of KV cache per GPU, ${bytesText(kvBudgetBytes)} are left beside the weights: set spec.contextLength to ${kvCacheTokens} or less, or use a larger node type`,
      },
    };
  }
  return { capacity: { contextLength, kvCacheTokens, maxConcurrency: Math.floor(kvCacheTokens / contextLength) } };
}

/** vLLM's default KV block. */
const BLOCK_TOKENS = 16;

/** KV heads are replicated where tensor parallelism exceeds their number (vLLM: max(1, kv_heads // TP) per GPU). */
function kvBytesPerTokenPerGpu(model: ModelFacts, gpuCount: number): number | undefined {
  const { kvBytesPerToken, shape } = model;
  if (kvBytesPerToken === undefined) return undefined;
  const heads = shape?.keyValueHeads;
  if (heads === undefined || heads === 0) return kvBytesPerToken;
  return Math.ceil((kvBytesPerToken / heads) * Math.max(1, Math.floor(heads / gpuCount)));
}

function kvBudget(gpu: GpuShape, weightBytes: number): number {
  const memoryBytes = wholeQuantity(gpu.memory) ?? 0;
  return (
    Math.floor(memoryBytes * GPU_MEMORY_UTILIZATION) - Math.ceil(weightBytes / gpu.count) - reserveBytes(memoryBytes)
  );
}

/** Activations, CUDA graphs, NCCL and the sampler's warm-up: cards of 70 GiB and more default to 1,024 sequences and keep more. */
function reserveBytes(memoryBytes: number): number {
  const GiB = 2 ** 30;
  return memoryBytes >= 70 * GiB ? 6 * GiB : 3 * GiB;
}

function tooHeavy(gpu: GpuShape, weightBytes: number): Problem {
  const memoryBytes = wholeQuantity(gpu.memory) ?? 0;
  const usable = Math.max(0, Math.floor(memoryBytes * GPU_MEMORY_UTILIZATION) - reserveBytes(memoryBytes)) * gpu.count;
  return {
    reason: "DoesNotFit",
    message: `the model needs ${bytesText(weightBytes)} for its weights, ${gpu.count} × ${gpu.memory} (${gpu.product}) gives ${bytesText(usable)}: use a larger node type`,
  };
}
