import assert from "node:assert/strict";
import fc from "fast-check";
import { test } from "node:test";

import type { UsageLine } from "../../../operator/api/usage.ts";
import { focusExport } from "../../../operator/cli/focus.ts";
import { csvText, parseCsv } from "../../../operator/plan/rating/csv.ts";
import { focusVersions } from "../../../operator/api/pricelist.ts";
import { focusColumns } from "../../../operator/plan/rating/focuscolumns.ts";
import type { FocusVersion } from "../../../operator/api/pricelist.ts";
import { focusFindings } from "../../../operator/plan/rating/focusrules.ts";
import { sumOf } from "../../../operator/plan/rating/sum.ts";
import type { SkuPrice } from "../../../operator/api/pricelist.ts";
import { aPriceList, aRecord } from "./samples.ts";
import type { RecordChoice } from "./samples.ts";

const from = "2026-11-01T00:00:00Z";
const parties = { provider: "Example Cloud", regionId: "eu-west" };

function fileOf(choices: readonly RecordChoice[], price: Partial<SkuPrice> = {}, version: FocusVersion = "1.2") {
  const records = choices.map((choice): UsageLine => ({ ...aRecord(choice), open: false }));
  return focusExport(records, { from, list: aPriceList(price), version, parties });
}

function columnOf(csv: string, name: string): string[] {
  const { names, rows } = parseCsv(csv);
  return rows.map((row) => row[names.indexOf(name)] ?? "");
}

test("what is exported keeps the rules of both versions, whatever the hours and prices", () => {
  const choice = fc.record({
    hour: fc.integer({ min: 0, max: 23 }),
    name: fc.constantFrom("a", 'b", c'),
    gpus: fc.constantFrom(1, 8),
    billable: fc.integer({ min: 0, max: 50_000 }),
  });
  const price = fc.record({
    unit: fc.constantFrom("node-hour" as const, "gpu-minute" as const, "node-second" as const),
    unitPrice: fc.constantFrom("0", "2.75", "0.000000000001", "999999999999.999999999999"),
  });
  fc.assert(
    fc.property(
      fc.array(choice, { maxLength: 10 }),
      price,
      fc.constantFrom(...focusVersions),
      (given, asked, version) => {
        const hours = given.toSorted((a, b) => a.hour - b.hour);
        const { csv } = fileOf(hours, asked, version);
        assert.deepEqual(focusFindings(version, csv), []);
        assert.equal(parseCsv(csv).rows.length, hours.length);
      },
    ),
  );
});

test("mandatory columns are those of the version", () => {
  const mandatory = (version: FocusVersion) => focusColumns(version).filter((column) => column.mandatory);
  assert.deepEqual(
    focusVersions.map((version) => mandatory(version).length),
    [21, 21],
  );
  assert.deepEqual(
    focusVersions.map((version) => focusColumns(version).length),
    [57, 65],
  );
  const { csv } = fileOf([{}], {}, "1.4");
  assert.ok(
    focusFindings("1.2", csv).some(({ column, problem }) => column === "ProviderName" && /missing/.test(problem)),
  );
  assert.ok(
    focusFindings("1.2", csv).some(({ column, problem }) => column === "HostProviderName" && /no column/.test(problem)),
  );
});

test("a charge: hour, month, quantity, price, and whose it is", () => {
  const { csv } = fileOf([{ billable: 1200, gpus: 8 }]);
  const cell = (name: string) => columnOf(csv, name)[0];
  assert.deepEqual(["ChargePeriodStart", "ChargePeriodEnd", "BillingPeriodStart", "BillingPeriodEnd"].map(cell), [
    "2026-11-21T10:00:00Z",
    "2026-11-21T11:00:00Z",
    from,
    "2026-12-01T00:00:00Z",
  ]);
  assert.deepEqual(
    ["ConsumedQuantity", "ConsumedUnit", "PricingQuantity", "PricingUnit", "ListUnitPrice", "BilledCost"].map(cell),
    ["1200.0", "Node-Seconds", "0.333333333333", "Node-Hours", "2.75", "0.91666666666575"],
  );
  assert.deepEqual(
    ["BillingAccountId", "SubAccountId", "ResourceName", "SkuId", "SkuPriceId", "SkuPriceDetails", "Tags"].map(cell),
    ["team", "team", "chat", "l4-1", "l4-1", '{"GpuCount":8}', ""],
  );
});

