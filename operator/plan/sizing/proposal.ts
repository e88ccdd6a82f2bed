/** What to take instead of a node type that cannot serve: those of the platform that can, the cheapest first, and fewer bits. */
import type { NodeType } from "../../api/nodetype.ts";
import { wholeQuantity } from "../quantity.ts";
import { fitOneNode, type FitOptions, type ModelFacts } from "./fit.ts";
import { nativeBits } from "./weights.ts";

export interface Wanted extends Pick<FitOptions, "bits" | "engineVersion"> {
  /** Tokens that one request must be able to use; the model's own, cut to what fits, where absent. */
  readonly contextLength?: number | undefined;
}

/** Enabled node types that serve what is wanted, the cheapest first. */
export function nodeTypesFor(model: ModelFacts, nodeTypes: readonly NodeType[], wanted: Wanted): NodeType[] {
  return nodeTypes
    .filter(({ spec }) => !spec.disabled && "capacity" in fitOneNode(model, spec.gpu, wanted.contextLength, wanted))
    .toSorted(byCost);
}

/** Cheaper by price where both have one in the same currency, else less GPU memory in all; then the name. */
export function byCost(a: NodeType, b: NodeType): number {
  return byPriceOrMemory(a, b) || (a.metadata.name < b.metadata.name ? -1 : 1);
}

export function byPriceOrMemory({ spec: a }: NodeType, { spec: b }: NodeType): number {
  const isComparable = a.price && b.price && a.price.currency === b.price.currency;
  const byPrice = isComparable ? Number(a.price?.perHour) - Number(b.price?.perHour) : 0;
  return byPrice || memoryOf(a) - memoryOf(b);
}

const memoryOf = ({ gpu }: NodeType["spec"]): number => (wholeQuantity(gpu.memory) ?? 0) * gpu.count;

/** More names than these help nobody. */
const MOST_NAMES = 3;

/**
 * "set spec.quantization.bits to 8, or use node type l40s-1 or h100-1": advice for a model that `present` cannot serve as
 * wanted. Fewer bits are proposed where the present type serves them and nobody has asked for some.
 */
export function insteadOf(
  present: NodeType | undefined,
  model: ModelFacts,
  nodeTypes: readonly NodeType[],
  wanted: Wanted,
): string {
  const names = nodeTypesFor(model, nodeTypes, wanted)
    .map(({ metadata }) => metadata.name)
    .filter((name) => name !== present?.metadata.name);
  const advice = [
    ...(present && canQuantize(present, model, wanted) ? ["set spec.quantization.bits to 8"] : []),
    ...(names.length > 0 ? [`use node type ${names.slice(0, MOST_NAMES).join(" or ")}`] : []),
  ];
  return advice.length > 0
    ? advice.join(", or ")
    : "no node type of the platform can: ask the platform for a larger one, or take a smaller model";
}

function canQuantize({ spec }: NodeType, model: ModelFacts, { bits, contextLength, engineVersion }: Wanted): boolean {
  if (bits !== undefined || nativeBits(model) !== 16) return false;
  const options = { bits: 8, ...(engineVersion === undefined ? {} : { engineVersion }) };
  return "capacity" in fitOneNode(model, spec.gpu, contextLength, options);
}
