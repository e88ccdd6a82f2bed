/** Steps that a pool's life and its end have in common. */
import { pods } from "../../api/kubernetes.ts";
import type { Pod } from "../../api/kubernetes.ts";
import type { CapacityUnit } from "../../ports.ts";
import type { Write } from "../plan.ts";
import { createClaim } from "./claims.ts";
import type { LivingSnapshot, PoolSnapshot, ProviderActs } from "./snapshot.ts";

/** Nodes that belong to the pool, or did, and have no record: a crash, or a record deleted by hand. */
export function missingRecords(seen: LivingSnapshot): readonly Write[] {
  const recorded = new Set(seen.claims.map((claim) => claim.metadata.name));
  const owed = ({ claimName, claimedAt, state }: CapacityUnit): boolean =>
    (claimedAt !== undefined || state === "held") && !recorded.has(claimName);
  return seen.facts.units.filter(owed).map((unit) => createClaim(seen.pool, unit));
}

/** Traces of ended claims are taken off once the end is on record (or in this pass, in an earlier step). */
export function clearances(seen: PoolSnapshot, acts: ProviderActs): readonly Write[] {
  const recorded = new Set(seen.claims.map((claim) => claim.metadata.name));
  const settled = (unit: CapacityUnit): boolean => unit.claimedAt === undefined || recorded.has(unit.claimName);
  return seen.facts.units
    .filter((unit) => unit.state === "ended" && unit.residue && settled(unit))
    .flatMap((unit) => acts.clear(unit, seen.poolUID));
}

/** Grace 0 takes the pod out of the API without waiting for a kubelet that may be dead. */
export function killPod({ metadata: { namespace, name, uid } }: Pod): Write {
  return { op: "delete", resource: pods, namespace, name, uid, gracePeriodSeconds: 0 };
}
