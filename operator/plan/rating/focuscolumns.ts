/**
 * Columns of FOCUS (FinOps Open Cost and Usage Specification), dataset Cost and Usage, as far as a file can be checked by them.
 * Facts: specification 1.2 (specification/columns), and the published data model of 1.4. Custom columns begin with x_.
 */
import type { FocusVersion } from "../../api/pricelist.ts";

export interface FocusColumn {
  readonly name: string;
  /** The column must be there, whatever the provider supports. */
  readonly mandatory: boolean;
  readonly nullable: boolean;
  readonly type: "text" | "decimal" | "time" | "json";
  readonly values?: readonly string[];
  /** Absent: in all versions. */
  readonly only?: FocusVersion;
}

type Rest = Partial<Pick<FocusColumn, "nullable" | "type" | "values" | "only">>;
const mandatory = (name: string, rest: Rest = {}): FocusColumn => ({
  name,
  mandatory: true,
  nullable: false,
  type: "text",
  ...rest,
});
const optional = (name: string, rest: Rest = {}): FocusColumn => ({
  name,
  mandatory: false,
  nullable: true,
  type: "text",
  ...rest,
});
const decimal = { type: "decimal" } as const;
const time = { type: "time" } as const;
const json = { type: "json" } as const;
const null12 = { nullable: true, only: "1.2" } as const;
const full14 = { nullable: false, only: "1.4" } as const;

const serviceCategories =
  "AI and Machine Learning,Analytics,Business Applications,Compute,Databases,Developer Tools,Multicloud,Identity,Integration,Internet of Things,Management and Governance,Media,Migration,Mobile,Networking,Security,Storage,Web,Other";

const columns: readonly FocusColumn[] = [
  optional("AllocatedMethodDetails", { ...json, only: "1.4" }),
  optional("AllocatedMethodId", { only: "1.4" }),
  optional("AllocatedResourceId", { only: "1.4" }),
  optional("AllocatedResourceName", { only: "1.4" }),
  optional("AllocatedTags", { ...json, only: "1.4" }),
  optional("AvailabilityZone"),
  mandatory("BilledCost", decimal),
  mandatory("BillingAccountId"),
  mandatory("BillingAccountName", { nullable: true }),
  optional("BillingAccountType", { nullable: false }),
  mandatory("BillingCurrency"),
  mandatory("BillingPeriodEnd", time),
  mandatory("BillingPeriodStart", time),
  optional("CapacityReservationId"),
  optional("CapacityReservationStatus", { values: ["Used", "Unused"] }),
  mandatory("ChargeCategory", { values: ["Usage", "Purchase", "Tax", "Credit", "Adjustment"] }),
  mandatory("ChargeClass", { nullable: true, values: ["Correction"] }),
  mandatory("ChargeDescription", { nullable: true }),
  optional("ChargeFrequency", { nullable: false, values: ["One-Time", "Recurring", "Usage-Based"] }),
  mandatory("ChargePeriodEnd", time),
  mandatory("ChargePeriodStart", time),
  optional("CommitmentDiscountCategory", { values: ["Spend", "Usage"] }),
  optional("CommitmentDiscountId"),
  optional("CommitmentDiscountName"),
  optional("CommitmentDiscountQuantity", decimal),
  optional("CommitmentDiscountStatus", { values: ["Used", "Unused"] }),
  optional("CommitmentDiscountType"),
  optional("CommitmentDiscountUnit"),
  optional("CommitmentProgramEligibilityDetails", { ...json, only: "1.4" }),
  optional("ConsumedQuantity", decimal),
  optional("ConsumedUnit"),
  optional("ContractApplied", { ...json, only: "1.4" }),
  mandatory("ContractedCost", decimal),
  optional("ContractedUnitPrice", decimal),
  mandatory("EffectiveCost", decimal),
  mandatory("HostProviderName", { nullable: true, only: "1.4" }),
  optional("InvoiceDetailId", { only: "1.4" }),
  optional("InvoiceId"),
  mandatory("InvoiceIssuerName"),
  mandatory("ListCost", decimal),
  optional("ListUnitPrice", decimal),
  optional("PricingCategory", { values: ["Standard", "Dynamic", "Committed", "Other"] }),
  optional("PricingCurrency", null12),
  optional("PricingCurrency", full14),
  optional("PricingCurrencyContractedUnitPrice", decimal),
  optional("PricingCurrencyEffectiveCost", { ...null12, ...decimal }),
  optional("PricingCurrencyEffectiveCost", { ...full14, ...decimal }),
  optional("PricingCurrencyListUnitPrice", decimal),
  mandatory("PricingQuantity", { ...decimal, nullable: true }),
  mandatory("PricingUnit", { nullable: true }),
  mandatory("ProviderName", { only: "1.2" }),
  mandatory("PublisherName", { only: "1.2" }),
  optional("RegionId"),
  optional("RegionName"),
  optional("ResourceId"),
  optional("ResourceName"),
  optional("ResourceType"),
  mandatory("ServiceCategory", { values: serviceCategories.split(",") }),
  mandatory("ServiceName"),
  mandatory("ServiceProviderName", { only: "1.4" }),
  optional("ServiceSubcategory", { nullable: false }),
  optional("SkuId"),
  optional("SkuMeter"),
  optional("SkuPriceDetails", json),
  optional("SkuPriceId"),
  optional("SubAccountId"),
  optional("SubAccountName"),
  optional("SubAccountType"),
  optional("Tags", json),
];

export function focusColumns(version: FocusVersion): readonly FocusColumn[] {
  return columns.filter(({ only }) => only === undefined || only === version);
}
