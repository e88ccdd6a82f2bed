import assert from "node:assert/strict";
import { test } from "node:test";

import { chartOf } from "../../operator/cli/usagechart.ts";
import { aRecord } from "../plan/rating/samples.ts";
import type { RecordChoice } from "../plan/rating/samples.ts";

const report = (choices: readonly RecordChoice[], to = "2026-12-01T00:00:00Z") => ({
  from: "2026-11-21T00:00:00Z",
  to,
  asOf: to,
  records: choices.map((choice) => ({ ...aRecord(choice), open: false })),
});

test("a line a day in 80 columns, days without capacity too, what is not billed lighter", () => {
  const text = chartOf(
    report([
      { day: "2026-11-21", billable: 7200 },
      { day: "2026-11-21", name: "b", billable: 3600, claimed: 7200 },
      { day: "2026-11-23", billable: 3600 },
    ]),
  );
  const lines = text.trimEnd().split("\n");
  assert.deepEqual(lines, [
    `2026-11-21             3.00 ${"█".repeat(33)}${"░".repeat(11)}`,
    "2026-11-22             0.00",
    `2026-11-23             1.00 ${"█".repeat(11)}`,
    "TOTAL                  4.00 node-hours, billable █, beyond it ░",
  ]);
  assert.ok(lines.every((line) => [...line].length <= 80));
});

test("a line an hour where the question is short; nothing to show is said", () => {
  const lines = chartOf(report([{ hour: 10 }, { hour: 11, billable: 1800 }], "2026-11-22T00:00:00Z")).split("\n");
  assert.deepEqual(lines.slice(0, 2), [
    `2026-11-21 10:00       1.00 ${"█".repeat(44)}`,
    `2026-11-21 11:00       0.50 ${"█".repeat(22)}`,
  ]);
  assert.match(chartOf(report([])), /^no capacity between/);
});
