/** Sizing's messages: each with the numbers that bind. Bytes in decimal gigabytes, as GPUs and checkpoints are sold. */
import type { GpuShape } from "../../api/nodetype.ts";
import type { Problem } from "../plan.ts";
import type { TwoEstimates } from "./capacity.ts";

/** 141.1 GB */
export const gigabytes = (bytes: number): string => `${(Math.max(0, bytes) / 1e9).toFixed(1)} GB`;

export const cacheText = (bytes: number): string =>
  `${gigabytes(bytes)} of each GPU are left for the KV cache beside the weights, too little`;

/** What several nodes would do: reported only, since a replica runs on one. */
export const nodesText = (nodes: number | undefined): string =>
  nodes === undefined ? "" : ` (it needs ${String(nodes)} such nodes in a pipeline, and a replica runs on one)`;

/** "needs 141.1 GB of weights, 1 × 80Gi (NVIDIA H100) gives 72.0 GB": what the weights may take is the budget without the reserve. */
export function tooHeavy(
  gpu: GpuShape,
  { budgetBytes, safe }: TwoEstimates,
  peakBytes: number,
  nodes: number | undefined,
): Problem {
  const peak = peakBytes > budgetBytes;
  const needs = (peak ? peakBytes : safe.weightBytes) * gpu.count;
  const gives = peak ? budgetBytes : safe.cacheBytes + safe.weightBytes;
  const why = peak ? " while they are quantized at load" : "";
  return {
    reason: "DoesNotFit",
    message: `the model needs ${gigabytes(needs)} of weights${why}, ${String(gpu.count)} × ${gpu.memory} (${gpu.product}) gives ${gigabytes(gives * gpu.count)}: use a larger node type${nodesText(nodes)}`,
  };
}
