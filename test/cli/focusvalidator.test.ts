/**
 * The FinOps Foundation's own validator (PyPI: focus-validator, Python 3.12) reads the files of FOCUS 1.2. In `make soak` only,
 * where it can be installed; BERTH_PYTHON names an interpreter. Its rules end with 1.3, so files of 1.4 are held by ours alone.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync, globSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";

import type { PriceList } from "../../operator/api/pricelist.ts";
import type { UsageLine } from "../../operator/api/usage.ts";
import { focusExport } from "../../operator/cli/focus.ts";
import { cacheDir } from "../cluster/paths.ts";
import { aPriceList, aRecord } from "../plan/rating/samples.ts";

const run = promisify(execFile);
/** pyarrow 20 and later need another numpy than the validator pins. */
const packages = ["focus-validator==2.2.1", "pyarrow<20"];
/** What our files claim to support; without these the validator passes over most of its rules. */
const criteria = [
  ..."ACCOUNT_NAMING_SUPPORTED,USAGE_MEASUREMENT_SUPPORTED,UNIT_PRICING_SUPPORTED,SUB_ACCOUNT_SUPPORTED".split(","),
  ..."BILLING_BASED_ON_PROVISIONED_RESOURCES_SUPPORTED,RESOURCE_TYPE_ASSIGNMENT_SUPPORTED".split(","),
  ..."REGION_SUPPORTED,TAGGING_SUPPORTED,MULTIPLE_PRICING_CATEGORIES_SUPPORTED".split(","),
];
/** One branch of an alternative whose other branch (null without an invoice) holds. */
const alternatives = ["InvoiceId-C-005-C"];

async function pythonOf(): Promise<string | undefined> {
  const pyenv = process.env["PYENV_ROOT"] ?? join(homedir(), ".pyenv");
  const kept = globSync(join(pyenv, "versions", "3.12.*", "bin", "python3"));
  for (const name of [process.env["BERTH_PYTHON"] ?? "", "python3.12", "python3.13", ...kept]) {
    if (name === "") continue;
    const { stdout } = await run(name, ["--version"]).catch(() => ({ stdout: "" }));
    if (/^Python 3\.1[2-9]/.test(stdout)) return name;
  }
  return undefined;
}

/** The validator in an environment of its own, or why there is none. */
async function validator(): Promise<{ readonly program: string } | { readonly reason: string }> {
  const environment = join(cacheDir(), "focus-validator");
  const program = join(environment, "bin", "focus-validator");
  if (existsSync(program)) return { program };
  const python = await pythonOf();
  if (!python) return { reason: "there is no Python 3.12 (BERTH_PYTHON names one)" };
  try {
    await run(python, ["-m", "venv", environment]);
    await run(join(environment, "bin", "pip"), ["install", "--quiet", ...packages], { timeout: 300_000 });
    return { program };
  } catch (error) {
    await rm(environment, { recursive: true, force: true });
    return { reason: `it could not be installed: ${error instanceof Error ? error.message.slice(0, 300) : ""}` };
  }
}

/** A month with tiers, minimums, tags, GPUs, quotes in names and hours of nothing. */
function aMonth(list: PriceList): string {
  const session = { id: "n1", claimedAt: "2026-11-21T10:00:00Z", releasedAt: "2026-11-21T10:20:00Z" };
  const records = Array.from({ length: 48 }, (_, at): UsageLine => {
    const choice = { day: `2026-11-${String(21 + Math.floor(at / 24))}`, hour: at % 24, name: at % 2 ? 'b, "c"' : "a" };
    const billable = at === 10 ? 1200 : (at * 397) % 9000;
    const claims = at === 10 ? [session] : [];
    const record = aRecord({ ...choice, billable, gpus: at % 3 ? 8 : 1, claims });
    return { ...record, tags: at % 5 ? { team: "x y" } : {}, account: at % 7 ? "team" : "", open: false };
  });
  const parties = { provider: "Example Cloud", regionId: "eu-west" };
  return focusExport(records, { from: "2026-11-01T00:00:00Z", list, version: "1.2", parties }).csv;
}

test("the FinOps Foundation's validator accepts a file of FOCUS 1.2, and finds a broken one", async (t) => {
  if (process.env["BERTH_SOAK"] !== "1") return t.skip("the FinOps Foundation's validator runs in make soak only");
  const found = await validator();
  if ("reason" in found) return t.skip(`the FinOps Foundation's validator was not run: ${found.reason}`);
  const folder = await mkdtemp(join(tmpdir(), "berth-focusvalidator-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const failed = async (csv: string): Promise<string[]> => {
    const file = join(folder, "file.csv");
    await writeFile(file, csv);
    const args = ["--data-file", file, "--validate-version", "1.2", "--block-download"];
    // It looks for its currencies below the current folder.
    const [packagesAt] = (
      await run(join(dirname(found.program), "python"), ["-c", "import focus_validator as f; print(f.__path__[0])"])
    ).stdout.split("\n");
    const cwd = dirname(packagesAt ?? "");
    const { stdout } = await run(found.program, [...args, "--applicability-criteria", criteria.join(",")], {
      cwd,
      maxBuffer: 2 ** 26,
    });
    assert.match(stdout, /Pass: [12]\d\d /, "it has looked");
    return [...stdout.matchAll(/^\S+ (\S+): FAIL/gm)].flatMap(([, rule = ""]) =>
      alternatives.includes(rule) ? [] : [rule],
    );
  };
  const tiers = [{ upTo: "20", unitPrice: "2.75" }, { unitPrice: "2.1" }];
  const lists = [
    aPriceList({ minimumSessionSeconds: 3600 }),
    aPriceList({ unitPrice: undefined, tiers }),
    aPriceList({ unit: "gpu-minute", unitPrice: "0.01" }),
    aPriceList({ unitPrice: "3", unit: "node-second" }),
  ];
  for (const list of lists) assert.deepEqual(await failed(aMonth(list)), []);
  assert.notDeepEqual(await failed(aMonth(aPriceList()).replaceAll(",Usage,", ",Use,")), []);
});
