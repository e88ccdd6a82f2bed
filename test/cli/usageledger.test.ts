/** `berth usage --ledger-url`: the same answers from the ledger itself, without a server and without a cluster. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";

import { runUsage } from "../../operator/cli/usage.ts";
import { parseCsv } from "../../operator/plan/rating/csv.ts";
import { focusFindings } from "../../operator/plan/rating/focusrules.ts";
import { sumOf } from "../../operator/plan/rating/sum.ts";
import { sealed } from "../controllers/sinkrig.ts";
import { aPriceList } from "../plan/rating/samples.ts";

async function run(...args: string[]) {
  let [out, said] = ["", ""];
  const io = { write: (text: string) => void (out += text), complain: (text: string) => void (said += text) };
  return { code: await runUsage(args, { env: {}, ...io }), out, said };
}

test("records, sums and charges of sealed hours come from the ledger alone", async (t) => {
  const { folder } = await sealed(t, 12);
  const place = [
    "--ledger-url",
    pathToFileURL(join(folder, "ledger")).href,
    "--from",
    "2026-11-21",
    "--to",
    "2026-11-22",
  ];
  const sums = await run(...place, "--granularity", "day", "--group-by", "none");
  assert.equal(sums.code, 0, sums.said);
  assert.match(sums.out, /^2026-11-21 +270000 +270000 +270000 +sealed$/m);
  assert.equal(parseCsv((await run(...place, "-o", "csv")).out).rows.length, 75);
  assert.equal(parseCsv((await run(...place, "-o", "csv", "-d", "d07")).out).rows.length, 3);
  const prices = join(folder, "prices.json");
  await writeFile(prices, JSON.stringify(aPriceList()));
  const focus = [...place, "--from", "2026-11-01", "-o", "focus", "--price-list", prices, "--provider", "Example"];
  const { code, out, said } = await run(...focus);
  assert.equal(code, 0, said);
  assert.deepEqual(focusFindings("1.2", out), []);
  const { names, rows } = parseCsv(out);
  assert.equal(sumOf(rows.map((row) => row[names.indexOf("BilledCost")] ?? "")), "206.25");
});

test("a ledger that cannot be read, and a question that cannot be meant, are said in a line", async (t) => {
  const bucket = await run("--ledger-url", "s3://bucket/prefix");
  assert.deepEqual([bucket.code, /BERTH_LEDGER_ACCESS_KEY_ID/.test(bucket.said)], [1, true]);
  const { folder } = await sealed(t);
  const place = ["--ledger-url", pathToFileURL(join(folder, "ledger")).href];
  const { code, said } = await run(...place, "--from", "yesterday");
  assert.deepEqual([code, /write a UTC day/.test(said)], [1, true]);
});
