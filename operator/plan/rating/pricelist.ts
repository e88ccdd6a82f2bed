/** Price lists beyond their shape: versions and tiers that follow each other, and the price that holds at an hour. */
import { priceList as shape } from "../../api/pricelist.ts";
import type { PriceList, PriceVersion, SkuPrice } from "../../api/pricelist.ts";
import { secondsOf } from "../metering/windows.ts";

export type ParsedPriceList =
  | { readonly list: PriceList; readonly problems?: undefined }
  | { readonly problems: readonly string[]; readonly list?: undefined };

/** `given` is parsed JSON or YAML. Every problem names the field, the value and the remedy. */
export function parsePriceList(given: unknown): ParsedPriceList {
  const parsed = shape.safeParse(given);
  if (!parsed.success) {
    return {
      problems: parsed.error.issues.map(({ path, message }) => `${path.join(".") || "price list"}: ${message}`),
    };
  }
  const { versions } = parsed.data;
  const problems = [...versionProblems(versions), ...versions.flatMap(priceProblems), ...nameProblems(versions)];
  return problems.length > 0 ? { problems } : { list: parsed.data };
}

/** Versions follow each other without gap and overlap; only the last may stay open. */
function versionProblems(versions: readonly PriceVersion[]): string[] {
  const problems: string[] = [];
  const names = new Set<string>();
  versions.forEach(({ version, validFrom, validUntil }, i) => {
    const at = `versions.${String(i)}`;
    if (names.has(version))
      problems.push(`${at}.version: ${version} is there twice; give each version a name of its own`);
    names.add(version);
    const next = versions[i + 1];
    if (validUntil !== undefined && validUntil <= validFrom)
      problems.push(`${at}.validUntil: ${validUntil} is not after validFrom ${validFrom}; write a later hour`);
    if (next && validUntil !== next.validFrom)
      problems.push(
        `${at}.validUntil: ${validUntil ?? "missing"}, and the next version begins at ${next.validFrom}; write ${next.validFrom}`,
      );
  });
  return problems;
}

function priceProblems({ version, prices }: PriceVersion): string[] {
  const skus = new Set<string>();
  return prices.flatMap((price) => {
    const at = `version ${version}, SKU ${price.sku}`;
    const problems: string[] = [];
    if (skus.has(price.sku)) problems.push(`${at}: is there twice; keep one price`);
    skus.add(price.sku);
    if ((price.unitPrice === undefined) === (price.tiers === undefined))
      problems.push(`${at}: write either unitPrice or tiers`);
    if (price.unit.startsWith("gpu") && price.minimumSessionSeconds > 0)
      problems.push(`${at}: minimumSessionSeconds needs a unit of nodes; write node-second, node-minute or node-hour`);
    return [...problems, ...tierProblems(at, price)];
  });
}

/** In bills the name of a price leads to one SKU, whatever the version (FOCUS: SkuPriceId has one SkuId). */
function nameProblems(versions: readonly PriceVersion[]): string[] {
  const owners = new Map<string, string>();
  return versions.flatMap(({ version, prices }) =>
    prices.flatMap(({ sku, skuPriceId }) => {
      if (skuPriceId === undefined) return [];
      const owner = owners.get(skuPriceId) ?? sku;
      owners.set(skuPriceId, owner);
      const at = `version ${version}, SKU ${sku}`;
      return owner === sku
        ? []
        : [`${at}: skuPriceId ${skuPriceId} is a price of ${owner} already; give each SKU's prices names of their own`];
    }),
  );
}

function tierProblems(at: string, { tiers = [] }: SkuPrice): string[] {
  return tiers.flatMap(({ upTo }, i) => {
    const last = i === tiers.length - 1;
    const before = tiers[i - 1]?.upTo ?? "0";
    if (last) return upTo === undefined ? [] : [`${at}: the last tier has no end; leave upTo ${upTo} out`];
    if (upTo === undefined) return [`${at}: tier ${String(i)} has no upTo; only the last may have none`];
    return BigInt(upTo) > BigInt(before) ? [] : [`${at}: upTo ${upTo} is not above ${before}; sort the tiers`];
  });
}

export interface PriceAt {
  readonly version: PriceVersion;
  readonly price: SkuPrice;
}

/** The price of a SKU for a window that begins at `windowStart`; undefined where the list has none. */
export function priceAt(list: PriceList, sku: string, windowStart: string): PriceAt | undefined {
  const at = secondsOf(windowStart);
  const version = list.versions.find(
    ({ validFrom, validUntil }) =>
      secondsOf(validFrom) <= at && (validUntil === undefined || at < secondsOf(validUntil)),
  );
  const price = version?.prices.find((one) => one.sku === sku);
  return version && price ? { version, price } : undefined;
}

/** Seconds in one unit of a price. */
export function unitSeconds({ unit }: Pick<SkuPrice, "unit">): number {
  if (unit.endsWith("hour")) return 3600;
  return unit.endsWith("minute") ? 60 : 1;
}
