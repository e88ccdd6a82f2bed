/**
 * Requests for nodes that the platform owns. Claim and release are each one merge patch of label, whole taint list and
 * last-claim annotation under resourceVersion, by a field manager of their own, whose time is the instant that is metered.
 */
import { annotations, fieldManagers, labels, taints } from "../../api/keys.ts";
import { cacheClaimName, cacheOwnerOf, cacheOwnerText } from "../../api/nodecache.ts";
import type { CacheOwner } from "../../api/nodecache.ts";
import { nodes } from "../../api/kubernetes.ts";
import type { Node, Taint } from "../../api/kubernetes.ts";
import { lastClaimOf, lastClaimText, sequenceOf } from "../../api/lastclaim.ts";
import type { ClaimTimes, LastClaim } from "../../api/lastclaim.ts";
import type { CapacityOffer, CapacityUnit } from "../../ports.ts";
import type { Write } from "../plan.ts";
import { createClaim } from "./claims.ts";
import type { LivingSnapshot, ProviderActs, ResizeTarget } from "./snapshot.ts";

export const staticActs: ProviderActs = {
  resize: (seen, target) => [...takeOffers(seen, target), target.victims.flatMap((unit) => release(unit))],
  release,
  restore,
  // The Node stays, and with it the time of its release.
  secure: () => [],
  clear: release,
  close: () => [],
};

/** Record first, then take: a crash between the two leaves a claim that never began. */
function takeOffers(seen: LivingSnapshot, { offers }: ResizeTarget): readonly (readonly Write[])[] {
  const unrecorded = offers.filter((offer) => !offer.recorded);
  return [unrecorded.map((offer) => createClaim(seen.pool, offer)), offers.map((offer) => claimPatch(offer, seen))];
}

function claimPatch(offer: CapacityOffer, seen: LivingSnapshot): Write {
  const { claimName: claim, sequence, notBefore } = offer;
  const { poolUID: pool } = seen;
  const last: LastClaim = { claim, sequence, pool, held: true, notBefore };
  return nodePatch(offer.object, { pool, last, manager: fieldManagers.claim, cache: cacheOwner(seen, offer.object) });
}

/** From the claim on models of this namespace may lie on the node, and they stay there when it is given back. */
function cacheOwner({ pool }: LivingSnapshot, node: Node): CacheOwner | undefined {
  // Whose it is by now it stays, with all that is known of the claim: else models would lie there that nobody is asked to wipe.
  if (cacheOwnerOf(node) !== undefined) return undefined;
  const { template, deploymentRef, nodeType } = pool.spec;
  const { namespace } = pool.metadata;
  const { namespaceUID } = deploymentRef;
  if (!template.cache || namespace === undefined || namespaceUID === undefined) return undefined;
  return { namespace, namespaceUID, claimName: cacheClaimName(nodeType) };
}

function release(unit: CapacityUnit): readonly Write[] {
  // What was only recorded has nothing to give back.
  if (!unit.object || unit.state === "intended") return [];
  const before = lastClaimOf(unit.object);
  const sequence = sequenceOf(unit.claimName);
  const last: LastClaim = {
    ...(before ?? { claim: unit.claimName, sequence, pool: "" }),
    held: false,
    ...(before?.claim === unit.claimName ? { times: timesOf(unit) } : {}),
  };
  return [nodePatch(unit.object, { pool: undefined, last, manager: fieldManagers.claim })];
}

/** Beside the end that this patch itself is: kept on the node, should the record of the claim be lost. */
function timesOf({ claimedAt, readyAt, releasedAt, proofOfLife }: CapacityUnit): ClaimTimes {
  return { claimedAt, readyAt, releasedAt: releasedAt ?? proofOfLife };
}

/** By another manager than the claim's own, so that the instant of the claim stays. */
function restore(unit: CapacityUnit, pool: string): readonly Write[] {
  if (!unit.object) return [];
  const { notBefore } = lastClaimOf(unit.object) ?? {};
  const last = { claim: unit.claimName, sequence: sequenceOf(unit.claimName), pool, held: true, notBefore };
  return [nodePatch(unit.object, { pool, last, manager: fieldManagers.operator })];
}

interface NodeMark {
  /** undefined: belongs to nobody. */
  readonly pool: string | undefined;
  readonly last: LastClaim;
  readonly manager: string;
  /** Whose models will lie in the node's cache; undefined changes nothing. */
  readonly cache?: CacheOwner | undefined;
}

function nodePatch(node: Node, { pool, last, manager, cache }: NodeMark): Write {
  return {
    op: "patch",
    resource: nodes,
    name: node.metadata.name,
    manager,
    body: {
      metadata: {
        resourceVersion: node.metadata.resourceVersion,
        labels: { [labels.pool]: pool ?? null },
        annotations: {
          [annotations.lastClaim]: lastClaimText(last),
          ...(cache && { [annotations.cacheOwner]: cacheOwnerText(cache) }),
        },
      },
      spec: { taints: markedTaints(node, pool) },
    },
  };
}

/** The node's other taints and ours; a list is replaced as a whole by a merge patch. */
export function markedTaints(node: Node, pool: string | undefined): readonly Taint[] {
  const others = (node.spec?.taints ?? []).filter((taint) => taint.key !== taints.dedicated);
  return pool === undefined ? others : [...others, ...dedicatedTaints(pool)];
}

export function dedicatedTaints(pool: string): readonly Taint[] {
  return [
    { key: taints.dedicated, value: pool, effect: "NoSchedule" },
    { key: taints.dedicated, value: pool, effect: "NoExecute" },
  ];
}
