/** Last proof of life of a node: the Lease that its kubelet renews, or what the claim's record knows. */
import type { CapacityClaim } from "../../../api/capacityclaim.ts";
import type { Evidence, KubeReader } from "../../../ports.ts";
import { leases } from "../../../runtime/leases.ts";

const LEASE_NAMESPACE = "kube-node-lease";

/** Reads the node's Lease: one request, made only when a node died or vanished. */
export async function proofOfLife(
  reader: KubeReader,
  node: { readonly name: string; readonly uid: string },
  claim: CapacityClaim | undefined,
): Promise<Evidence | undefined> {
  const lease = await reader.read(leases, LEASE_NAMESPACE, node.name);
  const owner = lease?.metadata.ownerReferences?.[0]?.uid;
  // A node of the same name may have come since.
  const renewed = owner === undefined || owner === node.uid ? lease?.spec?.renewTime : undefined;
  const { lastSeenAt, readyAt, claimedAt } = claim?.status ?? {};
  const recorded = [lastSeenAt, readyAt?.time, claimedAt?.time]
    .filter((time) => time !== undefined)
    .sort(byTime)
    .at(-1);
  if (renewed !== undefined && (recorded === undefined || byTime(renewed, recorded) >= 0)) {
    return { time: toSeconds(renewed), evidence: `Lease/${node.name} spec.renewTime`, estimated: true };
  }
  if (recorded === undefined) return undefined;
  return {
    time: recorded,
    evidence: `CapacityClaim/${claim?.metadata.name} last recorded sign of life`,
    estimated: true,
  };
}

function byTime(a: string, b: string): number {
  return Date.parse(a) - Date.parse(b);
}

/** Leases carry microseconds, claims seconds. */
function toSeconds(time: string): string {
  return time.replace(/\.\d+Z$/, "Z");
}
