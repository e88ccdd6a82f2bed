/** Which nodes of the platform belong to a pool, read from the Node objects and the claims on record. */
import type { CapacityClaim } from "../../../api/capacityclaim.ts";
import { fieldManagers, labels } from "../../../api/keys.ts";
import type { Node } from "../../../api/kubernetes.ts";
import { claimTimesOf, lastClaimOf, staticClaimName } from "../../../api/lastclaim.ts";
import type { ClaimTimes, LastClaim } from "../../../api/lastclaim.ts";
import type { CapacityQuery, CapacityUnit, Evidence } from "../../../ports.ts";
import { healthOf, isMarked, provenReady } from "../node.ts";

/**
 * The unit of one open claim. `node` is the Node with the claim's UID, undefined when it is gone. Evidence of claim and
 * release is the time of field manager `berth-claim` in managedFields, whose patches do nothing but these two.
 */
export function unitOfClaim(claim: CapacityClaim, node: Node | undefined, query: CapacityQuery): CapacityUnit {
  const base = {
    claimName: claim.metadata.name,
    ref: claim.spec.providerRef,
    ready: false,
    damaged: false,
    residue: false,
  };
  const kept = claimTimesOf(claim);
  if (kept?.claimedAt && kept.releasedAt) return { ...base, state: "ended", ...kept };
  const began = claim.status?.claimedAt;
  if (!node) return { ...base, state: "ended", ...(began && { claimedAt: began }) };
  const last = lastClaimOf(node);
  const nodeName = node.metadata.name;
  if (last?.claim === base.claimName && !last.held) return released(node, base, claim.status);
  if (last?.claim === base.claimName || (began && (last?.sequence ?? 0) <= sequence(claim))) {
    return { ...base, ...held(claim, node, query), damaged: !last?.held || !isMarked(node, query.poolUID) };
  }
  if (began) return { ...base, state: "ended", nodeName, claimedAt: began };
  return { ...base, state: "intended", nodeName, object: node };
}

function sequence(claim: CapacityClaim): number {
  return Number(claim.metadata.name.slice(claim.spec.providerRef.uid.length + 1)) || 0;
}

/** What is on record goes before what the node repeats; the end is the patch's own time, unless the node was dead by then. */
function released(
  node: Node,
  base: Pick<CapacityUnit, "claimName" | "ref" | "ready" | "damaged" | "residue">,
  recorded: ClaimTimes | undefined,
): CapacityUnit {
  const kept = lastClaimOf(node)?.times;
  const end = kept?.releasedAt ?? patchTime(node);
  const claimedAt = recorded?.claimedAt ?? kept?.claimedAt;
  const readyAt = recorded?.readyAt ?? kept?.readyAt;
  return {
    ...base,
    state: "ended",
    nodeName: node.metadata.name,
    ...(claimedAt && { claimedAt }),
    ...(readyAt && { readyAt }),
    ...(end && { releasedAt: end }),
    object: node,
  };
}

/** A node that the pool gave back and whose claim nobody has on record any more: it was removed by force, or is sealed. */
export function unitOfForgotten(node: Node): CapacityUnit | undefined {
  const last = lastClaimOf(node);
  if (!last || last.held || !last.times?.claimedAt) return undefined;
  const { name, uid = "" } = node.metadata;
  const ref = { provider: "static", kind: "Node", name, uid } as const;
  return released(node, { claimName: last.claim, ref, ready: false, damaged: false, residue: false }, undefined);
}

function held(
  claim: CapacityClaim | undefined,
  node: Node,
  query: CapacityQuery,
): Pick<
  CapacityUnit,
  "state" | "nodeName" | "claimedAt" | "readyAt" | "ready" | "problem" | "unreadySince" | "object"
> {
  const health = healthOf(node, query.template?.gpu);
  const claimedAt = claim?.status?.claimedAt ?? began(node, lastClaimOf(node)) ?? fallback(claim);
  // Without any proof it begins with its record, which is made next: never earlier than can be shown.
  if (!claimedAt) return { state: "held", nodeName: node.metadata.name, ready: health.ready, object: node };
  const readyAt =
    claim?.status?.readyAt ?? readyWhenClaimed(claimedAt) ?? provenReady(node, query.template?.gpu, claimedAt);
  return {
    state: "held",
    nodeName: node.metadata.name,
    claimedAt,
    ...(readyAt && { readyAt }),
    ready: health.ready,
    ...(health.problem !== undefined && { problem: health.problem }),
    ...(health.unreadySince !== undefined && {
      unreadySince: Math.max(health.unreadySince, Date.parse(claimedAt.time)),
    }),
    object: node,
  };
}

/**
 * Only a node that is Ready with all its GPUs is claimed (isCandidate), and the patch names the version of the Node that says so: at its
 * instant both held, whatever the node says by now. That is not known of an instant that is estimated.
 */
function readyWhenClaimed({ time, evidence, estimated }: Evidence): Evidence | undefined {
  return estimated ? undefined : { time, evidence: `${evidence}: Ready with all GPUs when claimed` };
}

/** A node that carries the pool's label though no open claim says so. */
export function unitOfLabel(node: Node, query: CapacityQuery, ended: ReadonlySet<string>): CapacityUnit {
  const last = lastClaimOf(node);
  const { name, uid = "" } = node.metadata;
  const ref = { provider: "static", kind: "Node", name, uid } as const;
  const base = { ref, ready: false, damaged: false, residue: false } as const;
  if (last?.held && last.pool === query.poolUID && !ended.has(last.claim)) {
    return { ...base, claimName: last.claim, ...held(undefined, node, query), damaged: !isMarked(node, query.poolUID) };
  }
  // Its claim is over (the node was given up), or the label was put there by hand.
  const claimName = last?.claim ?? staticClaimName(uid, 0);
  return { ...base, claimName, state: "ended", residue: true, nodeName: name, object: node };
}

export function labelledPool(node: Node): string | undefined {
  return node.metadata.labels?.[labels.pool];
}

/** Instant of the last patch of `berth-claim`: the claim's while the node is held, else the release's. */
function patchTime(node: Node): Evidence | undefined {
  const entry = node.metadata.managedFields?.find(
    // Not by way of a subresource: whoever writes a node's status may call itself what it likes.
    ({ manager, operation, subresource }) => manager === fieldManagers.claim && operation === "Update" && !subresource,
  );
  const evidence = `Node/${node.metadata.name} managedFields[${fieldManagers.claim}].time`;
  return entry?.time === undefined ? undefined : { time: entry.time, evidence };
}

/** The claim's instant: servers' clocks may differ, so it begins no earlier than the node's claim before it ended. */
function began(node: Node, last: LastClaim | undefined): Evidence | undefined {
  const patched = patchTime(node);
  const end = last?.notBefore;
  if (!patched || end === undefined || Date.parse(end) <= Date.parse(patched.time)) return patched;
  return { time: end, evidence: `Node/${node.metadata.name} end of the claim before` };
}

/** managedFields were cleared by hand: the record's own creation came just before the claim, or long after it. */
function fallback(claim: CapacityClaim | undefined): Evidence | undefined {
  const { creationTimestamp: time } = claim?.metadata ?? {};
  if (!time) return undefined;
  return { time, evidence: `CapacityClaim/${claim?.metadata.name} creationTimestamp`, estimated: true };
}

/** When the node was given back last, which its next claim may not begin before. */
export function releaseTime(node: Node): string | undefined {
  const last = lastClaimOf(node);
  return last && !last.held ? (patchTime(node)?.time ?? last.notBefore) : undefined;
}
