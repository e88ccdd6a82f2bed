/** Names and keys of the cache indexes that the providers and the pool controller look things up by. */
import { slimEntry } from "./allocatable.ts";
import type { CapacityClaim } from "./capacityclaim.ts";
import type { GPUNodePool } from "./gpunodepool.ts";
import { nodePoolOf, NODEPOOL_LABEL } from "./karpenter.ts";
import type { CoreEvent, NodeClaim } from "./karpenter.ts";
import { labels, taints } from "./keys.ts";
import { lastClaimOf } from "./lastclaim.ts";
import type { Node, Pod } from "./kubernetes.ts";

/** Index by pool UID, in the caches of nodes, pods, claims, NodeClaims and Karpenter's events. */
export const BY_POOL = "pool";
/** Claims by the UID of their Node or NodeClaim. */
export const BY_HOLDER = "holder";
/** Nodes that nobody holds, under the key `yes`. */
export const BY_FREE = "free";

/** Free nodes by the UID of the pool that held them last. */
export const BY_LAST_POOL = "lastPool";

/** Nobody dedicated it, and it is none of Karpenter's. */
export function isFree(node: Node): boolean {
  const { labels: own = {} } = node.metadata;
  const dedicated = (node.spec?.taints ?? []).some((taint) => taint.key === taints.dedicated);
  return own[labels.pool] === undefined && own[NODEPOOL_LABEL] === undefined && !dedicated;
}

/** Pools of a static type that hold fewer nodes than they want, under `yes`: a node that becomes free concerns them all. */
export const BY_HUNGRY = "hungry";
/** Pools by the name of their NodeType. */
export const BY_NODE_TYPE = "nodeType";

export const poolIndexes = {
  [BY_HUNGRY]: ({ spec, status, metadata }: GPUNodePool) =>
    spec.template.provider.static && !metadata.deletionTimestamp && (status?.claimed ?? 0) < spec.size
      ? "yes"
      : undefined,
  [BY_NODE_TYPE]: (pool: GPUNodePool) => pool.spec.nodeType,
};
export const nodeIndexes = {
  [BY_POOL]: (node: Node) => node.metadata.labels?.[labels.pool],
  [BY_FREE]: (node: Node) => (isFree(node) ? "yes" : undefined),
  [BY_LAST_POOL]: (node: Node) => (isFree(node) ? lastClaimOf(node)?.pool : undefined),
};
export const podIndexes = { [BY_POOL]: (pod: Pod) => pod.metadata.labels?.[labels.poolUID] };
export const claimIndexes = {
  [BY_POOL]: (claim: CapacityClaim) => claim.spec.poolUID,
  [BY_HOLDER]: (claim: CapacityClaim) => claim.spec.providerRef.uid,
};
export const nodeClaimIndexes = { [BY_POOL]: (claim: NodeClaim) => claim.metadata.labels?.[labels.pool] };
export const eventIndexes = { [BY_POOL]: (event: CoreEvent) => nodePoolOf(event.involvedObject?.name ?? "") };

/** What the controllers read of a Node; images, capacity and addresses of 1,000 nodes would be most of the cache. */
export function slimNode(node: Node): Node {
  const { allocatable, conditions } = node.status ?? {};
  const ready = conditions?.filter(({ type }) => type === "Ready");
  const { managedFields, ...metadata } = node.metadata;
  return {
    ...node,
    metadata: managedFields ? { ...metadata, managedFields: managedFields.map(slimEntry) } : metadata,
    status: { ...(allocatable && { allocatable }), ...(ready && { conditions: ready }) },
  };
}
