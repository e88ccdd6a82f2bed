/** Which sealed windows what is known now may not agree with: found by the marks that sealing leaves on claims. */
import type { CapacityClaim } from "../../api/capacityclaim.ts";
import { finalizers } from "../../api/keys.ts";
import { sealedEndOf } from "../../api/lastclaim.ts";
import type { Facts } from "./history.ts";
import { secondsOf } from "./windows.ts";

/** Sealed seconds [from, to) of one deployment to look at again. */
export interface LateSpan {
  readonly deploymentUID: string;
  readonly from: number;
  readonly to: number;
}

/** A claim's instants and the marks of sealing, in text. */
interface MarkedClaim {
  readonly id: string;
  readonly deploymentUID: string;
  readonly claimedAt: string;
  readonly readyAt: string | undefined;
  readonly releasedAt: string | undefined;
  readonly sealedThrough: string | undefined;
  readonly unreadyThrough: string | undefined;
}

/** In no order, and possibly twice the same. */
export function lateSpans(facts: Facts, sealedThrough: number | undefined): LateSpan[] {
  if (sealedThrough === undefined) return [];
  const living = facts.claims.filter((claim) => !isLetGo(claim));
  const [ids, pools] = [
    new Set(living.map(({ metadata }) => metadata.name)),
    new Set(facts.claims.map(({ spec }) => spec.poolUID)),
  ];
  const left = facts.closings.flatMap(({ deploymentUID, claims }) =>
    claims.filter(({ id }) => !ids.has(id)).map((claim) => ({ ...noMarks, ...claim, deploymentUID })),
  );
  const ofClaims = [...living.flatMap(markedClaim), ...left].flatMap((claim) => spansOfClaim(claim, sealedThrough));
  const ofClosings = facts.closings.flatMap((closing): LateSpan[] => {
    if (pools.has(closing.poolUID)) return [];
    const ends = closing.claims.flatMap(({ releasedAt }) => releasedAt ?? []).map(secondsOf);
    const from = Math.max(...ends, closing.endedAt === undefined ? -Infinity : secondsOf(closing.endedAt)) - 1;
    return Number.isFinite(from) && from < sealedThrough
      ? [{ deploymentUID: closing.deploymentUID, from, to: sealedThrough }]
      : [];
  });
  return [...ofClaims, ...ofClosings];
}

const noMarks = { readyAt: undefined, releasedAt: undefined, sealedThrough: undefined, unreadyThrough: undefined };

/** It is sealed, or in a closing object, however long somebody else's finalizer keeps it. */
function isLetGo({ metadata }: CapacityClaim): boolean {
  return metadata.deletionTimestamp !== undefined && !metadata.finalizers?.includes(finalizers.metering);
}

/** None of a claim that the ledger closed: what it owes is sealed, and it is marked no more. */
function markedClaim(claim: CapacityClaim): MarkedClaim[] {
  const { metadata, spec, status } = claim;
  if (!status?.claimedAt || sealedEndOf(claim)) return [];
  const { claimedAt, readyAt, releasedAt, sealedThrough, unreadyThrough } = status;
  const times = { claimedAt: claimedAt.time, readyAt: readyAt?.time, releasedAt: releasedAt?.time };
  return [{ id: metadata.name, deploymentUID: spec.deploymentUID, ...times, sealedThrough, unreadyThrough }];
}

/**
 * A claim that is sealed up to its mark, as it should be, gives none. One that began in sealed time without a mark, that ended before
 * its mark, or that was ready in time that was sealed without knowing it, does: it became known late, or a process died between
 * sealing and marking, and then looking finds no difference. What such a process sealed may lie after an end that nobody knew.
 */
function spansOfClaim(claim: MarkedClaim, sealedThrough: number): LateSpan[] {
  const { deploymentUID } = claim;
  const begin = secondsOf(claim.claimedAt);
  const at = (instant: string | undefined, otherwise: number) =>
    instant === undefined ? otherwise : secondsOf(instant);
  const unmarked = Math.max(begin, at(claim.sealedThrough, begin));
  // From its last second on: the window that this lies in says whether the end is an estimate.
  const held = { from: Math.min(at(claim.releasedAt, Infinity) - 1, unmarked), to: sealedThrough };
  const ready = {
    from: Math.max(begin, at(claim.readyAt, Infinity)),
    to: Math.min(sealedThrough, at(claim.unreadyThrough, -Infinity)),
  };
  return [held, ready].filter(({ from, to }) => to > from).map((span) => ({ deploymentUID, ...span }));
}
