/** CapacityClaims: recorded before a node is taken, dated from the evidence, removed when nothing is owed any more. */
import { capacityClaims } from "../../api/resources.ts";
import type { CapacityClaim, CapacityClaimStatus } from "../../api/capacityclaim.ts";
import type { GPUNodePool } from "../../api/gpunodepool.ts";
import { annotations, fieldManagers, finalizers, labels, MANAGED_BY } from "../../api/keys.ts";
import { claimTimesOf, claimTimesText, sealedEndOf } from "../../api/lastclaim.ts";
import type { ClaimTimes } from "../../api/lastclaim.ts";
import type { CapacityOffer, CapacityUnit, Evidence } from "../../ports.ts";
import type { Write } from "../plan.ts";
import type { PoolSnapshot } from "./snapshot.ts";

/** The record of one node of the pool, as it is created. */
export function claimFor(
  pool: GPUNodePool,
  what: Pick<CapacityUnit | CapacityOffer, "claimName" | "ref">,
): CapacityClaim {
  const { deploymentRef, template } = pool.spec;
  return {
    metadata: {
      name: what.claimName,
      labels: {
        [labels.managedBy]: MANAGED_BY,
        [labels.poolUID]: pool.metadata.uid ?? "",
        [labels.deploymentUID]: deploymentRef.uid,
      },
      finalizers: [finalizers.metering],
    },
    spec: {
      deploymentUID: deploymentRef.uid,
      deploymentName: deploymentRef.name,
      namespace: pool.metadata.namespace ?? "",
      ...(deploymentRef.namespaceUID !== undefined && { namespaceUID: deploymentRef.namespaceUID }),
      poolUID: pool.metadata.uid ?? "",
      sku: template.sku,
      gpus: template.gpu.count,
      providerRef: what.ref,
    },
  };
}

export function createClaim(pool: GPUNodePool, what: Pick<CapacityUnit | CapacityOffer, "claimName" | "ref">): Write {
  return { op: "create", resource: capacityClaims, object: claimFor(pool, what), manager: fieldManagers.operator };
}

/**
 * Status patches that write down what the units' evidence says. An instant that was written stays; the node that is
 * given up (`lost`) ends at its last proof of life.
 */
export function claimDates(seen: PoolSnapshot, lost: readonly CapacityUnit[]): readonly (readonly Write[])[] {
  const claims = new Map(seen.claims.map((claim) => [claim.metadata.name, claim]));
  const dated = seen.facts.units.flatMap((unit) => {
    const claim = claims.get(unit.claimName);
    if (!claim) return [];
    const end = lost.includes(unit) ? (unit.proofOfLife ?? unit.releasedAt) : unit.releasedAt;
    const dates = newDates(claim.status ?? {}, unit, end);
    return Object.keys(dates).length === 0 ? [] : [{ claim, dates }];
  });
  return [
    dated.flatMap(({ claim, dates }) => repeatedTimes(claim, dates)),
    dated.map(({ claim, dates }) => statusPatch(claim, dates)),
  ];
}

/**
 * What nothing else may tell any more, since a restore from backup drops the status: all times once the end is known, and when the node
 * was ready, which is not read again as it was (unless it was by its very claim).
 */
function repeatedTimes(claim: CapacityClaim, dates: ClaimTimes): readonly Write[] {
  const { claimedAt, readyAt } = claim.status ?? {};
  const kept = claimTimesOf(claim);
  const ended = dates.releasedAt && !kept?.releasedAt;
  const ready = dates.readyAt && !kept?.readyAt && dates.readyAt.time !== (dates.claimedAt ?? claimedAt)?.time;
  if (!ended && !ready) return [];
  const text = claimTimesText({ claimedAt, readyAt, ...dates });
  const { name } = claim.metadata;
  const body = { metadata: { annotations: { [annotations.claimTimes]: text } } };
  return [{ op: "patch", resource: capacityClaims, name, body, manager: fieldManagers.operator }];
}

/** Only what is not on record yet: other keys of the status belong to the sealer. */
function newDates(status: CapacityClaimStatus, unit: CapacityUnit, end: Evidence | undefined): CapacityClaimStatus {
  const claimedAt = status.claimedAt ?? unit.claimedAt;
  if (!claimedAt) return {};
  const releasedAt = status.releasedAt ? undefined : notBefore(end, claimedAt.time);
  const readyAt = status.readyAt || status.releasedAt || isOver(unit.readyAt, releasedAt) ? undefined : unit.readyAt;
  return {
    ...(!status.claimedAt && { claimedAt }),
    ...(readyAt && { readyAt }),
    ...(releasedAt && { releasedAt }),
  };
}

/** A node that came to be ready after its end was not ready for the pool. */
function isOver(readyAt: Evidence | undefined, releasedAt: Evidence | undefined): boolean {
  if (!releasedAt || !readyAt) return false;
  return Date.parse(readyAt.time) > Date.parse(releasedAt.time);
}

function notBefore(instant: Evidence | undefined, earliest: string): Evidence | undefined {
  return instant && Date.parse(instant.time) < Date.parse(earliest) ? { ...instant, time: earliest } : instant;
}

function statusPatch(claim: CapacityClaim, status: CapacityClaimStatus): Write {
  return {
    op: "patch",
    resource: capacityClaims,
    name: claim.metadata.name,
    body: { status },
    manager: fieldManagers.status,
    subresource: "status",
  };
}

/** Removes records: the finalizer first, so that the delete takes effect at once. */
export function removeClaims(claims: readonly CapacityClaim[]): readonly (readonly Write[])[] {
  const held = claims.filter((claim) => (claim.metadata.finalizers ?? []).length > 0);
  const unhold = held.map(({ metadata: { name, resourceVersion, finalizers: all = [] } }): Write => ({
    op: "patch",
    resource: capacityClaims,
    name,
    body: { metadata: { resourceVersion, finalizers: all.filter((entry) => entry !== finalizers.metering) } },
    manager: fieldManagers.operator,
  }));
  const remove = claims
    .filter((claim) => !claim.metadata.deletionTimestamp)
    .map(({ metadata: { name, uid } }): Write => ({ op: "delete", resource: capacityClaims, name, uid }));
  return [unhold, remove];
}

/** Claims that the ledger closed, whose nodes have left: everything that they owe is sealed. */
export function closedClaims(seen: PoolSnapshot): readonly CapacityClaim[] {
  const present = seen.facts.units.filter(({ state, residue }) => state !== "ended" || residue);
  const names = new Set(present.map(({ claimName }) => claimName));
  return seen.claims.filter((claim) => sealedEndOf(claim) && !names.has(claim.metadata.name));
}

/** Claims of nodes that never came to belong to the pool: nothing happened, nothing is owed. */
export function voidClaims(seen: PoolSnapshot, taken: ReadonlySet<string>): readonly CapacityClaim[] {
  const units = new Map(seen.facts.units.map((unit) => [unit.claimName, unit]));
  return seen.claims.filter((claim) => {
    if (claim.status?.claimedAt || taken.has(claim.metadata.name)) return false;
    const unit = units.get(claim.metadata.name);
    return !unit || (unit.claimedAt === undefined && (unit.state === "ended" || unit.ref.kind === "Node"));
  });
}
