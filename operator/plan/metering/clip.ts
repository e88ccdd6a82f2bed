/**
 * What one window may know of a pool: nothing that lies after its end, and nothing that was over before its begin. Records are
 * computed from this alone, so it makes no difference whether older claims are still remembered, and evidence says it all.
 */
import { EVIDENCE_SCHEMA } from "../../api/ledger.ts";
import type { Evidence } from "../../api/ledger.ts";
import { fieldManagers } from "../../api/keys.ts";
import type { ClaimInterval, ClaimSources, PoolHistory } from "./history.ts";
import { instantOfSeconds, secondsOf } from "./windows.ts";
import type { Window } from "./windows.ts";

/** undefined where the pool has no second in the window. */
export function clip(pool: PoolHistory, window: Window): PoolHistory | undefined {
  const before = pool.steps.filter(({ since }) => since < window.end);
  const inForce = before.findLastIndex(({ since }) => since <= window.start);
  const steps = before.slice(Math.max(0, inForce));
  const claims = pool.claims.flatMap((claim) => clipClaim(claim, window));
  const endedAt = pool.endedAt !== undefined && pool.endedAt < window.end ? pool.endedAt : undefined;
  const clipped = { ...pool, steps, claims, endedAt };
  const wanted = steps.some(({ since }) => since < (endedAt ?? Infinity)) && (endedAt ?? Infinity) > window.start;
  return wanted || claims.length > 0 ? clipped : undefined;
}

/** Whether the claim has a second in the window. */
export function touches({ claimedAt, releasedAt = Infinity }: ClaimInterval, window: Window): boolean {
  return claimedAt < window.end && releasedAt > window.start && releasedAt > claimedAt;
}

function clipClaim(claim: ClaimInterval, window: Window): ClaimInterval[] {
  const { readyAt, releasedAt, sources } = claim;
  if (!touches(claim, window)) return [];
  const ready = readyAt !== undefined && readyAt < window.end;
  const released = releasedAt !== undefined && releasedAt <= window.end;
  return [
    {
      ...claim,
      readyAt: ready ? readyAt : undefined,
      releasedAt: released ? releasedAt : undefined,
      estimatedEnd: claim.estimatedEnd && released,
      ...(sources && { sources: knownSources(sources, { ready, released }) }),
    },
  ];
}

function knownSources(
  sources: ClaimSources,
  known: { readonly ready: boolean; readonly released: boolean },
): ClaimSources {
  const { readyAt, releasedAt, ...rest } = sources;
  return {
    ...rest,
    ...(known.ready && readyAt !== undefined && { readyAt }),
    ...(known.released && releasedAt !== undefined && { releasedAt }),
  };
}

/** `clipped` is what clip() gave for this window. */
export function evidenceOf(clipped: PoolHistory, window: Window, rev = 0): Evidence {
  const { namespace, namespaceUID, deploymentName, deploymentUID, poolUID, sku, gpus, endedAt } = clipped;
  return {
    schema: EVIDENCE_SCHEMA,
    rev,
    windowStart: instantOfSeconds(window.start),
    windowEnd: instantOfSeconds(window.end),
    ...{ namespace, deploymentName, deploymentUID, poolUID, sku, gpus },
    ...(namespaceUID !== undefined && { namespaceUID }),
    stepsFrom: `GPUNodePool/${poolUID} metadata.managedFields[${fieldManagers.size}].time`,
    steps: clipped.steps.map(({ since, size, account, tags }) => ({
      since: instantOfSeconds(since),
      size,
      account,
      tags: { ...tags },
    })),
    ...(endedAt === undefined ? {} : { endedAt: instantOfSeconds(endedAt) }),
    claims: clipped.claims.map(({ id, claimedAt, readyAt, releasedAt, estimatedStart, estimatedEnd, sources }) => ({
      id,
      ...(sources?.object === undefined ? {} : { object: sources.object }),
      claimedAt: instant(claimedAt, sources?.claimedAt, estimatedStart),
      ...(readyAt === undefined ? {} : { readyAt: instant(readyAt, sources?.readyAt, false) }),
      ...(releasedAt === undefined ? {} : { releasedAt: instant(releasedAt, sources?.releasedAt, estimatedEnd) }),
    })),
  };
}

function instant(at: number, from: string | undefined, estimated: boolean): Evidence["claims"][number]["claimedAt"] {
  return {
    time: instantOfSeconds(at),
    ...(from === undefined ? {} : { from }),
    ...(estimated ? { estimated } : {}),
  };
}

/** The way back: what a line of evidence says of its pool. */
export function historyOfEvidence(line: Evidence): PoolHistory {
  const { namespace, namespaceUID, deploymentName, deploymentUID, poolUID, sku, gpus, endedAt } = line;
  return {
    ...{ namespace, namespaceUID, deploymentName, deploymentUID, poolUID, sku, gpus },
    endedAt: endedAt === undefined ? undefined : secondsOf(endedAt),
    steps: line.steps.map((step) => ({ ...step, since: secondsOf(step.since) })),
    claims: line.claims.map(({ id, object, claimedAt, readyAt, releasedAt }) => ({
      id,
      claimedAt: secondsOf(claimedAt.time),
      readyAt: readyAt && secondsOf(readyAt.time),
      releasedAt: releasedAt && secondsOf(releasedAt.time),
      estimatedStart: claimedAt.estimated === true,
      estimatedEnd: releasedAt?.estimated === true,
      sources: {
        ...(object === undefined ? {} : { object }),
        ...(claimedAt.from === undefined ? {} : { claimedAt: claimedAt.from }),
        ...(readyAt?.from === undefined ? {} : { readyAt: readyAt.from }),
        ...(releasedAt?.from === undefined ? {} : { releasedAt: releasedAt.from }),
      },
    })),
  };
}
