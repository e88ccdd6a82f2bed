/** What the promised context was computed with, and whether a user's arguments stay within it. */
import { captureSizes } from "../sizing/reserve.ts";
import type { Plain } from "./words.ts";

/** A user's number may be smaller; nothing is known before the model is. */
export interface Planned {
  readonly maxSequences?: number;
  readonly maxBatchedTokens?: number;
  /** Tokens that one step must be able to take: the context of a model that answers with vectors or scores. */
  readonly leastBatchedTokens?: number;
}

type Values = ReadonlyMap<string, Plain>;

/** The sentence about the first flag that exceeds the plan: a conflict, not a forbidden value. */
export function beyondPlan(values: Values, planned: Planned): string | undefined {
  for (const [flag, value] of values) {
    const most = mostOf(flag, planned);
    if (most !== undefined && Number(value) > most)
      return `${flag} is ${String(value)}, but the memory was planned for ${String(most)}: set ${String(most)} or less, or a smaller spec.contextLength on a larger node type`;
  }
  return batchProblem(values, planned) ?? captureProblem(values, planned);
}

function mostOf(flag: string, { maxSequences, maxBatchedTokens }: Planned): number | undefined {
  if (flag === "--max-num-seqs") return maxSequences;
  return flag === "--max-num-batched-tokens" || flag === "--max-num-scheduled-tokens" ? maxBatchedTokens : undefined;
}

/** vLLM does not start with a batch below the number of sequences (config/scheduler.py), nor a pooling model below its context. */
function batchProblem(values: Values, planned: Planned): string | undefined {
  const own = values.get("--max-num-batched-tokens");
  const batch = own === undefined ? planned.maxBatchedTokens : Number(own);
  const sequences = Number(values.get("--max-num-seqs") ?? planned.maxSequences ?? 0);
  if (batch === undefined) return undefined;
  if (batch < sequences)
    return `--max-num-batched-tokens is ${String(batch)}, less than the ${String(sequences)} requests at once of --max-num-seqs, with which vLLM does not start: lower --max-num-seqs, too`;
  const { leastBatchedTokens: least } = planned;
  return own !== undefined && least !== undefined && batch < least
    ? `--max-num-batched-tokens is ${String(batch)}, and a model without answers in text takes its whole input in one step: set ${String(least)} or more, or a smaller spec.contextLength`
    : undefined;
}

/** Each size that is captured takes memory of its own (docs/sizing.md). */
function captureProblem(values: Values, planned: Planned): string | undefined {
  const sizes = values.get("--cudagraph-capture-sizes") ?? inConfig(values.get("--compilation-config"));
  const { maxSequences: maxNumSeqs, maxBatchedTokens: maxNumBatchedTokens } = planned;
  if (!Array.isArray(sizes) || maxNumSeqs === undefined || maxNumBatchedTokens === undefined) return undefined;
  const most = captureSizes({ maxNumSeqs, maxNumBatchedTokens }, 512);
  return sizes.length > most
    ? `${String(sizes.length)} sizes of CUDA graphs are named, but the memory was planned for ${String(most)}: name fewer`
    : undefined;
}

function inConfig(config: Plain | undefined): Plain | undefined {
  if (typeof config !== "object" || config === null || Array.isArray(config)) return undefined;
  return (config as Readonly<Record<string, Plain>>)["cudagraph_capture_sizes"];
}
