/**
 * Checks a FOCUS file (dataset Cost and Usage) by the published rules of its columns: presence, nulls, types, allowed values,
 * which cells need each other, and the arithmetic of costs. Not checked: sums over commitment discounts and over invoices.
 */
import Big from "big.js";

import { parseCsv } from "./csv.ts";
import { focusColumns } from "./focuscolumns.ts";
import type { FocusVersion } from "../../api/pricelist.ts";
import type { FocusColumn } from "./focuscolumns.ts";

export interface FocusFinding {
  /** Counted from 1 below the heading; 0 is the heading. */
  readonly row: number;
  readonly column: string;
  readonly problem: string;
}

type Cells = ReadonlyMap<string, string | null>;

/** No finding: the file may be handed on. At most `most` findings are listed. */
export function focusFindings(version: FocusVersion, text: string, most = 100): readonly FocusFinding[] {
  let csv;
  try {
    csv = parseCsv(text);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return [{ row: 0, column: "", problem: error.message }];
  }
  const { names, rows } = csv;
  const findings = headingProblems(version, names);
  const columns = focusColumns(version).filter(({ name }) => names.includes(name));
  const prices = new Map<string, string>();
  for (const [at, cells] of rows.entries()) {
    if (findings.length >= most) break;
    const row = at + 1;
    if (cells.length !== names.length) {
      const problem = `has ${String(cells.length)} cells, the heading ${String(names.length)}`;
      findings.push({ row, column: "", problem });
      continue;
    }
    const byName: Cells = new Map(names.map((name, i) => [name, cells[i] === "" ? null : (cells[i] ?? null)]));
    for (const [column, problem] of rowProblems(columns, byName, prices)) findings.push({ row, column, problem });
  }
  return findings.slice(0, most);
}

function headingProblems(version: FocusVersion, names: readonly string[]): FocusFinding[] {
  const all = focusColumns(version);
  const known = new Set(all.map(({ name }) => name));
  const missing = all.filter(({ name, mandatory }) => mandatory && !names.includes(name));
  const problems: [string, string][] = missing.map(({ name }) => [name, `is mandatory in ${version} and missing`]);
  let custom = false;
  for (const [at, name] of names.entries()) {
    if (names.indexOf(name) !== at) problems.push([name, "is there twice"]);
    if (name.startsWith("x_")) custom = true;
    else if (!known.has(name)) problems.push([name, `is no column of ${version}; begin a custom one with x_`]);
    else if (custom) problems.push([name, "stands after a custom column"]);
  }
  return problems.map(([column, problem]) => ({ row: 0, column, problem }));
}

type Problem = readonly [column: string, problem: string];

function rowProblems(columns: readonly FocusColumn[], cells: Cells, prices: Map<string, string>): Problem[] {
  const single = columns.flatMap((column): Problem[] => {
    const problem = cellProblem(column, cells.get(column.name) ?? null);
    return problem === undefined ? [] : [[column.name, problem]];
  });
  // Rules between cells make sense only where each cell is what it should be.
  return single.length > 0
    ? single
    : [
        ...usageProblems(cells),
        ...pairProblems(cells),
        ...timeProblems(cells),
        ...costProblems(cells),
        ...skuProblems(cells, prices),
      ];
}

function cellProblem({ nullable, type, values }: FocusColumn, cell: string | null): string | undefined {
  if (cell === null) return nullable ? undefined : "must not be null";
  if (values && !values.includes(cell)) return `is ${cell}; allowed: ${values.join(", ")}`;
  if (type === "decimal" && !/^-?\d+(\.\d+)?(E[+-]?\d+)?$/i.test(cell)) return `is ${cell}, which is no decimal`;
  if (type === "time" && !isTime(cell)) return `is ${cell}; write YYYY-MM-DDTHH:mm:ssZ`;
  return type === "json" && !isKeyValues(cell) ? "is no JSON object of keys with plain values" : undefined;
}

function isTime(cell: string): boolean {
  if (!/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$/.test(cell)) return false;
  const ms = Date.parse(cell);
  return !Number.isNaN(ms) && new Date(ms).toISOString() === cell.replace("Z", ".000Z");
}

/** Key-value format: one level, values are texts, numbers, booleans or null. */
function isKeyValues(cell: string): boolean {
  try {
    const parsed: unknown = JSON.parse(cell);
    if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) return false;
    return Object.values(parsed).every((value) => value === null || typeof value !== "object");
  } catch {
    return false;
  }
}

