/** The scenario vectors: what a bill is made of, in numbers that were worked out by hand. */
import assert from "node:assert/strict";
import { test } from "node:test";

import type { UsageRecord } from "../../../operator/api/ledger.ts";
import type { PoolHistory } from "../../../operator/plan/metering/history.ts";
import { recordsOf } from "../../../operator/plan/metering/records.ts";
import { CLUSTER, claim, clock, history, hour, step } from "./histories.ts";

function inHour(h: number, ...pools: PoolHistory[]): UsageRecord[] {
  return recordsOf(pools, hour(h), { clusterId: CLUSTER });
}

function only(records: readonly UsageRecord[]): UsageRecord {
  assert.equal(records.length, 1);
  const [record] = records;
  assert.ok(record);
  return record;
}

test("1: a life of less than an hour is billed by its seconds, until the deletion", () => {
  const record = only(
    inHour(
      10,
      history({
        steps: [step("10:12:00", 1)],
        endedAt: clock("10:40:00"),
        claims: [claim({ claimed: "10:14:20", ready: "10:21:05", released: "10:43:30" })],
      }),
    ),
  );
  assert.equal(record.billableNodeSeconds, 1540);
  assert.equal(record.claimedNodeSeconds, 1750);
  assert.equal(record.readyNodeSeconds, 1135);
  assert.equal(record.desiredNodeSeconds, 1680);
  assert.deepEqual([record.from, record.to], ["2026-11-21T10:12:00Z", "2026-11-21T10:43:30Z"]);
});

test("2: a third node counts from its claim", () => {
  const claims = ["09:00:00", "09:00:01", "10:33:00"].map((claimed) => claim({ claimed }));
  const record = only(inHour(10, history({ steps: [step("09:00:00", 2), step("10:30:00", 3)], claims })));
  assert.equal(record.billableNodeSeconds, 8820);
  assert.equal(record.claimedNodeSeconds, 8820);
  assert.equal(record.desiredNodeSeconds, 9000);
  assert.equal(record.shortfallNodeSeconds, 180);
});

test("3: nodes that are released after a scale-down are surge", () => {
  const claims = [
    claim({ claimed: "09:00:00" }),
    claim({ claimed: "09:00:01", released: "10:32:00" }),
    claim({ claimed: "09:00:02", released: "10:35:00" }),
  ];
  const record = only(inHour(10, history({ steps: [step("09:00:00", 3), step("10:30:00", 1)], claims })));
  assert.equal(record.billableNodeSeconds, 7200);
  assert.equal(record.claimedNodeSeconds, 7620);
  assert.equal(record.surgeNodeSeconds, 420);
});

test("4: a replacement that overlaps its predecessor is surge", () => {
  const claims = [claim({ claimed: "09:00:00", released: "10:50:00" }), claim({ claimed: "10:40:00" })];
  const record = only(inHour(10, history({ steps: [step("09:00:00", 1)], claims })));
  assert.equal(record.billableNodeSeconds, 3600);
  assert.equal(record.claimedNodeSeconds, 4200);
  assert.equal(record.surgeNodeSeconds, 600);
});

test("5: nodes that were asked for and never came are shortfall and are not billed", () => {
  const claims = [claim({ claimed: "09:00:00" }), claim({ claimed: "09:00:01" })];
  const record = only(inHour(10, history({ steps: [step("09:00:00", 4)], claims })));
  assert.equal(record.billableNodeSeconds, 7200);
  assert.equal(record.claimedNodeSeconds, 7200);
  assert.equal(record.desiredNodeSeconds, 14400);
  assert.equal(record.shortfallNodeSeconds, 7200);
});

test("6: suspending stops the bill although the node is released later; the hours after it are recorded as zero", () => {
  const pool = history({
    steps: [step("09:00:00", 1), step("10:15:00", 0)],
    claims: [claim({ claimed: "09:00:00", released: "10:17:00" })],
  });
  const record = only(inHour(10, pool));
  assert.equal(record.billableNodeSeconds, 900);
  assert.equal(record.claimedNodeSeconds, 1020);
  assert.equal(record.surgeNodeSeconds, 120);
  const next = only(inHour(11, pool));
  assert.deepEqual([next.billableNodeSeconds, next.claimedNodeSeconds, next.claims.length], [0, 0, 0]);
});

test("7: an outage of ours changes nothing, since only the provider's times count", () => {
  const pool = history({
    steps: [step("09:00:00", 1), step("12:07:30", 0)],
    claims: [claim({ claimed: "09:00:00", released: "12:07:30" })],
  });
  const billable = [10, 11, 12, 13].map((h) => only(inHour(h, pool)).billableNodeSeconds);
  assert.deepEqual(billable, [3600, 3600, 450, 0]);
});

test("8: an end that is only the last proof of life marks the seconds of its own hour", () => {
  const pool = history({
    steps: [step("09:00:00", 1)],
    claims: [claim({ claimed: "09:00:00", released: "12:05:00", estimatedEnd: true })],
  });
  const records = [10, 11, 12, 13].map((h) => only(inHour(h, pool)));
  assert.deepEqual(
    records.map((record) => record.billableNodeSeconds),
    [3600, 3600, 300, 0],
  );
  assert.deepEqual(
    records.map((record) => record.estimatedNodeSeconds),
    [0, 0, 300, 0],
  );
});

test("9: a name that is deleted and used again is two meters", () => {
  const a = history({
    deploymentUID: "uid-a",
    steps: [step("09:00:00", 1)],
    endedAt: clock("10:20:00"),
    claims: [claim({ claimed: "09:00:00", released: "10:22:00" })],
  });
  const b = history({
    deploymentUID: "uid-b",
    steps: [step("10:25:00", 1)],
    claims: [claim({ claimed: "10:27:00" })],
  });
  const records = inHour(10, b, a);
  assert.deepEqual(
    records.map((record) => [record.deploymentUID, record.billableNodeSeconds, record.claimedNodeSeconds]),
    [
      ["uid-a", 1200, 1320],
      ["uid-b", 1980, 1980],
    ],
  );
  assert.notEqual(records[0]?.id, records[1]?.id);
});

test("a change of account or tags splits the hour at its second", () => {
  const pool = history({
    gpus: 8,
    steps: [
      step("10:00:00", 1),
      step("10:20:00", 1, "team-b"),
      step("10:30:00", 2, "team-b"),
      step("10:45:00", 2, "team-b", { env: "prod" }),
    ],
    claims: [claim({ id: "n1", claimed: "10:00:00" }), claim({ id: "n2", claimed: "10:30:00" })],
  });
  const records = inHour(10, pool);
  assert.deepEqual(
    records.map((record) => [record.part, record.account, record.tags, record.billableNodeSeconds, record.gpuSeconds]),
    [
      [0, "team-a", {}, 1200, 9600],
      [1, "team-b", {}, 600 + 1800, 19200],
      [2, "team-b", { env: "prod" }, 1800, 14400],
    ],
  );
  assert.deepEqual(
    records[1]?.claims.map(({ id }) => id),
    ["n1", "n2"],
  );
  assert.equal(new Set(records.map((record) => record.id)).size, 3);
});

test("a claim whose pool nobody knows is surge, never billable", () => {
  const record = only(inHour(10, history({ endedAt: clock("10:00:00"), claims: [claim({ claimed: "10:00:00" })] })));
  assert.deepEqual([record.billableNodeSeconds, record.surgeNodeSeconds, record.account], [0, 3600, "team-a"]);
});
