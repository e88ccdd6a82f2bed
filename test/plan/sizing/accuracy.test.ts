// Our two numbers against start-up reports of the real engine: the targets of the issue. `make bench BENCH=sizing` prints the table.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { allReports, compare, errorTable, isOwnMemory, median } from "./reported.ts";

const reports = allReports().filter(isOwnMemory);
const rows = reports.flatMap((report) => compare(report) ?? []);

describe("start-up reports", () => {
  test("have an address and can mostly be compared", () => {
    assert.ok(
      reports.length > 0 && rows.length >= reports.length / 2,
      `${String(rows.length)} of ${String(reports.length)}`,
    );
    for (const { url, id } of reports) assert.match(url, /^https:\/\//, id);
  });

  test("weights are within 2 % in the median", () => {
    const errors = rows.flatMap(({ weightBytes, reportedWeightBytes }) =>
      reportedWeightBytes === undefined ? [] : [Math.abs(weightBytes / reportedWeightBytes - 1)],
    );
    assert.ok(median(errors) <= 0.02, String(median(errors)));
  });

  test("expected tokens: median error at most 8 %, nine of ten within 20 %", () => {
    const errors = rows.map(({ expected, reported }) => Math.abs(expected / reported - 1));
    assert.ok(median(errors) <= 0.08, errorTable(rows));
    assert.ok(errors.filter((error) => error <= 0.2).length >= 0.9 * errors.length, errorTable(rows));
  });

  test("safe tokens exceed at most one report in forty and keep three quarters of the expected ones", () => {
    const over = rows.filter(({ safe, reported }) => safe > reported);
    assert.ok(over.length <= Math.ceil(rows.length / 40), errorTable(over));
    assert.ok(median(rows.map(({ safe, expected }) => safe / expected)) >= 0.75);
  });
});
