/** Builders of histories for tests: times as "10:12:00" of one day, and random ones for properties. */
import fc from "fast-check";

import type { ClaimInterval, PoolHistory, SizeStep } from "../../../operator/plan/metering/history.ts";
import { secondsOf } from "../../../operator/plan/metering/windows.ts";

export const CLUSTER = "6f2e1b9c-0000-4000-8000-00000000c1d0";

export function clock(time: string): number {
  return secondsOf(`2026-11-21T${time}Z`);
}

export const hour = (h: number) => ({
  start: clock(`${String(h).padStart(2, "0")}:00:00`),
  end: clock(`${String(h).padStart(2, "0")}:00:00`) + 3600,
});

interface ClaimTimes {
  readonly id?: string;
  readonly claimed: string;
  readonly ready?: string;
  readonly released?: string;
  readonly estimatedEnd?: boolean;
}

export function claim(times: ClaimTimes): ClaimInterval {
  return {
    id: times.id ?? `node-${times.claimed}`,
    claimedAt: clock(times.claimed),
    readyAt: clock(times.ready ?? times.claimed),
    releasedAt: times.released === undefined ? undefined : clock(times.released),
    estimatedStart: false,
    estimatedEnd: times.estimatedEnd === true,
  };
}

export function step(since: string, size: number, account = "team-a", tags: Record<string, string> = {}): SizeStep {
  return { since: clock(since), size, account, tags };
}

export function history(part: Partial<PoolHistory>): PoolHistory {
  return {
    namespace: "team-a",
    deploymentName: "chat",
    deploymentUID: "uid-a",
    poolUID: `pool-of-${part.deploymentUID ?? "uid-a"}`,
    sku: "dedicated.l4.1",
    gpus: 1,
    endedAt: undefined,
    steps: [],
    claims: [],
    ...part,
  };
}

/** Random lives within [0, horizon) seconds: sizes, accounts, overlapping claims, some still open, some estimated. */
export function arbitraryHistory(horizon: number): fc.Arbitrary<PoolHistory> {
  const at = fc.integer({ min: 0, max: horizon - 1 });
  const steps = fc.array(
    fc.record({
      since: at,
      size: fc.integer({ min: 0, max: 4 }),
      account: fc.constantFrom("a", "b"),
      tags: fc.constantFrom<Record<string, string>>({}, { env: "prod" }),
    }),
    { maxLength: 6 },
  );
  const claims = fc.array(
    fc.record({ claimedAt: at, ready: fc.option(at), held: fc.option(at), estimatedEnd: fc.boolean() }),
    { maxLength: 5 },
  );
  const namespaceUID = fc.constantFrom(undefined, "uid-of-team-a");
  const pool = fc.record({ steps, claims, endedAt: fc.option(at), gpus: fc.constantFrom(1, 8), namespaceUID });
  return pool.map((drawn) => ({
    ...history({ gpus: drawn.gpus, endedAt: drawn.endedAt ?? undefined, namespaceUID: drawn.namespaceUID }),
    steps: [...new Map(drawn.steps.map((one) => [one.since, one])).values()].sort((a, b) => a.since - b.since),
    claims: drawn.claims
      .map(({ claimedAt, ready, held, estimatedEnd }, i) => ({
        id: `claim-${i}`,
        claimedAt,
        readyAt: ready === null ? undefined : claimedAt + ready,
        releasedAt: held === null ? undefined : claimedAt + held,
        estimatedStart: false,
        estimatedEnd: estimatedEnd && held !== null,
      }))
      .sort((a, b) => a.claimedAt - b.claimedAt),
  }));
}
