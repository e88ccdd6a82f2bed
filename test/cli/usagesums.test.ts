import assert from "node:assert/strict";
import { test } from "node:test";

import type { GroupedUsage } from "../../operator/api/usage.ts";
import { sumsChartOf, sumsCsvOf, sumsTableOf } from "../../operator/cli/usagesums.ts";
import { addToGroups } from "../../operator/plan/metering/groups.ts";
import { parseCsv } from "../../operator/plan/rating/csv.ts";
import { aRecord } from "../plan/rating/samples.ts";

function sums(days: readonly [day: string, name: string, billable: number, claimed: number][]): GroupedUsage {
  const by = { granularity: "day", groupBy: ["deployment"] } as const;
  const groups = new Map();
  for (const [day, name, billable, claimed] of days)
    addToGroups(groups, { ...aRecord({ day, name, billable, claimed }), open: day === "2026-11-23" }, by);
  const head = { from: "2026-11-21T00:00:00Z", to: "2026-11-24T00:00:00Z", asOf: "2026-11-23T12:00:00Z" };
  return { ...head, granularity: "day", groupBy: ["deployment"], groups: [...groups.values()] };
}

const some = sums([
  ["2026-11-21", "chat", 7200, 7200],
  ["2026-11-22", "embed", 3600, 7200],
  ["2026-11-23", "embed", 1800, 1800],
]);

test("sums as a table: members, totals, what is open", () => {
  assert.deepEqual(sumsTableOf(some).split("\n"), [
    "DAY (UTC)   NAMESPACE  DEPLOYMENT  CLAIMED  READY  BILLABLE  STATE",
    "2026-11-21  team       chat           7200   7200      7200  sealed",
    "2026-11-22  team       embed          7200   3600      3600  sealed",
    "2026-11-23  team       embed          1800   1800      1800  open",
    "TOTAL                                16200  12600     12600",
    "node-seconds; divide by 3600 for node-hours",
    "open: not sealed yet, counted up to 2026-11-23T12:00:00Z",
    "",
  ]);
  assert.match(sumsTableOf(some, { isWide: true }), /SHORTFALL/);
});

test("sums as a chart: a bar a group, in 80 columns", () => {
  const lines = sumsChartOf(some).trimEnd().split("\n");
  assert.match(lines[1] ?? "", /^2026-11-22 {2}team {2}embed +1\.00 █+░+$/);
  assert.match(lines[2] ?? "", /^2026-11-23 .* 0\.50 █+ open$/);
  assert.match(lines[3] ?? "", /^TOTAL +3\.50 node-hours/);
  assert.ok(lines.every((line) => [...line].length <= 80));
});

test("sums as CSV add up to those of the table; nothing is said to be nothing", () => {
  const { names, rows } = parseCsv(sumsCsvOf(some));
  const total = rows.reduce((all, row) => all + Number(row[names.indexOf("billableNodeSeconds")]), 0);
  assert.equal(total, 12_600);
  assert.match(sumsTableOf({ ...some, groups: [] }), /^no capacity between/);
  assert.match(sumsChartOf({ ...some, groups: [] }), /^no capacity between/);
});
