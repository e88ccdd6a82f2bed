/** What becomes known of a month that was billed: a Correction in the sink's file of the next one, a part of the month in the command's. */
import assert from "node:assert/strict";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";

import { openLedger } from "../../operator/adapters/ledger/open.ts";
import type { UsageRecord } from "../../operator/api/ledger.ts";
import { focusVersions } from "../../operator/api/pricelist.ts";
import { focusExport } from "../../operator/cli/focus.ts";
import { recordId } from "../../operator/plan/metering/identity.ts";
import { parseCsv } from "../../operator/plan/rating/csv.ts";
import { focusFindings } from "../../operator/plan/rating/focusrules.ts";
import { aPriceList, aRecord } from "../plan/rating/samples.ts";
import { folderFor, sealHour, sinkOn } from "./sinkrig.ts";

const provider = "Example Cloud";
/** Two hours of the month at 2, the rest at 1. */
const list = aPriceList({ unitPrice: undefined, tiers: [{ upTo: "2", unitPrice: "2" }, { unitPrice: "1" }] });
const ninth = 9 * 24;
const charged = [aRecord({ day: "2026-11-30", hour: 22, billable: 7200 }), aRecord({ day: "2026-11-30", hour: 23 })];

/** Half of the last hour of November is taken back. */
function takenBack(): UsageRecord {
  const [, hour] = charged;
  assert.ok(hour);
  const identity = { ...hour, rev: 1 };
  const seconds = { claimedNodeSeconds: -1800, readyNodeSeconds: -1800, billableNodeSeconds: -1800, gpuSeconds: -1800 };
  return {
    ...identity,
    ...seconds,
    desiredNodeSeconds: 0,
    shortfallNodeSeconds: 1800,
    kind: "adjustment",
    id: recordId(identity),
    corrects: hour.id,
  };
}

const december = aRecord({ day: "2026-12-01", hour: 0, billable: 3600 });
const columns = ["ChargeClass", "BillingPeriodStart", "ChargePeriodStart", "ConsumedQuantity", "BilledCost"];

function cells(csv: string): string[][] {
  const { names, rows } = parseCsv(csv);
  return rows.map((row) => columns.map((name) => row[names.indexOf(name)] ?? ""));
}

for (const version of focusVersions) {
  test(`a sink writes a Correction of FOCUS ${version} into the month in which it became known, at the price of its own hour`, async (t) => {
    const folder = await folderFor(t);
    const ledger = openLedger({ url: pathToFileURL(join(folder, "ledger")).href });
    const out = join(folder, "out");
    await mkdir(out);
    const prices = join(folder, "prices.json");
    await writeFile(prices, JSON.stringify(list));
    for (const [at, record] of charged.entries()) await sealHour(ledger, ninth + 22 + at, [record]);
    await sealHour(ledger, ninth + 24, [takenBack(), december]);
    const given = { name: "focus", type: "focus", url: pathToFileURL(out).href, provider, version };
    await sinkOn(ledger, given, prices).sink.pass();
    const csv = await readFile(join(out, "period=2026-12/dt=2026-12-01/hr=000000.csv"), "utf8");
    const first = "2026-12-01T00:00:00Z";
    assert.deepEqual(cells(csv), [
      ["Correction", first, "2026-11-30T23:00:00Z", "-1800.0", "-0.5"],
      ["", first, first, "3600.0", "2.0"],
    ]);
    assert.deepEqual(focusFindings(version, csv), []);
  });

  test(`the command tells November in FOCUS ${version} as it is known now, negative lines and all`, () => {
    const records = [...charged, takenBack()].map((record) => ({ ...record, open: false }));
    const about = { from: "2026-11-01T00:00:00Z", list, version, parties: { provider } };
    const { csv } = focusExport(records, about);
    const first = "2026-11-01T00:00:00Z";
    assert.deepEqual(cells(csv), [
      ["", first, "2026-11-30T22:00:00Z", "7200.0", "4.0"],
      ["", first, "2026-11-30T23:00:00Z", "3600.0", "1.0"],
      ["", first, "2026-11-30T23:00:00Z", "-1800.0", "-0.5"],
    ]);
    assert.deepEqual(focusFindings(version, csv), []);
  });
}
