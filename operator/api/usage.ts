/** What the usage API answers, shared by the server that makes it and the command that prints it. */
import { z } from "zod";

import { usageRecord } from "./ledger.ts";

/** `open` marks what is not sealed: computed at `asOf` from what is known then, and still moving. */
export const usageLine = usageRecord.extend({ open: z.boolean() });

export const usageReport = z.object({
  from: z.string(),
  to: z.string(),
  /** The server's time at which open windows were cut. */
  asOf: z.string(),
  /** Everything before this instant is final; absent while nothing was ever sealed. */
  sealedThrough: z.string().optional(),
  records: z.array(usageLine),
});

export type UsageLine = z.infer<typeof usageLine>;
export type UsageReport = z.infer<typeof usageReport>;

/** Windows that begin in [from, to), in seconds since the epoch. */
export interface UsageQuery {
  readonly from: number;
  readonly to: number;
  readonly namespace?: string;
  /** Name of a ModelDeployment. */
  readonly deployment?: string;
}

/** `mayRead` is asked once for each namespace that has a record; the others are left out. Throws TooMuchUsage. */
export type UsageSource = (query: UsageQuery, mayRead: (namespace: string) => Promise<boolean>) => Promise<UsageReport>;

/** The answer would not fit: the caller should ask for less. */
export class TooMuchUsage extends Error {
  constructor(limit: number) {
    super(`the answer has more than ${limit} records: ask for a shorter time, one namespace or one deployment`);
    this.name = "TooMuchUsage";
  }
}
