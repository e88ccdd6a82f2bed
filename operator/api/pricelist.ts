/**
 * A price list as a platform writes it (file or ConfigMap). Versions are appended and never edited: a rated line names the
 * version that it was rated with. Money is text in decimals, never a JavaScript number.
 */
import { z } from "zod";

export const PRICE_LIST_SCHEMA = "berth.dev/pricelist.v1";

/** Whole hours, so that a change of price never splits an hour. */
const hour = z
  .string()
  .regex(/^\d{4}-\d{2}-\d{2}T\d{2}:00:00Z$/, "write a whole hour in UTC like 2026-11-01T00:00:00Z");
const price = z.string().regex(/^\d{1,12}(\.\d{1,12})?$/, 'write a price of at least 0 as text, like "2.75"');
const quantity = z.string().regex(/^\d{1,12}$/, 'write a whole number of units as text, like "720"');
const token = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$/, "write letters, digits, '.', '_', '/' and '-'");

export const priceUnits = ["node-second", "node-minute", "node-hour", "gpu-second", "gpu-minute", "gpu-hour"] as const;
/** Versions of the FinOps Open Cost and Usage Specification that files are written in. */
export const focusVersions = ["1.2", "1.4"] as const;
export const billingBases = ["billable", "ready", "claimed", "desired"] as const;

const tier = z.strictObject({
  /** Units of one account, SKU and UTC month up to which this price holds; absent in the last tier. */
  upTo: quantity.optional(),
  unitPrice: price,
});

const skuPrice = z.strictObject({
  sku: token,
  /** Name of this price in bills; default: the SKU and the version. */
  skuPriceId: token.optional(),
  unit: z.enum(priceUnits),
  basis: z.enum(billingBases).default("billable"),
  unitPrice: price.optional(),
  tiers: z.array(tier).min(1).max(20).optional(),
  /** A node's time in a pool that ends sooner is charged as if it had lasted so long. */
  minimumSessionSeconds: z.int().min(0).max(86_400).default(0),
});

const version = z.strictObject({
  version: token,
  validFrom: hour,
  /** Exclusive; absent in the last version. */
  validUntil: hour.optional(),
  prices: z.array(skuPrice).min(1).max(1_000),
});

export const priceList = z.strictObject({
  schema: z.literal(PRICE_LIST_SCHEMA),
  name: token,
  currency: z.string().regex(/^[A-Z]{3}$/, "write an ISO 4217 code like EUR"),
  versions: z.array(version).min(1).max(1_000),
});

export type PriceList = z.infer<typeof priceList>;
export type PriceVersion = z.infer<typeof version>;
export type SkuPrice = z.infer<typeof skuPrice>;
export type BillingBasis = (typeof billingBases)[number];
export type FocusVersion = (typeof focusVersions)[number];
