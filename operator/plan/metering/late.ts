/** Which sealed windows what is known now may not agree with: found by the marks that sealing leaves on claims. */
import { endOf } from "../../api/lastclaim.ts";
import type { Facts } from "./history.ts";
import { secondsOf } from "./windows.ts";

/** Sealed seconds [from, to) of one deployment to look at again. */
export interface LateSpan {
  readonly deploymentUID: string;
  readonly from: number;
  readonly to: number;
}

/**
 * A claim that is sealed up to its mark, as it should be, gives none. One that began in sealed time without a mark, or that ended before
 * its mark, does: it became known late, or a process died between sealing and marking, and then looking finds no difference. Whatever
 * the mark says, each window since may have been sealed while the claim was taken for open.
 */
export function lateSpans(facts: Facts, sealedThrough: number | undefined): LateSpan[] {
  if (sealedThrough === undefined) return [];
  const ofClaims = facts.claims.flatMap((claim): LateSpan[] => {
    const { spec, status } = claim;
    const releasedAt = endOf(claim);
    const { claimedAt, sealedThrough: marked } = status ?? {};
    if (!claimedAt) return [];
    const begin = secondsOf(claimedAt.time);
    const end = releasedAt ? secondsOf(releasedAt.time) : Infinity;
    const mark = marked === undefined ? begin : secondsOf(marked);
    const from = Math.min(end, Math.max(begin, mark));
    return sealedThrough > from ? [{ deploymentUID: spec.deploymentUID, from, to: sealedThrough }] : [];
  });
  const living = new Set(facts.claims.map(({ spec }) => spec.poolUID));
  const ofClosings = facts.closings.flatMap((closing): LateSpan[] => {
    if (living.has(closing.poolUID)) return [];
    const ends = closing.claims.flatMap(({ releasedAt }) => releasedAt ?? []).map(secondsOf);
    const from = Math.max(...ends, closing.endedAt === undefined ? -Infinity : secondsOf(closing.endedAt)) - 1;
    return Number.isFinite(from) && from < sealedThrough
      ? [{ deploymentUID: closing.deploymentUID, from, to: sealedThrough }]
      : [];
  });
  return [...ofClaims, ...ofClosings];
}
