/** Sizing's messages: each with the numbers that bind. Bytes in decimal gigabytes, as GPUs and checkpoints are sold. */
import type { GpuShape } from "../../api/nodetype.ts";
import type { Problem } from "../plan.ts";
import type { TwoEstimates } from "./capacity.ts";

/** 141.1 GB; what is less than a tenth of one as 35.8 MB */
export function gigabytes(bytes: number): string {
  const size = Math.max(0, bytes);
  return size > 0 && size < 1e8 ? `${(size / 1e6).toFixed(1)} MB` : `${(size / 1e9).toFixed(1)} GB`;
}

/** What to do instead, where the caller knows the platform's node types; else the general advice. */
export interface Instead {
  /** "use node type h100-1 or h100-2" */
  readonly instead?: string;
}

const larger = ({ instead }: Instead, nodes: number | undefined): string =>
  instead ?? `use a larger node type${nodesText(nodes)}`;

/** Not even one block fits. */
export const noBlock = (leftBytes: number, tokens: number, options: Instead): string =>
  `${gigabytes(leftBytes)} of each GPU are left for the KV cache beside the weights, too little for even ${String(tokens)} tokens: ${larger(options, undefined)}`;

/** The wanted context is longer than what fits. */
export function tooLong(
  { safe }: TwoEstimates,
  lengths: { readonly wanted: number; readonly longest: number },
  nodes: number | undefined,
  options: Instead,
): string {
  const share = safe.concurrency(lengths.wanted);
  const needs = share > 0 ? ` needs ${gigabytes(safe.cacheBytes / share)} of KV cache on each GPU,` : " does not fit:";
  return `one request of ${String(lengths.wanted)} tokens${needs} ${gigabytes(safe.cacheBytes)} are left beside ${gigabytes(safe.weightBytes)} of weights: set spec.contextLength to ${String(lengths.longest)} or less, or ${larger(options, nodes)}`;
}

/** What several nodes would do: reported only, since a replica runs on one. */
const nodesText = (nodes: number | undefined): string =>
  nodes === undefined ? "" : ` (it needs ${String(nodes)} such nodes in a pipeline, and a replica runs on one)`;

/** "needs 141.1 GB of weights, 1 × 80Gi (NVIDIA H100) gives 72.0 GB": what the weights may take is the budget without the reserve. */
export function tooHeavy(
  gpu: GpuShape,
  { budgetBytes, safe }: TwoEstimates,
  peakBytes: number,
  nodes: number | undefined,
  options: Instead,
): Problem {
  const peak = peakBytes > budgetBytes;
  const needs = (peak ? peakBytes : safe.weightBytes) * gpu.count;
  const gives = peak ? budgetBytes : safe.cacheBytes + safe.weightBytes;
  const why = peak ? " while they are quantized at load" : "";
  return {
    reason: "DoesNotFit",
    message: `the model needs ${gigabytes(needs)} of weights${why}, ${String(gpu.count)} × ${gpu.memory} (${gpu.product}) gives ${gigabytes(gives * gpu.count)}: ${larger(options, nodes)}`,
  };
}
