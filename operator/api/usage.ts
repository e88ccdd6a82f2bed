/** What the usage API answers, shared by the server that makes it, its OpenAPI document and the command that prints it. */
import { z } from "zod";

import { usageRecord } from "./ledger.ts";

/** `open` marks what is not sealed: computed at `asOf` from what is known then, and still moving. */
export const usageLine = usageRecord.extend({ open: z.boolean() });

const head = {
  from: z.string(),
  to: z.string(),
  /** The server's time at which open windows were cut. */
  asOf: z.string(),
  /** Everything before this instant is final; absent while nothing was ever sealed. */
  sealedThrough: z.string().optional(),
};
/** Pass it as `cursor`, with the same question, for what follows; absent on the last page. */
const next = z.string().optional();

export const usageReport = z.object({ ...head, records: z.array(usageLine), next });

export const granularities = ["hour", "day", "month"] as const;
export const groupings = ["namespace", "deployment", "account", "sku"] as const;

const quantities = usageRecord.pick({
  claimedNodeSeconds: true,
  readyNodeSeconds: true,
  desiredNodeSeconds: true,
  billableNodeSeconds: true,
  surgeNodeSeconds: true,
  shortfallNodeSeconds: true,
  estimatedNodeSeconds: true,
  gpuSeconds: true,
});
const members = usageRecord.pick({
  namespace: true,
  deploymentName: true,
  deploymentUID: true,
  account: true,
  sku: true,
});

/** Sums of the records whose windows begin in a UTC hour, day or month, and of one value of each grouping. */
export const usageGroup = quantities.extend({
  /** Begin and end of the whole hour, day or month; only windows that begin in the question's [from, to) are summed. */
  start: z.string(),
  end: z.string(),
  by: members.partial(),
  /** How many records are in the sums. */
  records: z.int().min(1),
  /** Some of them are not sealed. */
  open: z.boolean(),
});

export const groupedUsage = z.object({
  ...head,
  granularity: z.enum(granularities),
  groupBy: z.array(z.enum(groupings)),
  groups: z.array(usageGroup),
  next,
});

export type UsageLine = z.infer<typeof usageLine>;
export type UsageReport = z.infer<typeof usageReport>;
export type UsageGroup = z.infer<typeof usageGroup>;
export type GroupedUsage = z.infer<typeof groupedUsage>;
export type Granularity = (typeof granularities)[number];
export type Grouping = (typeof groupings)[number];

/** Windows that begin in [from, to), in seconds since the epoch. */
export interface UsageQuery {
  readonly from: number;
  readonly to: number;
  readonly account?: string;
  readonly namespace?: string;
  /** Name of a ModelDeployment. */
  readonly deployment?: string;
  /** UID of one: then only the shard that holds its lines is read of each window. */
  readonly deploymentUID?: string;
  /** Sums instead of records. */
  readonly sums?: { readonly granularity: Granularity; readonly groupBy: readonly Grouping[] };
  /** Most records or groups in the answer. */
  readonly limit: number;
  /** `next` of the page before. */
  readonly cursor?: string;
}

/** A namespace as a record names it: its name may be another's by now. Records of older builds have no UID. */
export interface RecordedNamespace {
  readonly name: string;
  readonly uid?: string;
}

/** `mayRead` is asked once for each namespace that has a record; the others are left out. Throws TooMuchUsage, BadCursor. */
export type UsageSource = (
  query: UsageQuery,
  mayRead: (namespace: RecordedNamespace) => Promise<boolean>,
) => Promise<UsageReport | GroupedUsage>;

/** The sums would not fit: the caller should ask for less. */
export class TooMuchUsage extends Error {
  constructor(limit: number) {
    super(`the question has more than ${limit} sums: ask for a shorter time, one namespace or fewer groups`);
    this.name = "TooMuchUsage";
  }
}

export class BadCursor extends Error {
  constructor() {
    super("cursor is not one of this API's: pass next of the page before as it is, or leave cursor out");
    this.name = "BadCursor";
  }
}
