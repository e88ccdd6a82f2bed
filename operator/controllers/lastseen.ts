/** Last proof of life of a claim's node, from the caches alone: what the kubelet last said of itself. */
import type { CapacityClaim } from "../api/capacityclaim.ts";
import type { NodeClaim } from "../api/karpenter.ts";
import type { Node } from "../api/kubernetes.ts";
import type { Store } from "../ports.ts";

/** RFC 3339, by the kubelet's heartbeat on a Ready node; undefined where the node is not there or not Ready. */
export function proofOfLife(
  { spec }: CapacityClaim,
  stores: { readonly nodes: Store<Node>; readonly nodeClaims: Store<NodeClaim> },
): string | undefined {
  const { kind, name, uid } = spec.providerRef;
  const nodeName = kind === "Node" ? name : stores.nodeClaims.byUid(uid)?.status?.nodeName;
  const node = nodeName === undefined ? undefined : stores.nodes.get(undefined, nodeName);
  if (!node || (kind === "Node" && node.metadata.uid !== uid)) return undefined;
  const ready = node.status?.conditions?.find(({ type }) => type === "Ready");
  return ready?.status === "True" ? ready.lastHeartbeatTime : undefined;
}
