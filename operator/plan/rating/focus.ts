/** Rated lines as rows of FOCUS: a charge of category Usage a line, final once its window is sealed. */
import type { UsageRecord } from "../../api/ledger.ts";
import { canonicalJson } from "../metering/canonical.ts";
import { instantOfSeconds, secondsOf } from "../metering/windows.ts";
import { periodOf } from "../metering/groups.ts";
import { csvText } from "./csv.ts";
import type { CsvRow } from "./csv.ts";
import { focusColumns } from "./focuscolumns.ts";
import type { FocusVersion } from "../../api/pricelist.ts";
import type { RatedLine } from "./rate.ts";

/** What the ledger does not know. */
export interface FocusParties {
  /** Who sells the capacity and writes the invoice. */
  readonly provider: string;
  readonly regionId?: string;
}

const ownColumns = ["x_Kind", "x_PriceList", "x_PriceVersion", "x_RecordId"] as const;
const units: Readonly<Record<RatedLine["unit"], string>> = {
  "node-second": "Node-Seconds",
  "node-minute": "Node-Minutes",
  "node-hour": "Node-Hours",
  "gpu-second": "GPU-Seconds",
  "gpu-minute": "GPU-Minutes",
  "gpu-hour": "GPU-Hours",
};

export interface Charge {
  readonly record: UsageRecord;
  readonly line: RatedLine;
  /** Begin in seconds of the month in which a charge of a former month is written; absent where it is the charge's own. */
  readonly billedIn?: number;
}

/** Charges of the records that became known with the window that begins at `start`: what belongs to a former month corrects it. */
export function chargesOf(
  records: readonly UsageRecord[],
  lines: readonly RatedLine[],
  start: number,
): readonly Charge[] {
  const byId = new Map(records.map((record) => [record.id, record]));
  const month = periodOf(start, "month");
  return lines.flatMap((line): Charge[] => {
    const record = byId.get(line.recordId);
    if (!record) return [];
    return [{ record, line, ...(secondsOf(record.windowStart) < month.start ? { billedIn: month.start } : {}) }];
  });
}

/** A file with all mandatory columns of the version; the order of rows is that of the charges. */
export function focusCsv(version: FocusVersion, charges: readonly Charge[], parties: FocusParties): string {
  const rows = charges.map((charge) => focusRow(charge, parties));
  const known = focusColumns(version).filter(({ name, mandatory }) => mandatory || emitted.has(name));
  const decimals = known.filter(({ type }) => type === "decimal").map(({ name }) => name);
  return csvText(
    [...known.map(({ name }) => name), ...ownColumns],
    rows.map((row) => withFractions(row, decimals)),
  );
}

/** 1 as 1.0: readers that tell a column's type by its text (the FinOps Foundation's validator does) take it for decimals then. */
function withFractions(row: CsvRow, decimals: readonly string[]): CsvRow {
  const changed = decimals.flatMap((name) => {
    const cell = row[name] ?? null;
    return cell === null || cell.includes(".") ? [] : [[name, `${cell}.0`]];
  });
  return { ...row, ...Object.fromEntries(changed) };
}

/** Values of all versions; the version's columns choose. Nothing is discounted: list, contracted, effective and billed cost are one. */
function focusRow({ record, line, billedIn }: Charge, parties: FocusParties): CsvRow {
  const what = { ...whatAndWhen(record, line), ...billing(record, billedIn) };
  return { ...costs(line), ...whoAndWhere(record, parties), ...what, ...ownValues(line) };
}

function costs(line: RatedLine): CsvRow {
  return {
    BilledCost: line.cost,
    ContractedCost: line.cost,
    EffectiveCost: line.cost,
    ListCost: line.cost,
    ContractedUnitPrice: line.unitPrice,
    ListUnitPrice: line.unitPrice,
    BillingCurrency: line.currency,
    PricingCategory: "Standard",
    PricingQuantity: line.quantity,
    PricingUnit: units[line.unit],
    // No commitments are sold; the column stands there since rules of ConsumedQuantity look at it.
    CommitmentDiscountStatus: null,
    // What is charged up to a minimum was not used.
    ConsumedQuantity: line.kind === "usage" ? String(line.seconds) : "0",
    ConsumedUnit: line.unit.startsWith("gpu") ? "GPU-Seconds" : "Node-Seconds",
  };
}

