/** Cells that tenants chose, in files that people open with a spreadsheet: none of them may run. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";

import type { UsageRecord } from "../../operator/api/ledger.ts";
import { ledgerCommand } from "../../operator/cli/ledger.ts";
import { sumsCsvOf } from "../../operator/cli/usagesums.ts";
import { csvOf } from "../../operator/cli/usagetable.ts";
import { asPlainText, parseCsv } from "../../operator/plan/rating/csv.ts";
import { sealHour, sealed } from "../controllers/sinkrig.ts";
import { aRecord } from "../plan/rating/samples.ts";

const formulas = [
  "=1+1",
  "+1",
  "-1+1",
  "@SUM(A1)",
  "\t=1",
  "\r=1",
  "\n=1",
  "  =1",
  "\u00a0=1",
  "＝1",
  "＋1",
  "－1",
  "＠A1",
];
const starts = /^\s*[=+\-@\uFF1D\uFF0B\uFF0D\uFF20]/;

test("what begins a formula is told to be text, all else is left as it is", () => {
  for (const text of formulas) assert.equal(asPlainText(text), `'${text}`);
  for (const text of ["team-a", "2026-11-21T10:00:00Z", "", '{"k":"=1"}', "a=b", "'=1"])
    assert.equal(asPlainText(text), text);
});

test("export and usage as CSV: no cell of text begins a formula, numbers below zero stay numbers", async (t) => {
  const { ledger, folder } = await sealed(t, 10);
  const hostile = formulas.map((text, i): UsageRecord => {
    const record = aRecord({ name: `d${i}`, hour: 11 });
    return { ...record, account: text, sku: text, namespace: text, deploymentName: text, tags: { [text]: text } };
  });
  await sealHour(ledger, 11, [...hostile, { ...aRecord({ hour: 11 }), billableNodeSeconds: -600 }]);
  let out = "";
  const io = { env: {}, write: (text: string) => void (out += text) };
  const place = ["--ledger-url", pathToFileURL(join(folder, "ledger")).href];
  const args = ["export", "--format", "csv", "--from", "2026-11-21T11:00:00Z", ...place];
  await ledgerCommand(io, (code) => assert.equal(code, 0)).parseAsync(args, { from: "user" });
  const about = {
    asOf: "",
    from: "",
    to: "",
    records: [...hostile, aRecord()].map((one) => ({ ...one, open: false })),
  };
  for (const text of [out, csvOf(about as never)]) {
    const { names, rows } = parseCsv(text);
    assert.ok(rows.length > formulas.length);
    const cells = rows.flatMap((row) => row.map((cell, i) => [names[i], cell] as const));
    assert.deepEqual(
      cells.filter(([name, cell]) => starts.test(cell) && !/^-\d+$/.test(cell) && name !== undefined),
      [],
    );
  }
  assert.ok(parseCsv(out).rows.some((row) => row.includes("-600")));
});

test("sums as CSV: accounts of groups, too", () => {
  const group = { start: "2026-11-21T00:00:00Z", end: "2026-11-22T00:00:00Z", open: false, by: { account: "=1+1" } };
  const { names, rows } = parseCsv(sumsCsvOf({ groups: [group] } as never));
  assert.equal(rows[0]?.[names.indexOf("account")], "'=1+1");
});
