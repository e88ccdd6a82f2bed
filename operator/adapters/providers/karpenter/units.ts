/** Which NodeClaims of Karpenter belong to a pool, and when each began and ended. */
import type { CapacityClaim } from "../../../api/capacityclaim.ts";
import type { NodeClaim } from "../../../api/karpenter.ts";
import { finalizers } from "../../../api/keys.ts";
import { claimTimesOf } from "../../../api/lastclaim.ts";
import type { ClaimTimes } from "../../../api/lastclaim.ts";
import type { Node, ObjectCondition } from "../../../api/kubernetes.ts";
import type { CapacityQuery, CapacityUnit, Evidence } from "../../../ports.ts";
import { healthOf, provenReady } from "../node.ts";

/**
 * The unit of one NodeClaim. It begins with the transition of `Launched` to True (the instance exists) and ends with that
 * of `InstanceTerminating` (the provider was told to end it); our finalizer keeps both readable until they are on record.
 */
export function unitOfNodeClaim(
  nodeClaim: NodeClaim,
  node: Node | undefined,
  query: CapacityQuery,
  claim: CapacityClaim | undefined,
): CapacityUnit {
  const { name, uid = "", deletionTimestamp, finalizers: held = [] } = nodeClaim.metadata;
  const claimedAt = claim?.status?.claimedAt ?? transition(nodeClaim, "Launched");
  const kept = claim && claimTimesOf(claim);
  const ours = held.includes(finalizers.claim);
  const gone = deletionTimestamp !== undefined && held.every((entry) => entry === finalizers.claim);
  const terminated = transition(nodeClaim, "InstanceTerminating");
  const end =
    terminated ??
    (gone && deletionTimestamp
      ? { time: deletionTimestamp, evidence: `NodeClaim/${name} deletionTimestamp` }
      : undefined);
  const state = gone ? "ended" : deletionTimestamp ? "leaving" : claimedAt ? "held" : "intended";
  const over = state === "held" && claim?.status?.releasedAt !== undefined;
  return {
    claimName: uid,
    ref: { provider: "karpenter", kind: "NodeClaim", name, uid },
    state,
    ...healthFacts(nodeClaim, node, query, { claimedAt, readyAt: claim?.status?.readyAt ?? kept?.readyAt }),
    ...(over && CLAIM_OVER),
    ...(claimedAt && { claimedAt }),
    ...(deletionTimestamp && claimedAt && end && { releasedAt: end }),
    damaged: !deletionTimestamp && !ours,
    residue: gone && ours,
    object: nodeClaim,
  };
}

/** Nobody pays for the node any more, so it is given up like one that died: an older state of the cluster brought it back. */
const CLAIM_OVER = { ready: false, unreadySince: 0, problem: "its claim is over" } as const;

function healthFacts(
  nodeClaim: NodeClaim,
  node: Node | undefined,
  query: CapacityQuery,
  recorded: Pick<ClaimTimes, "claimedAt" | "readyAt">,
): Pick<CapacityUnit, "ready" | "problem" | "unreadySince" | "nodeName" | "readyAt"> {
  const before = recorded.readyAt && { readyAt: recorded.readyAt };
  if (!node) return { ready: false, ...named(nodeClaim.status?.nodeName), ...said(notThere(nodeClaim)), ...before };
  const health = healthOf(node, query.template?.gpu);
  const nodeName = node.metadata.name;
  const { claimedAt } = recorded;
  const began = claimedAt?.time ?? health.since;
  const readyAt = recorded.readyAt ?? (claimedAt && provenReady(node, query.template?.gpu, claimedAt));
  return {
    ready: health.ready,
    nodeName,
    ...(readyAt && { readyAt }),
    ...said(health.problem),
    ...(health.unreadySince !== undefined && { unreadySince: Math.max(health.unreadySince, Date.parse(began)) }),
  };
}

/** The first of Karpenter's steps that is not done, in its words; its own waiting between two steps says nothing. */
function notThere(nodeClaim: NodeClaim): string | undefined {
  const steps = ["Launched", "Registered", "Initialized"];
  const open = steps
    .map((type) => conditionOf(nodeClaim, type))
    .find((condition) => condition && condition.status !== "True");
  if (!open || open.reason === "AwaitingReconciliation") return undefined;
  return open.message || open.reason;
}

/** What Karpenter says about a NodeClaim that does not launch. */
export function launchProblem(nodeClaim: NodeClaim): ObjectCondition | undefined {
  const launched = conditionOf(nodeClaim, "Launched");
  const telling = launched && launched.status !== "True" && launched.reason !== "AwaitingReconciliation";
  return telling && launched.message ? launched : undefined;
}

function conditionOf(object: NodeClaim, type: string): ObjectCondition | undefined {
  return object.status?.conditions?.find((condition) => condition.type === type);
}

function transition(nodeClaim: NodeClaim, type: string): Evidence | undefined {
  const condition = conditionOf(nodeClaim, type);
  if (condition?.status !== "True" || condition.lastTransitionTime === undefined) return undefined;
  const evidence = `NodeClaim/${nodeClaim.metadata.name} condition ${type}`;
  return { time: condition.lastTransitionTime, evidence };
}

/** An open claim whose NodeClaim is gone although our finalizer was on it: somebody took it off by force. */
export function unitOfVanished(claim: CapacityClaim): CapacityUnit {
  const kept = claimTimesOf(claim);
  const ended = { claimName: claim.metadata.name, ref: claim.spec.providerRef, state: "ended", ready: false } as const;
  if (kept?.claimedAt && kept.releasedAt) return { ...ended, ...kept, damaged: false, residue: false };
  const { claimedAt, readyAt, lastSeenAt } = claim.status ?? {};
  const known = [lastSeenAt, readyAt?.time, claimedAt?.time].filter((time) => time !== undefined);
  const last = known.sort((a, b) => Date.parse(a) - Date.parse(b)).at(-1);
  const evidence = `CapacityClaim/${claim.metadata.name} last recorded sign of life`;
  return {
    ...ended,
    ...(claimedAt && { claimedAt }),
    ...(last !== undefined && { releasedAt: { time: last, evidence, estimated: true } }),
    damaged: false,
    residue: false,
  };
}

function named(nodeName: string | undefined): { readonly nodeName?: string } {
  return nodeName ? { nodeName } : {};
}

function said(problem: string | undefined): { readonly problem?: string } {
  return problem === undefined ? {} : { problem };
}
