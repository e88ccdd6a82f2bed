/** A record and a price list with defaults; a test names only what differs. */
import type { UsageRecord } from "../../../operator/api/ledger.ts";
import type { PriceList, SkuPrice } from "../../../operator/api/pricelist.ts";
import { recordId } from "../../../operator/plan/metering/identity.ts";
import { parsePriceList } from "../../../operator/plan/rating/pricelist.ts";

export interface RecordChoice {
  readonly day?: string;
  readonly hour?: number;
  readonly name?: string;
  readonly sku?: string;
  readonly gpus?: number;
  readonly billable?: number;
  readonly claimed?: number;
  readonly ready?: number;
  readonly desired?: number;
  readonly claims?: UsageRecord["claims"];
}

export function aRecord(choice: RecordChoice = {}): UsageRecord {
  const { day = "2026-11-21", hour = 10, name = "chat", billable = 3600, gpus = 1 } = choice;
  const { claimed = billable, ready = billable, desired = billable } = choice;
  const start = Date.parse(`${day}T00:00:00Z`) / 1000 + hour * 3600;
  const instant = (seconds: number) => new Date(seconds * 1000).toISOString().replace(".000Z", "Z");
  const identity = {
    cluster: "c1",
    deploymentUID: `uid-${name}`,
    sku: choice.sku ?? "l4-1",
    account: "team",
    windowStart: instant(start),
    windowEnd: instant(start + 3600),
    part: 0,
    rev: 0,
  };
  return {
    ...identity,
    schema: "berth.dev/capacity.v1",
    kind: "usage",
    id: recordId(identity),
    namespace: "team",
    deploymentName: name,
    gpus,
    tags: {},
    windowSeconds: 3600,
    from: instant(start),
    to: instant(start + 3600),
    claims: choice.claims ?? [],
    claimedNodeSeconds: claimed,
    readyNodeSeconds: ready,
    desiredNodeSeconds: desired,
    billableNodeSeconds: billable,
    surgeNodeSeconds: Math.max(0, claimed - billable),
    shortfallNodeSeconds: Math.max(0, desired - billable),
    estimatedNodeSeconds: 0,
    gpuSeconds: billable * gpus,
  };
}

export function aPriceList(choice: Partial<SkuPrice> = {}): PriceList {
  const price = { sku: "l4-1", unit: "node-hour", unitPrice: "2.75", ...choice };
  const { list, problems } = parsePriceList({
    schema: "berth.dev/pricelist.v1",
    name: "standard",
    currency: "EUR",
    versions: [{ version: "2026-11", validFrom: "2026-11-01T00:00:00Z", prices: [price] }],
  });
  if (!list) throw new Error(problems.join("\n"));
  return list;
}
