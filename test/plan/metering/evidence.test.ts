/** The evidence in a segment gives its records anew, whatever is forgotten; late knowledge adds up to the truth. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";

import { evidence as evidenceSchema } from "../../../operator/api/ledger.ts";
import type { Evidence, UsageRecord } from "../../../operator/api/ledger.ts";
import { adjustmentLines, netDifferences } from "../../../operator/plan/metering/adjust.ts";
import { canonicalJson } from "../../../operator/plan/metering/canonical.ts";
import { clip, evidenceOf, historyOfEvidence } from "../../../operator/plan/metering/clip.ts";
import { addQuantities } from "../../../operator/plan/metering/fold.ts";
import type { PoolHistory } from "../../../operator/plan/metering/history.ts";
import { recordId, shardOf } from "../../../operator/plan/metering/identity.ts";
import { recordsOf } from "../../../operator/plan/metering/records.ts";
import { isEvidence, shardMeters, usageLines } from "../../../operator/plan/metering/segment.ts";
import type { Line } from "../../../operator/plan/metering/segment.ts";
import { runs } from "../../propertyruns.ts";
import { CLUSTER, arbitraryHistory, claim, clock, history, hour, step } from "./histories.ts";

const horizon = 120;
const often = { numRuns: runs(300) };
const clusterId = CLUSTER;
const aWindow = fc
  .record({ start: fc.integer({ min: 0, max: horizon }), length: fc.integer({ min: 1, max: 60 }) })
  .map(({ start, length }) => ({ start, end: start + length }));
const pools = fc.tuple(arbitraryHistory(horizon), arbitraryHistory(horizon), fc.boolean()).map(([a, b, same]) => [
  a,
  {
    ...b,
    poolUID: "pool-b",
    ...(same ? { gpus: a.gpus, namespaceUID: a.namespaceUID } : { deploymentUID: "uid-b" }),
  },
]);

test("I8: records computed from lines of evidence alone are the records, to the byte", () => {
  fc.assert(
    fc.property(pools, aWindow, (all, window) => {
      const lines = all.flatMap((pool) => {
        const clipped = clip(pool, window);
        return clipped ? [evidenceSchema.parse(JSON.parse(canonicalJson(evidenceOf(clipped, window))))] : [];
      });
      const again = recordsOf(lines.map(historyOfEvidence), window, { clusterId });
      assert.equal(canonicalJson(again), canonicalJson(recordsOf(all, window, { clusterId })));
      for (const line of lines) {
        const [pool] = [historyOfEvidence(line)];
        assert.equal(canonicalJson(evidenceOf(clip(pool, window) ?? pool, window)), canonicalJson(line));
      }
    }),
    often,
  );
});

test("what was over before a window may be forgotten: its lines stay the same", () => {
  fc.assert(
    fc.property(pools, aWindow, (all, window) => {
      const forgetful = all.map((pool) => ({
        ...pool,
        claims: pool.claims.filter(({ releasedAt }) => releasedAt === undefined || releasedAt > window.start),
        steps: pool.steps.slice(
          Math.max(
            0,
            pool.steps.findLastIndex(({ since }) => since <= window.start),
          ),
        ),
      }));
      const lines = (of: readonly PoolHistory[]) => [
        ...usageLines(
          of.map((pool) => [pool]),
          window,
          clusterId,
        ),
      ];
      assert.equal(canonicalJson(lines(forgetful)), canonicalJson(lines(all)));
    }),
    often,
  );
});

test("I12: usage and all adjustments add up to what is known in the end; ids are never given twice", () => {
  fc.assert(
    fc.property(fc.array(arbitraryHistory(horizon), { minLength: 2, maxLength: 4 }), aWindow, (states, window) => {
      const [first = history({}), ...later] = states;
      const stored: Line[] = [...usageLines([[first]], window, clusterId)];
      for (const known of later) {
        // Each leader knows its own claims; ids of one are not those of another.
        const now = {
          ...known,
          claims: known.claims.map((one) => ({ ...one, id: `${one.id}-${later.indexOf(known)}` })),
        };
        stored.push(...adjustmentLines(stored, [now], { window, clusterId }));
        assert.deepEqual(netDifferences(stored, { window, clusterId }), []);
        assert.deepEqual(adjustmentLines(stored, [now], { window, clusterId }), [], "twice the same news is none");
      }
      const records = stored.filter((line): line is UsageRecord => !isEvidence(line));
      assert.equal(new Set(records.map(({ id }) => id)).size, records.length);
      for (const record of records) assert.equal(record.id, recordId(record));
      const newest = stored.filter(isEvidence).toSorted((a, b) => b.rev - a.rev)[0];
      const truth = newest ? recordsOf([historyOfEvidence(newest)], window, { clusterId }) : [];
      assert.deepEqual(addQuantities(records), addQuantities(truth));
    }),
    often,
  );
});

const before = (lines: readonly Line[]) => lines.filter((line): line is Evidence => isEvidence(line));

test("8, later: a proof of an end that was estimated adds what was left out, and takes the estimate back", () => {
  const steps = [step("09:00:00", 1)];
  const at = (released: string, estimatedEnd = false) =>
    history({ steps, claims: [claim({ id: "n", claimed: "09:00:00", released, estimatedEnd })] });
  const stored = [...usageLines([[at("12:05:00", true)]], hour(12), clusterId)];
  const lines = adjustmentLines(stored, [at("12:07:30")], { window: hour(12), clusterId });
  const [adjustment] = lines.filter((line): line is UsageRecord => !isEvidence(line));
  assert.deepEqual(
    [adjustment?.kind, adjustment?.rev, adjustment?.billableNodeSeconds, adjustment?.estimatedNodeSeconds],
    ["adjustment", 1, 150, -300],
  );
  const base = stored.find((line): line is UsageRecord => !isEvidence(line));
  assert.equal(adjustment?.corrects, base?.id);
  assert.equal(before(lines)[0]?.claims[0]?.releasedAt?.time, "2026-11-21T12:07:30Z");
});

test("8b: without any proof the claim ends at Berth's own last look, and the hours after it hold nothing", () => {
  const pool = history({
    steps: [step("09:00:00", 1)],
    claims: [claim({ claimed: "09:00:00", released: "10:18:00", estimatedEnd: true })],
  });
  const billable = [10, 11, 12, 13].map((h) => addQuantities(recordsOf([pool], hour(h), { clusterId })));
  assert.deepEqual(
    billable.map(({ billableNodeSeconds }) => billableNodeSeconds),
    [1080, 0, 0, 0],
  );
  assert.equal(billable[0]?.estimatedNodeSeconds, 1080);
});

test("a lost pool object, or an estimate after a proof, takes nothing away from what is recorded", () => {
  const known = history({
    steps: [step("09:00:00", 1)],
    claims: [claim({ id: "n", claimed: "09:00:00", released: "10:30:00" })],
  });
  const stored = [...usageLines([[known]], hour(10), clusterId)];
  const orphan = { ...known, steps: [], endedAt: clock("09:00:00") };
  const guessed = {
    ...known,
    claims: [claim({ id: "n", claimed: "09:00:00", released: "10:10:00", estimatedEnd: true })],
  };
  const open = { ...known, claims: [claim({ id: "n", claimed: "09:00:00" })] };
  // Read again after a loss, from a node that went to and fro since.
  const again = {
    ...known,
    claims: [claim({ id: "n", claimed: "09:00:00", ready: "10:20:00", released: "10:30:00" })],
  };
  for (const now of [orphan, guessed, open, again, { ...known, claims: [] }])
    assert.deepEqual(adjustmentLines(stored, [now], { window: hour(10), clusterId }), []);
});

test("a deployment is in one shard, by its UID alone, and the shards together are the whole", () => {
  const all = Array.from({ length: 200 }, (_, i) => [
    history({ deploymentUID: `uid-${i}`, steps: [step("10:00:00", 1)] }),
  ]);
  const shards = shardMeters(all, 16);
  assert.equal(shards.flat().length, 200);
  assert.ok(shards.every((meters) => meters.length > 0));
  shards.forEach((meters, shard) => {
    for (const [pool] of meters) assert.equal(shardOf(pool?.deploymentUID ?? "", 16), shard);
  });
  assert.deepEqual(shardMeters(all, 1), [all]);
});

test("what turns out to have been over before a window, or to begin after it, is taken back as a whole, but for a proof", () => {
  const steps = [step("09:00:00", 1)];
  const held = (part: Partial<PoolHistory>) =>
    history({ steps, claims: [claim({ id: "n", claimed: "09:00:00" })], ...part });
  const stored = [...usageLines([[held({})]], hour(12), clusterId)];
  const taken = (now: PoolHistory) => {
    const lines = adjustmentLines(stored, [now], { window: hour(12), clusterId });
    assert.deepEqual(netDifferences([...stored, ...lines], { window: hour(12), clusterId }), []);
    assert.deepEqual(adjustmentLines([...stored, ...lines], [now], { window: hour(12), clusterId }), []);
    const records = lines.filter((line): line is UsageRecord => !isEvidence(line));
    return addQuantities(records).billableNodeSeconds;
  };
  const claims = [claim({ id: "n", claimed: "09:00:00", released: "10:18:00" })];
  assert.equal(taken(held({ claims })), -3600);
  assert.equal(taken(held({ claims: claims.map((one) => ({ ...one, estimatedEnd: true })) })), -3600);
  assert.equal(taken(held({ claims: [claim({ id: "n", claimed: "13:20:00" })] })), -3600);
  assert.equal(taken(held({ endedAt: clock("11:00:00") })), -3600, "nobody wanted it any more");
  assert.equal(taken(held({ claims, endedAt: clock("11:00:00") })), -3600);
  assert.equal(taken(held({ claims: [] })), 0, "what is forgotten is kept");
});
