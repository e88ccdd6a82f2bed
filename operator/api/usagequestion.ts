/** What may be asked of the usage API: each parameter once, for the parser of questions and for the OpenAPI document. */
import { granularities, groupings } from "./usage.ts";

export const DEFAULT_PAGE = 5_000;
export const LARGEST_PAGE = 10_000;

/** Longest question in days; a coarser answer may span more. */
export const longestDays = { records: 31, hour: 31, day: 93, month: 366 } as const;

const instant = "a UTC day like 2026-11-21 or an instant like 2026-11-21T10:00:00Z";
const name = { type: "string", pattern: "^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$" };

/** Name → description, JSON schema and an example that is accepted. */
export const usageParameters = {
  from: {
    description: `Windows that begin at or after this time: ${instant}. Default: today.`,
    schema: { type: "string" },
    example: "2026-11-21",
  },
  to: {
    description: `Windows that begin before this time. Default: the end of today. At most ${longestDays.records} days after from; ${longestDays.day} with granularity day, ${longestDays.month} with month.`,
    schema: { type: "string" },
    example: "2026-11-22T00:00:00Z",
  },
  namespace: { description: "Only this namespace; 403 where you may not read it.", schema: name, example: "team-a" },
  deployment: { description: "Only ModelDeployments of this name.", schema: name, example: "chat" },
  deploymentUID: {
    description:
      "Only the ModelDeployment of this UID, also one that is gone. Of each window only its shard is read, so this is the quick question about one deployment and a month.",
    schema: { type: "string", pattern: "^[A-Za-z0-9-]{1,64}$" },
    example: "0f9c2d5e-1111-4222-8333-444455556666",
  },
  account: {
    description: "Only what is charged to this account.",
    schema: { type: "string", pattern: "^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$" },
    example: "team-a",
  },
  granularity: {
    description:
      "Sums by UTC hour, day or month instead of records. Default where groupBy is given: hour. A window counts where it begins.",
    schema: { type: "string", enum: granularities },
    example: "day",
  },
  groupBy: {
    description:
      "What sums are separated by, with commas; `none` for one sum a period. Default: namespace,deployment,account,sku. A deployment is its UID: a name made anew is another one.",
    schema: { type: "string", pattern: `^(none|(${groupings.join("|")})(,(${groupings.join("|")}))*)$` },
    example: "account,sku",
  },
  limit: {
    description: "Most records or sums in the answer.",
    schema: { type: "integer", minimum: 1, maximum: LARGEST_PAGE, default: DEFAULT_PAGE },
    example: 1000,
  },
  cursor: {
    description: "`next` of the page before, with the same question otherwise.",
    schema: { type: "string", pattern: "^[A-Za-z0-9_-]{1,4096}$" },
  },
} as const;

export type UsageParameter = keyof typeof usageParameters;
