/** Nodes that Karpenter buys. */
import type { CapacityClaim } from "../../../api/capacityclaim.ts";
import type { CoreEvent, NodeClaim, NodePool } from "../../../api/karpenter.ts";
import type { Node } from "../../../api/kubernetes.ts";
import type {
  CapacityFacts,
  CapacityOrder,
  CapacityProvider,
  CapacityQuery,
  CapacityUnit,
  Store,
} from "../../../ports.ts";
import { BY_POOL } from "../../../api/poolindexes.ts";
import { obstacleOf } from "./obstacles.ts";
import { unitOfNodeClaim, unitOfVanished } from "./units.ts";

export interface KarpenterDeps {
  readonly nodes: Store<Node>;
  readonly claims: Store<CapacityClaim>;
  /** Those of ours (label `app.kubernetes.io/managed-by=berth`). */
  readonly nodePools: Store<NodePool>;
  /** Those of ours (label of the pool), with `nodeClaimIndexes`. */
  readonly nodeClaims: Store<NodeClaim>;
  /** Events about NodeClaims, with `eventIndexes`. */
  readonly events: Store<CoreEvent>;
  /** False where the cluster does not serve Karpenter's kinds. */
  readonly installed: () => boolean;
}

const NOT_INSTALLED =
  "Karpenter is not installed: the cluster serves no nodepools.karpenter.sh; install it, or use a node type with provider.static";

export function newKarpenterProvider(deps: KarpenterDeps): CapacityProvider {
  return {
    name: "karpenter",
    observe: (query) => Promise.resolve(observe(deps, query)),
    // Karpenter chooses and orders by itself; what stands in the way is among the facts.
    offers: () => Promise.resolve({ offers: [] }),
    settle: () => undefined,
  };
}

function observe(deps: KarpenterDeps, query: CapacityQuery): CapacityFacts {
  const nodePool = deps.nodePools.get(undefined, `berth-${query.poolUID}`);
  const nodeClaims = deps.nodeClaims.byIndex(BY_POOL, query.poolUID);
  const order = nodePool && orderOf(nodePool);
  const obstacle = deps.installed()
    ? obstacleOf(nodePool, nodeClaims, deps.events.byIndex(BY_POOL, query.poolUID), sinceOf(query))
    : ({ reason: "KarpenterNotInstalled", message: NOT_INSTALLED } as const);
  return {
    provider: "karpenter",
    units: unitsOf(deps, query, nodeClaims),
    ...(order && { order }),
    ...(obstacle && { obstacle }),
  };
}

function unitsOf(deps: KarpenterDeps, query: CapacityQuery, nodeClaims: readonly NodeClaim[]): readonly CapacityUnit[] {
  const present = new Set(nodeClaims.map((nodeClaim) => nodeClaim.metadata.uid));
  const vanished = deps.claims
    .byIndex(BY_POOL, query.poolUID)
    .filter((claim) => !claim.status?.releasedAt && !present.has(claim.metadata.name));
  const units = nodeClaims.map((nodeClaim) => {
    const node = deps.nodes.get(undefined, nodeClaim.status?.nodeName ?? "");
    return unitOfNodeClaim(nodeClaim, node, query, deps.claims.get(undefined, nodeClaim.metadata.uid ?? ""));
  });
  return [...units, ...vanished.map(unitOfVanished)];
}

function orderOf(nodePool: NodePool): CapacityOrder {
  const ready = nodePool.status?.conditions?.find(({ type }) => type === "Ready");
  const since = ready?.status === "True" ? Date.parse(ready.lastTransitionTime ?? "") : undefined;
  return {
    object: nodePool,
    replicas: nodePool.spec?.replicas ?? 0,
    leaving: nodePool.metadata.deletionTimestamp !== undefined,
    ...(since !== undefined && { actionableSince: since }),
  };
}

/** Event times are whole seconds of another machine's clock. */
function sinceOf({ sizeSince }: CapacityQuery): number {
  return sizeSince === undefined ? 0 : Date.parse(sizeSince) - 2_000;
}
