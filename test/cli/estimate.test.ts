import assert from "node:assert/strict";
import { test } from "node:test";

import { estimateOf } from "../../operator/cli/estimate.ts";
import { aPriceList, aRecord } from "../plan/rating/samples.ts";

test("hours of a report are estimated in order of time; what has no price is named", () => {
  const records = [{ hour: 11, billable: 1200 }, { hour: 10 }, { hour: 10, sku: "h100-8", name: "big" }];
  const report = { from: "", to: "", asOf: "", records: records.map((one) => ({ ...aRecord(one), open: false })) };
  assert.equal(
    estimateOf(report, aPriceList()),
    "estimate: 3.67 EUR (standard, 2026-11)\nnot priced and not in it: h100-8\n",
  );
});

test("an estimate has as many decimals as its currency", () => {
  const report = { from: "", to: "", asOf: "", records: [{ ...aRecord({ billable: 1200 }), open: false }] };
  const said = ["EUR", "JPY", "KWD", "XXA"].map((currency) => estimateOf(report, { ...aPriceList(), currency }));
  assert.deepEqual(
    said.map((line) => line.split(" (")[0]),
    ["estimate: 0.92 EUR", "estimate: 1 JPY", "estimate: 0.917 KWD", "estimate: 0.92 XXA"],
  );
});
