/** What a Node says about itself. */
import { isOfStatus, ownsAllocatable } from "../../api/allocatable.ts";
import type { Node, ObjectCondition } from "../../api/kubernetes.ts";
import { labels, taints } from "../../api/keys.ts";
import type { Evidence } from "../../ports.ts";

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
  const condition = readyCondition(node);
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

/**
 * From when on it can be proven that a node which is ready now has been: no earlier than its Ready condition says, and no earlier than
 * the GPUs' number is proven to stand there. Later than the truth costs nobody but us.
 */
export function provenReady(node: Node, gpu: Gpu | undefined, claimedAt: Evidence): Evidence | undefined {
  const full = gpu && healthOf(node, gpu).ready ? fullSince(node, gpu) : undefined;
  if (!full) return undefined;
  const turned = said(readyCondition(node)?.lastTransitionTime, `${nameOf(node)} Ready`);
  const known = [claimedAt, ...turned, full];
  const { time, evidence } = known.reduce((a, b) => (Date.parse(b.time) > Date.parse(a.time) ? b : a));
  return { time, evidence: evidence.slice(0, longestEvidence) };
}

/** What a claim's status admits. */
const longestEvidence = 512;

/**
 * The API server keeps no time of one field, only of the last change of any field of a writer: a kubelet's moves with each of its
 * heartbeats. A field of the status that nobody owns stands as it was created. Once somebody cleared managedFields, no entry comes
 * again by itself; then the kubelet's own word counts, which reports its whole status at once.
 */
function fullSince(node: Node, { resourceName }: Gpu): Evidence | undefined {
  const entries = (node.metadata.managedFields ?? []).filter(isOfStatus);
  const written = entries
    .filter((entry) => ownsAllocatable(entry, resourceName))
    .flatMap(({ manager = "", time }) =>
      said(time, `${nameOf(node)} managedFields[${manager}].time of allocatable ${resourceName}`),
    )
    .sort((a, b) => Date.parse(a.time) - Date.parse(b.time));
  if (written.length > 0) return written.at(-1);
  const { creationTimestamp } = node.metadata;
  const [first] =
    entries.length > 0
      ? said(creationTimestamp, `${nameOf(node)} creationTimestamp with ${resourceName}`)
      : said(readyCondition(node)?.lastHeartbeatTime, `${nameOf(node)} condition Ready lastHeartbeatTime`);
  return first;
}

function readyCondition(node: Node): ObjectCondition | undefined {
  return node.status?.conditions?.find(({ type }) => type === "Ready");
}

function nameOf({ metadata }: Node): string {
  return `Node/${metadata.name}`;
}

function said(time: string | undefined, evidence: string): Evidence[] {
  return time ? [{ time, evidence }] : [];
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