const neededForUsage = [
  "PricingQuantity",
  "PricingUnit",
  "ListUnitPrice",
  "ContractedUnitPrice",
  "SkuId",
  "SkuPriceId",
];

/** What a charge for usage or a purchase must name, unless it corrects a former one; what a tax must not. */
function usageProblems(cells: Cells): Problem[] {
  const category = cells.get("ChargeCategory");
  const correction = cells.get("ChargeClass") === "Correction";
  const sold = (category === "Usage" || category === "Purchase") && !correction;
  const needed = [...neededForUsage, "PricingCategory"].filter((name) => cells.has(name));
  if (sold) {
    const missing = needed.filter((name) => cells.get(name) === null);
    if (
      category === "Usage" &&
      cells.get("ConsumedQuantity") === null &&
      cells.get("CommitmentDiscountStatus") !== "Unused"
    )
      missing.push("ConsumedQuantity");
    return missing.map((name) => [name, `must not be null where ChargeCategory is ${category ?? ""}`]);
  }
  if (category !== "Tax") return [];
  return needed
    .filter((name) => cells.get(name) !== null)
    .map((name) => [name, "must be null where ChargeCategory is Tax"]);
}

const together = [
  ["PricingQuantity", "PricingUnit"],
  ["ConsumedQuantity", "ConsumedUnit"],
] as const;

function pairProblems(cells: Cells): Problem[] {
  const problems = together.flatMap(([quantity, unit]): Problem[] => {
    const [has, named] = [cells.get(quantity) ?? null, cells.get(unit) ?? null];
    if ((has === null) !== (named === null)) return [[unit, `is null and ${quantity} is not, or the reverse`]];
    return named !== null && !unitForm.test(named) ? [[unit, `is ${named}; write for example Node-Hours`]] : [];
  });
  if ((cells.get("SkuPriceDetails") ?? null) !== null && (cells.get("SkuPriceId") ?? null) === null)
    problems.push(["SkuPriceDetails", "must be null where SkuPriceId is"]);
  if (!/^[A-Z]{3}$/.test(cells.get("BillingCurrency") ?? ""))
    problems.push(["BillingCurrency", "is no code of ISO 4217"]);
  return problems;
}

/** Unit format: an optional whole number, a capitalised noun in plural, or a singular with a plural of time after a dash. */
const unitForm =
  /^(\d+ )?([A-Z][A-Za-z]*)(-(Years|Months|Days|Hours|Minutes|Seconds)|\/(Year|Month|Day|Hour|Minute|Second))?$/;

function timeProblems(cells: Cells): Problem[] {
  const of = (name: string): string => cells.get(name) ?? "";
  const problems: Problem[] = [];
  for (const kind of ["Billing", "Charge"]) {
    if (of(`${kind}PeriodEnd`) <= of(`${kind}PeriodStart`))
      problems.push([`${kind}PeriodEnd`, `is not after ${kind}PeriodStart`]);
  }
  const usage = of("ChargeCategory") === "Usage" && cells.get("ChargeClass") !== "Correction";
  const outside =
    of("ChargePeriodStart") < of("BillingPeriodStart") || of("ChargePeriodStart") >= of("BillingPeriodEnd");
  if (usage && outside) problems.push(["ChargePeriodStart", "is not in the billing period"]);
  return problems;
}

/** PricingQuantity × unit price = cost, exactly; unit prices are never negative. */
function costProblems(cells: Cells): Problem[] {
  return ["List", "Contracted"].flatMap((kind): Problem[] => {
    const [price, quantity] = [cells.get(`${kind}UnitPrice`) ?? null, cells.get("PricingQuantity") ?? null];
    if (price === null) return [];
    if (new Big(price).lt("0")) return [[`${kind}UnitPrice`, `is ${price}, below 0`]];
    if (quantity === null || cells.get("ChargeClass") === "Correction") return [];
    const cost = new Big(price).times(quantity);
    const said = cells.get(`${kind}Cost`) ?? "0";
    if (cost.eq(said)) return [];
    return [[`${kind}Cost`, `is ${said}, and PricingQuantity times ${kind}UnitPrice is ${cost.toFixed()}`]];
  });
}

/** A price has one parent SKU in the whole file. */
function skuProblems(cells: Cells, prices: Map<string, string>): Problem[] {
  const [sku, price] = [cells.get("SkuId") ?? null, cells.get("SkuPriceId") ?? null];
  if (sku === null || price === null) return [];
  const parent = prices.get(price) ?? sku;
  prices.set(price, parent);
  return parent === sku ? [] : [["SkuPriceId", `belongs to ${parent} in a row before and to ${sku} here`]];
}
