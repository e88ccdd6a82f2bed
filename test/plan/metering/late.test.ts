/** Whatever becomes known at whatever time: usage and adjustments end at what a run that knew all from the begin has. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";

import type { CapacityClaim } from "../../../operator/api/capacityclaim.ts";
import type { UsageRecord } from "../../../operator/api/ledger.ts";
import { adjustmentLines, netDifferences } from "../../../operator/plan/metering/adjust.ts";
import { addQuantities } from "../../../operator/plan/metering/fold.ts";
import type { ClaimInterval, Facts, PoolHistory } from "../../../operator/plan/metering/history.ts";
import { lateSpans } from "../../../operator/plan/metering/late.ts";
import { metersOf, recordsOf } from "../../../operator/plan/metering/records.ts";
import { isEvidence, usageLines } from "../../../operator/plan/metering/segment.ts";
import type { Line } from "../../../operator/plan/metering/segment.ts";
import { settleClaim } from "../../../operator/plan/metering/settle.ts";
import { instantOfSeconds } from "../../../operator/plan/metering/windows.ts";
import type { Window } from "../../../operator/plan/metering/windows.ts";
import { runs } from "../../propertyruns.ts";
import { CLUSTER, arbitraryHistory } from "./histories.ts";

const clusterId = CLUSTER;
const horizon = 120;
const length = 20;
const passes = 16;
const windows: Window[] = Array.from({ length: passes }, (_, i) => ({ start: i * length, end: (i + 1) * length }));

/** From which pass on each instant of a claim is on record. */
interface Knowing {
  readonly claimed: number;
  readonly ready: number;
  readonly released: number;
}

const aPass = fc.integer({ min: 0, max: passes - 2 });
/** An end is the last that is written of a claim, a begin the first. */
const knowing = fc.tuple(aPass, aPass, aPass).map((drawn): Knowing => {
  const [claimed = 0, ready = 0, released = 0] = drawn.toSorted((a, b) => a - b);
  return { claimed, ready, released };
});

function statusAt(claim: ClaimInterval, known: Knowing, pass: number): CapacityClaim["status"] {
  const at = (seconds: number) => ({ time: instantOfSeconds(seconds), evidence: "test" });
  if (pass < known.claimed) return {};
  const { claimedAt, readyAt, releasedAt, estimatedEnd } = claim;
  return {
    claimedAt: at(claimedAt),
    ...(readyAt !== undefined && pass >= known.ready && { readyAt: at(readyAt) }),
    ...(releasedAt !== undefined &&
      pass >= known.released && { releasedAt: { ...at(releasedAt), ...(estimatedEnd && { estimated: true }) } }),
  };
}

function asKnown(pool: PoolHistory, claims: readonly CapacityClaim[]): PoolHistory {
  const ids = new Map(claims.map(({ metadata, status }) => [metadata.name, status]));
  return {
    ...pool,
    claims: pool.claims.flatMap((claim) => {
      const status = ids.get(claim.id);
      if (!status?.claimedAt) return [];
      const ended = status.releasedAt !== undefined;
      return [
        {
          ...claim,
          readyAt: status.readyAt && claim.readyAt,
          releasedAt: ended ? claim.releasedAt : undefined,
          estimatedEnd: ended && claim.estimatedEnd,
        },
      ];
    }),
  };
}

/** One sealer over a ledger in memory: pass `i` seals window `i`, and marks claims after it unless it dies there. */
function seal(pool: PoolHistory, knowings: readonly Knowing[], dead: ReadonlySet<number>): Map<number, Line[]> {
  const ledger = new Map<number, Line[]>();
  const kept = new Map<string, Record<string, unknown>>(pool.claims.map(({ id }) => [id, {}]));
  for (const [pass, window] of windows.entries()) {
    const claims = pool.claims.flatMap((claim, i): CapacityClaim[] => {
      const marks = kept.get(claim.id);
      const known = knowings[i % knowings.length];
      if (!marks || !known) return [];
      const status = { ...statusAt(claim, known, pass), ...marks };
      const spec = { poolUID: pool.poolUID, deploymentUID: pool.deploymentUID } as CapacityClaim["spec"];
      return [{ metadata: { name: claim.id }, spec, status }];
    });
    const facts: Facts = { pools: [], deployments: [], closings: [], claims };
    const now = asKnown(pool, claims);
    const spans = pass === 0 ? [] : lateSpans(facts, window.start);
    for (const sealed of windows.slice(0, pass)) {
      if (!spans.some(({ from, to }) => from < sealed.end && to > sealed.start)) continue;
      const lines = ledger.get(sealed.start) ?? [];
      lines.push(...adjustmentLines(lines, [now], { window: sealed, clusterId }));
      ledger.set(sealed.start, lines);
    }
    ledger.set(window.start, [...usageLines(metersOf([now]), window, clusterId)]);
    if (!dead.has(pass)) for (const claim of claims) mark(kept, claim, window.end);
  }
  return ledger;
}

function mark(kept: Map<string, Record<string, unknown>>, claim: CapacityClaim, sealedThrough: number): void {
  for (const write of settleClaim(claim, sealedThrough, undefined)) {
    if (write.op === "delete") kept.delete(claim.metadata.name);
    if (write.op !== "patch" || write.subresource !== "status") continue;
    const { status } = write.body as { status: Record<string, unknown> };
    const before = kept.get(claim.metadata.name) ?? {};
    kept.set(
      claim.metadata.name,
      Object.fromEntries(Object.entries({ ...before, ...status }).filter(([, value]) => value !== null)),
    );
  }
}

const recordsIn = (lines: readonly Line[]) => lines.filter((line): line is UsageRecord => !isEvidence(line));

test("begins, readiness and ends that become known late, at any time and through any death before a mark, add up to the truth", () => {
  fc.assert(
    fc.property(
      arbitraryHistory(horizon),
      fc.array(knowing, { minLength: 1, maxLength: 5 }),
      fc.uniqueArray(aPass),
      (drawn, knowings, dead) => {
        // Sizes have no late knowledge: a pool's log is written before anything is claimed for it.
        const pool = { ...drawn, claims: drawn.claims.filter((one) => (one.releasedAt ?? Infinity) > one.claimedAt) };
        const ledger = seal(pool, knowings, new Set(dead));
        for (const window of windows) {
          const lines = ledger.get(window.start) ?? [];
          const truth = recordsOf([pool], window, { clusterId });
          const sum = addQuantities(recordsIn(lines));
          assert.deepEqual(sum, addQuantities(truth), `window ${window.start}`);
          assert.deepEqual(netDifferences(lines, { window, clusterId }), []);
          const ids = recordsIn(lines).map(({ id }) => id);
          assert.equal(new Set(ids).size, ids.length);
        }
      },
    ),
    { numRuns: runs(200) },
  );
});