test("tiers are prices of their own; a minimum is charged and not consumed, also for a session that began the month before", () => {
  const tiered = fileOf([{ billable: 7200 }], {
    unitPrice: undefined,
    tiers: [{ upTo: "1", unitPrice: "2" }, { unitPrice: "1" }],
  });
  assert.deepEqual(columnOf(tiered.csv, "SkuPriceId"), ["l4-1", "l4-1/tier-1"]);
  assert.deepEqual(focusFindings("1.2", tiered.csv), []);
  const claims = [{ id: "n1", claimedAt: "2026-10-31T23:50:00Z", releasedAt: "2026-11-01T00:10:00Z" }];
  const session: RecordChoice[] = [
    { day: "2026-10-31", hour: 23, billable: 600, claims },
    { day: "2026-11-01", hour: 0, billable: 600, claims },
  ];
  const list = { ...aPriceList({ minimumSessionSeconds: 3600 }) };
  const versions = list.versions.map((one) => ({ ...one, validFrom: "2026-10-01T00:00:00Z" }));
  const records = session.map((choice): UsageLine => ({ ...aRecord(choice), open: false }));
  const { csv } = focusExport(records, { from, list: { ...list, versions }, version: "1.2", parties });
  assert.deepEqual(columnOf(csv, "x_Kind"), ["usage", "minimum"]);
  assert.deepEqual(columnOf(csv, "ConsumedQuantity"), ["600.0", "0.0"]);
  assert.equal(sumOf(columnOf(csv, "PricingQuantity")), "0.833333333334");
  assert.deepEqual(focusFindings("1.2", csv), []);
});

test("open hours are left out and counted; a SKU without a price is named", () => {
  const records = [aRecord({ hour: 1 }), aRecord({ hour: 2, sku: "h100-8" }), aRecord({ hour: 3 })];
  const lines = records.map((record, at): UsageLine => ({ ...record, open: at === 2 }));
  const { csv, open, unpriced } = focusExport(lines, { from, list: aPriceList(), version: "1.2", parties });
  assert.deepEqual([parseCsv(csv).rows.length, open, unpriced], [1, 1, ["h100-8"]]);
});

/** The file with one cell written anew. */
function changed(name: string, value: string): string {
  const { names, rows } = parseCsv(fileOf([{}, { hour: 11 }]).csv);
  const written = rows.map((row, at) =>
    Object.fromEntries(names.map((one, i) => [one, at === 0 && one === name ? value : (row[i] ?? "")])),
  );
  return csvText(names, written);
}

test("each broken rule is named by row and column", () => {
  const broken: readonly [string, string, RegExp][] = [
    ["BilledCost", "", /must not be null/],
    ["BilledCost", "1,000", /no decimal/],
    ["BilledCost", "+1", /no decimal/],
    ["ListCost", "2.76", /times ListUnitPrice is 2.75/],
    ["ListUnitPrice", "-1", /below 0/],
    ["ChargeCategory", "Use", /allowed: Usage/],
    ["ChargeClass", "Correct", /allowed: Correction/],
    ["ChargePeriodStart", "2026-11-21T10:00:00+01:00", /YYYY-MM-DD/],
    ["ChargePeriodStart", "2026-02-30T10:00:00Z", /YYYY-MM-DD/],
    ["ChargePeriodEnd", "2026-11-21T10:00:00Z", /not after/],
    ["BillingPeriodStart", "2026-11-22T00:00:00Z", /not in the billing period/],
    ["PricingUnit", "node hours", /Node-Hours/],
    ["PricingUnit", "", /is null and PricingQuantity is not/],
    ["ConsumedQuantity", "", /must not be null where ChargeCategory is Usage/],
    ["SkuId", "other", /belongs to other/],
    ["SkuPriceDetails", "[]", /no JSON object/],
    ["Tags", '{"a":{"b":1}}', /no JSON object/],
    ["BillingCurrency", "Euro", /ISO 4217/],
  ];
  for (const [column, value, problem] of broken) {
    const findings = focusFindings("1.2", changed(column, value));
    assert.ok(
      findings.some((one) => problem.test(one.problem)),
      `${column}=${value}: ${JSON.stringify(findings)}`,
    );
    assert.ok(findings.every(({ row }) => row === 1 || column === "SkuId"));
  }
  assert.match(focusFindings("1.2", 'A,"B\r\n')[0]?.problem ?? "", /not closed/);
});

test("CSV is read back as it was written", () => {
  const cell = fc.string().map((text) => text.replaceAll("\0", ""));
  fc.assert(
    fc.property(fc.array(fc.tuple(cell, cell), { maxLength: 8 }), (rows) => {
      const text = csvText(
        ["a", "b"],
        rows.map(([a, b]) => ({ a, b })),
      );
      assert.deepEqual(parseCsv(text), { names: ["a", "b"], rows });
    }),
  );
});
