/** Status of a NodeType: stock and use, from the caches alone. Pure. */
import { findCondition, mergeConditions } from "../api/conditions.ts";
import type { WantedCondition } from "../api/conditions.ts";
import type { GPUNodePool } from "../api/gpunodepool.ts";
import type { NodeType, NodeTypeStatus } from "../api/nodetype.ts";
import type { NodeTypeReason } from "../api/reasons.ts";

export interface NodeTypeSnapshot {
  readonly now: number;
  readonly nodeType: NodeType;
  /** Pools made from it, whatever their pinned template says. */
  readonly pools: readonly GPUNodePool[];
  /** Static nodes of the type: all, and those that could be claimed now. Missing for Karpenter. */
  readonly nodes?: { readonly matching: number; readonly free: number };
  /** False where the type needs Karpenter and the cluster does not serve its kinds. */
  readonly providerInstalled: boolean;
}

/** Share of free nodes at and below which stock counts as low. */
const LOW_SHARE = 0.1;

export function nodeTypeStatus(seen: NodeTypeSnapshot): NodeTypeStatus {
  const { nodeType, pools, nodes, now } = seen;
  const generation = nodeType.metadata.generation ?? 0;
  const living = pools.filter(({ metadata }) => !metadata.deletionTimestamp);
  const [stock, why] = stockOf(seen);
  return {
    observedGeneration: generation,
    stock,
    pools: pools.length,
    desiredNodes: sum(living.map(({ spec }) => spec.size)),
    claimedNodes: sum(pools.map(({ status }) => status?.claimed ?? 0)),
    ...(nodes && { freeNodes: nodes.free }),
    conditions: mergeConditions(nodeType.status?.conditions, [ready(seen, stock, why)], { now, generation }),
  };
}

type Stock = NonNullable<NodeTypeStatus["stock"]>;

function stockOf(seen: NodeTypeSnapshot): readonly [Stock, string] {
  if (seen.nodes) return staticStock(seen.nodes);
  const said = seen.pools.map(({ status }) => findCondition(status?.conditions, "Ready"));
  const short = said.find((condition) => condition?.reason === "OutOfStock");
  if (short) return ["OutOfStock", short.message];
  if (said.some((condition) => condition?.status === "True")) return ["Available", "the last nodes ordered have come"];
  return ["Unknown", "Karpenter has not been asked for this type"];
}

function staticStock({
  matching,
  free,
}: {
  readonly matching: number;
  readonly free: number;
}): readonly [Stock, string] {
  const count = `${free} of ${matching} nodes are free`;
  if (free === 0)
    return ["OutOfStock", matching === 0 ? "no node carries the labels of provider.static.nodeSelector" : count];
  return [free <= Math.ceil(matching * LOW_SHARE) && free < matching ? "LowStock" : "Available", count];
}

function ready({ nodeType, pools, providerInstalled }: NodeTypeSnapshot, stock: Stock, why: string): WantedCondition {
  const say = (status: WantedCondition["status"], reason: NodeTypeReason, message: string): WantedCondition => ({
    type: "Ready",
    status,
    reason,
    message,
  });
  if (nodeType.metadata.deletionTimestamp) {
    return say("False", "InUse", `${pools.length} pools keep their pinned shape`);
  }
  if (!providerInstalled) return say("False", "KarpenterNotInstalled", "the cluster serves no nodepools.karpenter.sh");
  if (nodeType.spec.disabled) return say("False", "Disabled", "spec.disabled is true: no new node is given out");
  if (stock === "OutOfStock") return say("False", stock, why);
  return say(stock === "Unknown" ? "Unknown" : "True", stock, why);
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
