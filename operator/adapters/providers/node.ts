/** What a Node says about itself. */
import type { Node } from "../../api/kubernetes.ts";
import { labels, taints } from "../../api/keys.ts";

interface Gpu {
  readonly count: number;
  readonly resourceName: string;
}

/** Whether the node is Ready with all its GPUs, and if not, why and since when. */
export interface NodeHealth {
  readonly ready: boolean;
  readonly problem?: string;
  /** Milliseconds since the epoch; undefined where the node itself is Ready. */
  readonly unreadySince?: number;
  /** Since when the node's Ready condition is as it is (RFC 3339). */
  readonly since: string;
}

/** A node is ready for us when it is Ready and its allocatable GPUs are the type's count. */
export function healthOf(node: Node, gpu: Gpu | undefined): NodeHealth {
  const condition = node.status?.conditions?.find(({ type }) => type === "Ready");
  const since = condition?.lastTransitionTime ?? node.metadata.creationTimestamp ?? "1970-01-01T00:00:00Z";
  if (condition?.status !== "True") {
    const problem = condition?.message || condition?.reason || "the kubelet has not reported yet";
    return { ready: false, problem, unreadySince: Date.parse(since), since };
  }
  const allocatable = gpu ? gpusOf(node, gpu) : 0;
  if (gpu && allocatable !== gpu.count) {
    const problem = `${allocatable} of ${gpu.count} ${gpu.resourceName} are allocatable`;
    return { ready: false, problem, since };
  }
  return { ready: true, since };
}

function gpusOf(node: Node, { resourceName }: Gpu): number {
  return Number(node.status?.allocatable?.[resourceName] ?? 0);
}

/** Label and both taints of the pool are on the node. */
export function isMarked(node: Node, poolUID: string): boolean {
  const effects = (node.spec?.taints ?? [])
    .filter((taint) => taint.key === taints.dedicated && taint.value === poolUID)
    .map((taint) => taint.effect);
  return (
    node.metadata.labels?.[labels.pool] === poolUID && effects.includes("NoSchedule") && effects.includes("NoExecute")
  );
}
