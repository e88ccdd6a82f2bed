/** Whether a claim's end may still turn out to lie in the past: then nothing that contains it may be sealed. */
import type { CapacityClaim } from "../api/capacityclaim.ts";
import type { Node } from "../api/kubernetes.ts";
import type { Store } from "../ports.ts";

/** Beyond the node-lost time somebody has decided, or never will; sealing must not wait for ever. */
const slackMs = 120_000;

/**
 * True for an open claim on a static node that is silent: past the node-lost time the claim ends at the node's last Lease
 * renewal, which may be before an hour's end that lies behind us. Karpenter's claims end when Karpenter says, never in the past.
 */
export function isUndecided(
  { spec, status }: CapacityClaim,
  { nodes, now, nodeLostMs }: { readonly nodes: Store<Node>; readonly now: number; readonly nodeLostMs: number },
): boolean {
  if (spec.providerRef.provider !== "static" || status?.releasedAt || !status?.claimedAt) return false;
  const node = nodes.get(undefined, spec.providerRef.name);
  const ready = node?.status?.conditions?.find(({ type }) => type === "Ready");
  if (!ready || ready.status === "True") return false;
  return now - Date.parse(ready.lastTransitionTime ?? "") < nodeLostMs + slackMs;
}
