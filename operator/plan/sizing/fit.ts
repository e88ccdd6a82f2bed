/**
 * Does a model fit one node, with how much context? One answer for the plan of a deployment and for the node support matrix.
 * Tensor parallelism over all GPUs of the node; only the safe estimate decides.
 */
import type { GpuShape } from "../../api/nodetype.ts";
import type { Problem } from "../plan.ts";
import { capacityOf, type TwoEstimates } from "./capacity.ts";
import type { ModelFacts } from "./facts.ts";
import { gpuOf, type Settings } from "./gpu.ts";
import { divisionOf } from "./parallel.ts";
import { bitsProblem, isDeprecated } from "./quantize.ts";
import { nativeBits, peakAtLoad } from "./weights.ts";
import { releaseOf } from "./release.ts";
import { servedProblem } from "./served.ts";
import { noBlock, tooHeavy, tooLong, type Instead } from "./fitwords.ts";

export { GPU_MEMORY_UTILIZATION } from "./capacity.ts";
export type { ModelFacts } from "./facts.ts";

export interface Capacity {
  /** Tokens of prompt and answer together that one request may use. */
  readonly contextLength: number;
  /** Tokens that fit into the KV cache of one replica; 0 where the model keeps none. */
  readonly kvCacheTokens: number;
  /** Full-length requests at once; 0 where the model keeps no cache. */
  readonly maxConcurrency: number;
}

/** What the engine must be told so that the capacity becomes true. */
export interface EngineSettings extends Settings {
  /** Bits of the matrices; below `nativeBits` the engine quantizes at load. */
  readonly bits: number;
  readonly nativeBits: number;
  readonly tensorParallel: number;
  readonly expertParallel: boolean;
  /** Whether the engine must be told to take the checkpoint's quantization. */
  readonly deprecatedQuantization: boolean;
  /** Whether sequences or batch were lowered below the engine's defaults to make the context fit. */
  readonly lowered: boolean;
}

/** What a user's own arguments change of what the engine takes. */
export interface EngineWishes {
  /** 1 for --kv-cache-dtype fp8. */
  readonly cacheElementBytes?: 1 | 2;
  readonly enforceEager?: boolean;
}

export interface FitOptions extends Instead {
  /** spec.quantization.bits; the checkpoint's own where absent. */
  readonly bits?: number;
  readonly engineVersion?: string;
  readonly engine?: EngineWishes;
}

export type Fit =
  | { readonly capacity: Capacity; readonly engine: EngineSettings; readonly estimates: TwoEstimates }
  | { readonly problem: Problem };

/** Fewer sequences and smaller batches than the engine's defaults, tried in this order: each leaves more to the cache. */
const lowerSettings: readonly Settings[] = [
  { maxNumSeqs: 256, maxNumBatchedTokens: 4096 },
  { maxNumSeqs: 256, maxNumBatchedTokens: 2048 },
  { maxNumSeqs: 64, maxNumBatchedTokens: 2048 },
  { maxNumSeqs: 16, maxNumBatchedTokens: 1024 },
];

const refused = (reason: Problem["reason"], message: string): { problem: Problem } => ({
  problem: { reason, message },
});

/** Model facts in; the largest safe context out, or the first thing that does not fit, with numbers. */
export function fitOneNode(
  model: ModelFacts,
  gpu: GpuShape,
  wantedContext: number | undefined,
  options: FitOptions = {},
): Fit {
  if (model.weightBytes === undefined || model.contextLength === undefined)
    return refused(
      "DoesNotFit",
      "the model's weight bytes or context length are unknown: its size cannot be checked against the node",
    );
  const unserved = servedProblem(model.architecture, releaseOf(options.engineVersion));
  if (unserved !== undefined) return refused("ArchitectureUnsupported", unserved);
  const division = divisionOf(model, gpu.count);
  if ("reason" in division) return refused("DoesNotFit", `${division.reason}: ${options.instead ?? division.remedy}`);
  const native = nativeBits(model);
  const bits = options.bits ?? native;
  const unfit = bitsProblem(model, gpuOf(gpu), bits, releaseOf(options.engineVersion));
  if (unfit !== undefined)
    return refused(
      "DoesNotFit",
      `${String(bits)} bits on ${gpu.product}: ${unfit}${options.instead === undefined ? "" : `: ${options.instead}`}`,
    );
  if (wantedContext !== undefined && wantedContext > model.contextLength)
    return refused(
      "ContextTooLong",
      `spec.contextLength is ${String(wantedContext)}, the model was made for ${String(model.contextLength)}: set it to ${String(model.contextLength)} or less`,
    );
  const wanted = wantedContext ?? model.contextLength;
  const best = bestSettings(model, gpu, wanted, { ...options, bits });
  if (!best)
    return refused(
      "DoesNotFit",
      "the model's KV cache per token is unknown: its context cannot be checked against the node",
    );
  return answer({ model, gpu, best, wantedContext, engine: { bits, nativeBits: native, ...division }, options });
}

interface Best {
  readonly estimates: TwoEstimates;
  readonly longest: number;
  readonly lowered: boolean;
}

