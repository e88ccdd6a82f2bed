/**
 * What the cluster says now against what was sealed last. An etcd that was set back to an older state opens claims again that are
 * over, and forgets others; the ledger is not set back with it.
 */
import type { CapacityClaim, CapacityClaimStatus } from "../../api/capacityclaim.ts";
import type { UsageRecord } from "../../api/ledger.ts";
import { endOf } from "../../api/lastclaim.ts";
import { instantOfSeconds, secondsOf } from "./windows.ts";
import type { Window } from "./windows.ts";

export interface LastWindow {
  /** Key of its manifest. */
  readonly key: string;
  readonly window: Window;
  readonly records: readonly UsageRecord[];
}

export interface Reopened {
  readonly claim: CapacityClaim;
  readonly releasedAt: NonNullable<CapacityClaimStatus["releasedAt"]>;
}

export interface Forgotten {
  readonly id: string;
  readonly namespace: string;
  readonly deploymentName: string;
  readonly deploymentUID: string;
}

/**
 * A claim that had begun and was not over, as its record says, when the newest window ended: every pass marks it with that end, and it
 * is marked with less. It may be over by now: a provider that lost the node long ago ends an older state's claim at once.
 */
export function isSuspicious(claim: CapacityClaim, sealedThrough: number): boolean {
  const { status } = claim;
  const releasedAt = endOf(claim);
  if (!status?.claimedAt || secondsOf(status.claimedAt.time) >= sealedThrough) return false;
  if (releasedAt && secondsOf(releasedAt.time) <= sealedThrough) return false;
  return status.sealedThrough === undefined || secondsOf(status.sealedThrough) < sealedThrough;
}

/**
 * Claims that are open again, or over later than they were, although they were over by the end of `last`. One that the window names ended when it says; one that
 * had begun before the window and is not in it ended before: no later than where it was last marked as held, in the customer's
 * favour. A record that was made anew since then is no older state but late knowledge, and stays.
 */
export function reopenedClaims(claims: readonly CapacityClaim[], last: LastWindow): readonly Reopened[] {
  const { window, key } = last;
  const sealed = new Map(last.records.flatMap((record) => record.claims).map((claim) => [claim.id, claim]));
  return claims.flatMap((claim): Reopened[] => {
    if (!isSuspicious(claim, window.end)) return [];
    const known = sealed.get(claim.metadata.name);
    if (known)
      return known.releasedAt ? [{ claim, releasedAt: { time: known.releasedAt, evidence: `ledger ${key}` } }] : [];
    const { claimedAt, sealedThrough } = claim.status ?? {};
    const made = claim.metadata.creationTimestamp;
    const begun = Math.max(secondsOf(claimedAt?.time ?? ""), made === undefined ? 0 : secondsOf(made));
    if (begun >= window.start) return [];
    const seen = Math.max(secondsOf(claimedAt?.time ?? ""), sealedThrough === undefined ? 0 : secondsOf(sealedThrough));
    const evidence = `ledger ${key}: not held in the last sealed window`;
    return [{ claim, releasedAt: { time: instantOfSeconds(seen), evidence, estimated: true } }];
  });
}

/** Claims that were held at the end of `last` and of which nothing knows any more; `known` are all that anything knows. */
export function forgottenClaims(known: ReadonlySet<string>, last: LastWindow): readonly Forgotten[] {
  return last.records.flatMap(({ claims, namespace, deploymentName, deploymentUID }) =>
    claims
      .filter(({ id, releasedAt }) => releasedAt === undefined && !known.has(id))
      .map(({ id }) => ({ id, namespace, deploymentName, deploymentUID })),
  );
}
