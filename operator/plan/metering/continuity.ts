/**
 * What the cluster says now against what was sealed last. An etcd that was set back to an older state opens claims again that are
 * over, and forgets others; the ledger is not set back with it.
 */
import type { CapacityClaim, ClaimEvidence } from "../../api/capacityclaim.ts";
import type { Evidence, UsageRecord } from "../../api/ledger.ts";
import { endOf } from "../../api/lastclaim.ts";
import { instantOfSeconds, secondsOf } from "./windows.ts";

export interface LastWindow {
  /** Key of its manifest. */
  readonly key: string;
  /** Its own alone. */
  readonly records: readonly UsageRecord[];
}

export interface Reopened {
  readonly claim: CapacityClaim;
  readonly releasedAt: ClaimEvidence;
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

/** What the ledger says last of a claim. */
export interface Sighting {
  /** Key of the manifest whose segments say so. */
  readonly key: string;
  /** End of the window that it was last held in, in seconds. */
  readonly windowEnd: number;
  /** Its end, where that window has it. */
  readonly releasedAt: ClaimEvidence | undefined;
}

/** Looks for the newest line of evidence about each of `claims`, from the ledger's head backwards. */
export interface Sightings {
  /** Names of claims that no line was found of yet. */
  readonly missing: ReadonlySet<string>;
  /** Another line of the segments that `key` commits. */
  add(line: Evidence, key: string): void;
  /** Every line about windows from `start` (seconds) on was added: a line in one segment says nothing while a later one may correct it. */
  decide(start: number): void;
  readonly found: ReadonlyMap<string, Sighting>;
}

export function newSightings(claims: readonly CapacityClaim[]): Sightings {
  const missing = new Set(claims.map(({ metadata }) => metadata.name));
  const pools = new Set(claims.map(({ spec }) => spec.poolUID));
  const found = new Map<string, Sighting>();
  /** By begin of the window, then by pool: the newest revision. */
  const pending = new Map<number, Map<string, { readonly line: Evidence; readonly key: string }>>();
  return {
    missing,
    found,
    add(line, key) {
      if (!pools.has(line.poolUID)) return;
      const start = secondsOf(line.windowStart);
      const byPool = pending.get(start) ?? new Map<string, { line: Evidence; key: string }>();
      pending.set(start, byPool);
      if (line.rev >= (byPool.get(line.poolUID)?.line.rev ?? 0)) byPool.set(line.poolUID, { line, key });
    },
    decide(start) {
      const due = [...pending].filter(([at]) => at >= start).sort(([a], [b]) => b - a);
      for (const [at, byPool] of due) {
        pending.delete(at);
        for (const { line, key } of byPool.values())
          for (const { id, releasedAt } of line.claims)
            if (missing.delete(id)) found.set(id, sightingOf(line, key, releasedAt));
      }
    },
  };
}

function sightingOf(line: Evidence, key: string, end: Evidence["claims"][number]["releasedAt"]): Sighting {
  const releasedAt = end && {
    time: end.time,
    evidence: `ledger ${key}`,
    ...(end.estimated === true && { estimated: true }),
  };
  return { key, windowEnd: secondsOf(line.windowEnd), releasedAt };
}

/** How far the cluster's state is known to be behind the ledger: windows that were sealed after the one that the cluster keeps. */
export interface Behind {
  readonly head: { readonly key: string; readonly end: number };
  /** undefined: the cluster keeps none. */
  readonly windows: number | undefined;
}

/**
 * Claims that are open again, or over later than they were: the ledger has their end. One that it held and then held no more, without
 * an end, ended with the last window that has it, in the customer's favour; that alone is believed only of a cluster that is behind by
 * more windows than a death between sealing and keeping the head explains. A claim that no window has is late knowledge, and stays.
 */
export function reopenedClaims(
  claims: readonly CapacityClaim[],
  sightings: ReadonlyMap<string, Sighting>,
  { head, windows = 0 }: Behind,
): readonly Reopened[] {
  return claims.flatMap((claim): Reopened[] => {
    const sighting = sightings.get(claim.metadata.name);
    if (sighting?.releasedAt) return [{ claim, releasedAt: sighting.releasedAt }];
    const { claimedAt, sealedThrough } = claim.status ?? {};
    const mark = sealedThrough === undefined ? undefined : secondsOf(sealedThrough);
    const last = sighting?.windowEnd ?? mark;
    if (last === undefined || last >= head.end || windows < 2) return [];
    const time = instantOfSeconds(Math.max(last, secondsOf(claimedAt?.time ?? "")));
    const evidence = `ledger ${head.key}: not held in the last sealed window`;
    return [{ claim, releasedAt: { time, evidence, estimated: true } }];
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
