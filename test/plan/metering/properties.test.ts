/** What holds for every history, each against a count that knows nothing of the fold. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";

import type { UsageRecord } from "../../../operator/api/ledger.ts";
import { addQuantities } from "../../../operator/plan/metering/fold.ts";
import type { PoolHistory } from "../../../operator/plan/metering/history.ts";
import { metersOf, nextWindow, recordsOf } from "../../../operator/plan/metering/records.ts";
import { lineChunks, usageLines } from "../../../operator/plan/metering/segment.ts";
import { instantOfSeconds, secondsOf } from "../../../operator/plan/metering/windows.ts";
import type { Window } from "../../../operator/plan/metering/windows.ts";
import { CLUSTER, arbitraryHistory } from "./histories.ts";
import { runs } from "../../propertyruns.ts";

const horizon = 120;
const often = { numRuns: runs(300) };

function tiles(length: number): Window[] {
  return Array.from({ length: Math.ceil((2 * horizon) / length) }, (_, i) => ({
    start: i * length,
    end: (i + 1) * length,
  }));
}

function sealed(pool: PoolHistory, length: number): UsageRecord[] {
  return tiles(length).flatMap((window) => recordsOf([pool], window, { clusterId: CLUSTER }));
}

/** Nodes of one second, counted straight from the definition. */
function countAt(pool: PoolHistory, at: number) {
  const held = pool.claims.filter((c) => c.claimedAt <= at && (c.releasedAt === undefined || c.releasedAt > at));
  const ready = held.filter((c) => c.readyAt !== undefined && c.readyAt <= at).length;
  let desired = 0;
  for (const step of pool.steps) if (step.since <= at && step.since < (pool.endedAt ?? Infinity)) desired = step.size;
  if (pool.endedAt !== undefined && pool.endedAt <= at) desired = 0;
  return { claimed: held.length, ready: Math.min(ready, desired), desired, billable: Math.min(held.length, desired) };
}

test("I1: seconds equal an independent count of every second", () => {
  fc.assert(
    fc.property(arbitraryHistory(horizon), fc.integer({ min: 1, max: 60 }), (pool, length) => {
      const sum = addQuantities(sealed(pool, length));
      const counted = { claimed: 0, ready: 0, desired: 0, billable: 0, surge: 0, shortfall: 0 };
      const end = tiles(length).at(-1)?.end ?? 0;
      for (let at = 0; at < end; at++) {
        const now = countAt(pool, at);
        counted.claimed += now.claimed;
        counted.ready += now.ready;
        counted.desired += now.desired;
        counted.billable += now.billable;
        counted.surge += Math.max(0, now.claimed - now.desired);
        counted.shortfall += Math.max(0, now.desired - now.claimed);
      }
      assert.deepEqual(counted, {
        claimed: sum.claimedNodeSeconds,
        ready: sum.readyNodeSeconds,
        desired: sum.desiredNodeSeconds,
        billable: sum.billableNodeSeconds,
        surge: sum.surgeNodeSeconds,
        shortfall: sum.shortfallNodeSeconds,
      });
      assert.equal(sum.gpuSeconds, sum.billableNodeSeconds * pool.gpus);
    }),
    often,
  );
});

test("I2: claimed seconds of all windows are the claims' own lengths", () => {
  fc.assert(
    fc.property(arbitraryHistory(horizon), fc.integer({ min: 1, max: 60 }), (pool, length) => {
      const closed = {
        ...pool,
        claims: pool.claims.map((c) => ({ ...c, releasedAt: c.releasedAt ?? c.claimedAt + 7 })),
      };
      const lengths = closed.claims.reduce((sum, c) => sum + (c.releasedAt - c.claimedAt), 0);
      assert.equal(addQuantities(sealed(closed, length)).claimedNodeSeconds, lengths);
    }),
    often,
  );
});

test("I3: parts tile from the first wish or claim to the last release, zero hours included", () => {
  fc.assert(
    fc.property(arbitraryHistory(horizon), fc.integer({ min: 1, max: 60 }), (drawn, length) => {
      // A node that is claimed after the deletion begins anew: nobody could know at the last release that it would come.
      const { endedAt = Infinity } = drawn;
      const born = { since: 0, size: 0, account: "a", tags: {} };
      const pool = {
        ...drawn,
        // The size is logged before any node is claimed for it.
        steps: [born, ...drawn.steps.filter(({ since }) => since > 0)],
        claims: drawn.claims.filter(({ claimedAt }) => claimedAt < endedAt),
      };
      const records = sealed(pool, length);
      records.slice(1).forEach((record, i) => assert.equal(record.from, records[i]?.to));
      const touched = pool.claims.filter((c) => c.releasedAt === undefined || c.releasedAt > c.claimedAt);
      for (const { claimedAt, releasedAt } of touched) {
        assert.ok(secondsOf(records[0]?.from ?? "") <= claimedAt);
        if (releasedAt !== undefined) assert.ok(secondsOf(records.at(-1)?.to ?? "") >= releasedAt);
      }
      const byWindow = Map.groupBy(records, (record) => record.windowStart);
      for (const parts of byWindow.values())
        assert.deepEqual(
          parts.map(({ part }) => part),
          [...parts.keys()],
        );
    }),
    often,
  );
});