/** The engine's defaults where the wanted context fits with them, else the first lower step where it does, else the one that fits most. */
function bestSettings(
  facts: ModelFacts,
  gpu: GpuShape,
  wanted: number,
  options: FitOptions & { bits: number },
): Best | undefined {
  const { bits, engineVersion } = options;
  const common = {
    facts,
    gpu,
    tensorParallel: gpu.count,
    bits,
    ...options.engine,
    ...(engineVersion === undefined ? {} : { engineVersion }),
  };
  const first = capacityOf(common);
  if (!first) return undefined;
  let best: Best = { estimates: first, longest: longestOf(first, wanted), lowered: false };
  for (const settings of lowerSettings) {
    if (best.longest >= wanted) return best;
    if (
      settings.maxNumSeqs > first.settings.maxNumSeqs ||
      settings.maxNumBatchedTokens > first.settings.maxNumBatchedTokens
    )
      continue;
    const estimates = capacityOf({ ...common, settings });
    const longest = estimates ? longestOf(estimates, wanted) : 0;
    if (estimates && (longest > best.longest || estimates.safe.cacheBytes > 0 !== best.estimates.safe.cacheBytes > 0))
      best = { estimates, longest, lowered: true };
  }
  return best;
}

/**
 * Nothing where the engine may not start with so many sequences: half of the blocks, since what a hybrid's graphs take is known least
 * (939 and 556 blocks were left on an RTX PRO 6000 where 1,094 and 678 were expected; docs/sizing.md).
 */
const longestOf = ({ settings, safe }: TwoEstimates, wanted: number): number =>
  settings.maxNumSeqs > safe.mostSequences / 2 ? 0 : safe.longest(wanted);

interface Answer {
  readonly model: ModelFacts;
  readonly gpu: GpuShape;
  readonly best: Best;
  readonly wantedContext: number | undefined;
  readonly engine: { readonly bits: number; readonly nativeBits: number; readonly expertParallel: boolean };
  readonly options: FitOptions;
}

/** Least context that is worth a node, in tokens: one block. */
const LEAST_CONTEXT = 16;

/** More nodes than this are not counted: an engine of so many stages spends its time waiting. */
const MOST_NODES = 16;

/**
 * Nodes of this type that would serve `context` tokens as the stages of a pipeline (--pipeline-parallel-size), tensor parallel
 * inside each, with the smallest settings; undefined where even sixteen do not, or the model has too few layers.
 */
function nodesNeeded(
  facts: ModelFacts,
  gpu: GpuShape,
  context: number,
  { bits, engineVersion, engine, alone }: FitOptions & { readonly alone: TwoEstimates },
): number | undefined {
  // No stage holds less than its share of what one node would hold.
  const least = Math.ceil(alone.expected.weightBytes / alone.budgetBytes);
  const most = Math.min(MOST_NODES, facts.shape?.layers ?? 1);
  for (let nodes = Math.max(2, least); nodes <= most; nodes += 1) {
    const estimates = capacityOf({
      facts,
      gpu,
      tensorParallel: gpu.count,
      pipelineParallel: nodes,
      ...engine,
      ...(bits === undefined ? {} : { bits }),
      ...(engineVersion === undefined ? {} : { engineVersion }),
      settings: { maxNumSeqs: 16, maxNumBatchedTokens: 1024 },
    });
    if (estimates && estimates.safe.cacheBytes >= 0 && estimates.safe.longest(context) >= context) return nodes;
  }
  return undefined;
}

function answer({ model, gpu, best, wantedContext, engine, options }: Answer): Fit {
  const { estimates, longest, lowered } = best;
  const { safe } = estimates;
  const peak = peakAtLoad(model, { tensor: gpu.count, pipeline: 1 }, engine.bits, releaseOf(options.engineVersion));
  if (safe.cacheBytes < 0 || peak > estimates.budgetBytes)
    return {
      problem: tooHeavy(
        gpu,
        estimates,
        peak,
        nodesNeeded(model, gpu, LEAST_CONTEXT, { ...options, bits: engine.bits, alone: estimates }),
        options,
      ),
    };
  const isCached = safe.concurrency(1) !== Infinity;
  if (longest < Math.min(LEAST_CONTEXT, wantedContext ?? LEAST_CONTEXT))
    return refused("DoesNotFit", noBlock(safe.cacheBytes, LEAST_CONTEXT, options));
  if (wantedContext !== undefined && longest < wantedContext) {
    const nodes = nodesNeeded(model, gpu, wantedContext, { ...options, bits: engine.bits, alone: estimates });
    return refused("DoesNotFit", tooLong(estimates, { wanted: wantedContext, longest }, nodes, options));
  }
  const contextLength = wantedContext ?? longest;
  const concurrency = isCached ? Math.floor(safe.concurrency(contextLength)) : 0;
  const tokens = isCached ? Math.floor(safe.concurrency(contextLength) * contextLength) : 0;
  const kvCacheTokens = Math.max(concurrency * contextLength, tokens - (tokens % 16));
  return {
    capacity: { contextLength, kvCacheTokens, maxConcurrency: concurrency },
    engine: {
      ...estimates.settings,
      ...engine,
      tensorParallel: gpu.count,
      deprecatedQuantization: isDeprecated(model),
      lowered,
    },
    estimates,
  };
}
