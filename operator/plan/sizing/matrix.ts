/** The node support matrix of one model: every enabled node type at every number of bits, by the function that deployments are planned with. */
import type { NodeSupport } from "../../api/modelfacts.ts";
import type { NodeType } from "../../api/nodetype.ts";
import { fitOneNode, type FitOptions, type ModelFacts } from "./fit.ts";
import { MATRIX_BITS } from "./quantize.ts";

type QuantizationSupport = NodeSupport["quantizations"][number];

function supportAt(model: ModelFacts, { spec }: NodeType, bits: number, options: FitOptions): QuantizationSupport {
  const fit = fitOneNode(model, spec.gpu, undefined, { ...options, bits });
  if ("problem" in fit) return { bits, allowed: false, maxContextLength: 0, reason: fit.problem.message.slice(0, 512) };
  const { lowered, maxNumSeqs, maxNumBatchedTokens } = fit.engine;
  const reason = `with --max-num-seqs ${String(maxNumSeqs)} and --max-num-batched-tokens ${String(maxNumBatchedTokens)}`;
  return { bits, allowed: true, maxContextLength: fit.capacity.contextLength, ...(lowered ? { reason } : {}) };
}

/** Rows in the order of the node types' names; disabled types have none. */
export function nodeSupportOf(
  model: ModelFacts,
  nodeTypes: readonly NodeType[],
  options: FitOptions = {},
): NodeSupport[] {
  return nodeTypes
    .filter(({ spec }) => !spec.disabled)
    .toSorted((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1))
    .slice(0, 256)
    .map((type) => ({
      nodeType: type.metadata.name,
      quantizations: MATRIX_BITS.map((bits) => supportAt(model, type, bits, options)),
    }));
}