test("I4: ready and billable never exceed claimed and desired", () => {
  fc.assert(
    fc.property(arbitraryHistory(horizon), fc.integer({ min: 1, max: 60 }), (pool, length) => {
      for (const record of sealed(pool, length)) {
        assert.ok(record.readyNodeSeconds <= record.billableNodeSeconds);
        assert.ok(record.billableNodeSeconds <= Math.min(record.claimedNodeSeconds, record.desiredNodeSeconds));
        assert.equal(record.surgeNodeSeconds, record.claimedNodeSeconds - record.billableNodeSeconds);
        assert.equal(record.shortfallNodeSeconds, record.desiredNodeSeconds - record.billableNodeSeconds);
        assert.ok(record.estimatedNodeSeconds <= record.claimedNodeSeconds);
      }
    }),
    often,
  );
});

test("I5 and I9: bytes depend on the history before the window's end alone, not on the order of facts or on what comes later", () => {
  fc.assert(
    fc.property(
      arbitraryHistory(horizon),
      arbitraryHistory(horizon),
      fc.integer({ min: 1, max: 60 }),
      (pool, other, length) => {
        const window = { start: length, end: 2 * length };
        const second = { ...other, deploymentUID: "uid-b", poolUID: "pool-b" };
        const bytes = (...pools: PoolHistory[]) =>
          Buffer.concat([...lineChunks(usageLines(metersOf(pools), window, CLUSTER), () => undefined)]).toString();
        assert.equal(bytes(second, pool), bytes(pool, second));
        const known = {
          ...pool,
          endedAt: pool.endedAt !== undefined && pool.endedAt >= window.end ? undefined : pool.endedAt,
          steps: pool.steps.filter(({ since }) => since < window.end),
          claims: pool.claims
            .filter(({ claimedAt }) => claimedAt < window.end)
            .map((c) => ({
              ...c,
              releasedAt: c.releasedAt !== undefined && c.releasedAt > window.end ? undefined : c.releasedAt,
            }))
            .map((c) => ({ ...c, estimatedEnd: c.estimatedEnd && c.releasedAt !== undefined })),
        };
        assert.equal(bytes(known), bytes(pool));
      },
    ),
    often,
  );
});

test("I10: splitting a window at any second gives the same sums", () => {
  fc.assert(
    fc.property(arbitraryHistory(horizon), fc.integer({ min: 1, max: horizon - 1 }), (pool, at) => {
      const fold = (start: number, end: number) => recordsOf([pool], { start, end }, { clusterId: CLUSTER });
      // An estimate is a mark on the window it falls into, so it alone is not additive.
      const { estimatedNodeSeconds: _whole, ...whole } = addQuantities(fold(0, horizon));
      const { estimatedNodeSeconds: _split, ...split } = addQuantities([...fold(0, at), ...fold(at, horizon)]);
      assert.deepEqual(split, whole);
    }),
    often,
  );
});

test("an open window cut at the present is the closed window of that length", () => {
  fc.assert(
    fc.property(arbitraryHistory(horizon), fc.integer({ min: 1, max: 59 }), (pool, now) => {
      const open = recordsOf([pool], { start: 0, end: 60 }, { clusterId: CLUSTER, upTo: now });
      const closed = recordsOf([pool], { start: 0, end: now }, { clusterId: CLUSTER });
      assert.deepEqual(addQuantities(open), addQuantities(closed));
    }),
    often,
  );
});

test("the windows that the sealer visits hold every second, and the ones that it skips hold none", () => {
  fc.assert(
    fc.property(arbitraryHistory(horizon), fc.integer({ min: 1, max: 60 }), (pool, windowSeconds) => {
      const visited: UsageRecord[] = [];
      const dueEnd = (tiles(windowSeconds).at(-1)?.end ?? 0) as number;
      let sealedThrough: number | undefined;
      for (;;) {
        const window = nextWindow([pool], { sealedThrough, dueEnd, windowSeconds });
        if (!window) break;
        assert.ok(sealedThrough === undefined || window.start >= sealedThrough);
        visited.push(...recordsOf([pool], window, { clusterId: CLUSTER }));
        sealedThrough = window.end;
      }
      assert.deepEqual(addQuantities(visited), addQuantities(sealed(pool, windowSeconds)));
    }),
    often,
  );
});

test("instants survive the way through text", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 4_102_444_800 }), (at) => assert.equal(secondsOf(instantOfSeconds(at)), at)),
    often,
  );
});