function whoAndWhere(record: UsageRecord, { provider, regionId }: FocusParties): CsvRow {
  const tags = Object.keys(record.tags).length === 0 ? null : canonicalJson(record.tags);
  return {
    BillingAccountId: record.account === "" ? `namespace/${record.namespace}` : record.account,
    BillingAccountName: record.account === "" ? record.namespace : record.account,
    SubAccountId: record.namespace,
    SubAccountName: record.namespace,
    // The invoice is written elsewhere; its number is not known here.
    InvoiceId: null,
    InvoiceIssuerName: provider,
    ProviderName: provider,
    PublisherName: provider,
    ServiceProviderName: provider,
    HostProviderName: null,
    RegionId: regionId ?? null,
    RegionName: regionId ?? null,
    ResourceId: `//berth.dev/clusters/${record.cluster}/modeldeployments/${record.deploymentUID}`,
    ResourceName: record.deploymentName,
    ResourceType: "ModelDeployment",
    Tags: tags,
  };
}

/** A charge of a month that was billed before is a correction in the month in which it becomes known. */
function billing({ windowStart }: UsageRecord, billedIn: number | undefined): CsvRow {
  const month = periodOf(billedIn ?? secondsOf(windowStart), "month");
  return {
    BillingPeriodStart: instantOfSeconds(month.start),
    BillingPeriodEnd: instantOfSeconds(month.end),
    ChargeClass: billedIn === undefined ? null : "Correction",
  };
}

function whatAndWhen(record: UsageRecord, line: RatedLine): CsvRow {
  // Stable over versions of the list, as FOCUS asks: a new price is the same price of a SKU at another time.
  const price = line.skuPriceId === `${record.sku}/${line.priceVersion}` ? record.sku : line.skuPriceId;
  const gpus = line.unit.startsWith("gpu") ? 1 : record.gpus;
  return {
    ChargePeriodStart: record.windowStart,
    ChargePeriodEnd: record.windowEnd,
    ChargeCategory: "Usage",
    ChargeFrequency: "Usage-Based",
    ChargeDescription: describe(record, line),
    ServiceCategory: "AI and Machine Learning",
    ServiceSubcategory: "Generative AI",
    ServiceName: "Dedicated model deployments",
    SkuId: record.sku,
    SkuMeter: `${line.basis} capacity`,
    SkuPriceId: line.tier === 0 ? price : `${price}/tier-${String(line.tier)}`,
    SkuPriceDetails: canonicalJson({ GpuCount: gpus }),
  };
}

function describe(record: UsageRecord, { kind, basis }: RatedLine): string {
  const { sku, deploymentName, namespace } = record;
  const adjusted = record.kind === "usage" ? "" : ", adjusted";
  const what = kind === "usage" ? `${basis} capacity${adjusted}` : "minimum of a capacity session";
  return `${sku}: ${what} of ${namespace}/${deploymentName}`;
}

function ownValues(line: RatedLine): CsvRow {
  const { kind, priceList, priceVersion, recordId } = line;
  return { x_Kind: kind, x_PriceList: priceList, x_PriceVersion: priceVersion, x_RecordId: recordId };
}

const emitted = new Set([
  ..."CommitmentDiscountStatus,ConsumedQuantity,ConsumedUnit,ContractedUnitPrice,ListUnitPrice,PricingCategory,ChargeFrequency".split(
    ",",
  ),
  ..."InvoiceId,RegionId,RegionName,ResourceId,ResourceName,ResourceType,ServiceSubcategory,Tags".split(","),
  ..."SkuId,SkuMeter,SkuPriceDetails,SkuPriceId,SubAccountId,SubAccountName".split(","),
]);
