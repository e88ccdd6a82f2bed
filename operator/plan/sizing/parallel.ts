/** Whether a model can be divided over the GPUs of a node: the engine's own checks, in words. */
import type { ModelFacts } from "./facts.ts";

export interface Division {
  /** --enable-expert-parallel: whole experts on each GPU, because their width cannot be divided. */
  readonly expertParallel: boolean;
}

export interface Indivisible {
  readonly reason: string;
  readonly remedy: string;
}

/** How `gpuCount` GPUs share the model by tensor parallelism, or why they cannot. */
export function divisionOf({ shape, cache }: ModelFacts, gpuCount: number): Division | Indivisible {
  if (!shape || gpuCount === 1) return { expertParallel: false };
  const { attentionHeads: heads, keyValueHeads, experts, headSize } = shape;
  // config/model.py verify_with_parallel_config; the feed-forward's check is layers/utils divide().
  if (heads !== undefined && heads % gpuCount !== 0) return cannot(`${String(heads)} attention heads`, heads, gpuCount);
  if (
    keyValueHeads !== undefined &&
    keyValueHeads > 0 &&
    keyValueHeads % gpuCount !== 0 &&
    gpuCount % keyValueHeads !== 0
  )
    return cannot(`${String(keyValueHeads)} key-value heads`, keyValueHeads, gpuCount);
  // mamba/mamba_mixer2.py: groups that the GPUs do not divide must be one, which each then has.
  const groups = cache?.find((run) => run.kind === "State")?.groups ?? 0;
  if (groups > 1 && groups % gpuCount !== 0) return cannot(`${String(groups)} groups of states`, groups, gpuCount);
  const step = shape.quantizationBlock ?? 1;
  // The output projection takes the heads of one GPU: whole blocks of a block-quantized matrix.
  const isLatent = cache?.some((run) => run.kind === "Latent") === true;
  if (heads !== undefined && headSize !== undefined && !isLatent && !divides(heads * headSize, gpuCount, step))
    return cannotWidth("attention width", heads * headSize, gpuCount, step);
  const dense = shape.intermediateSize;
  const isDense = experts === undefined || dense !== shape.expertSize;
  if (isDense && dense !== undefined && !divides(dense, gpuCount, step))
    return cannotWidth("feed-forward width", dense, gpuCount, step);
  if (experts === undefined || shape.expertSize === undefined || divides(shape.expertSize, gpuCount, step))
    return { expertParallel: false };
  return experts % gpuCount === 0
    ? { expertParallel: true }
    : cannotWidth("expert width", shape.expertSize, gpuCount, step);
}

const divides = (width: number, gpuCount: number, step: number): boolean =>
  width % gpuCount === 0 && (step === 1 || (width / gpuCount) % step === 0);

function cannot(what: string, value: number, gpuCount: number): Indivisible {
  return {
    reason: `the model's ${what} cannot be divided over ${String(gpuCount)} GPUs`,
    remedy: `use a node type whose GPU count divides ${String(value)}`,
  };
}

function cannotWidth(what: string, width: number, gpuCount: number, step: number): Indivisible {
  const blocks = step > 1 ? ` in blocks of ${String(step)}` : "";
  return {
    reason: `the model's ${what} of ${String(width)}${blocks} cannot be divided over ${String(gpuCount)} GPUs`,
    remedy: "use a node type with fewer GPUs",
  };
}
