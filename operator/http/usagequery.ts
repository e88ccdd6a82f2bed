/** Text of a question → UsageQuery, or which parameter is wrong, what it said and what to write instead. */
import { granularities, groupings } from "../api/usage.ts";
import type { UsageQuery } from "../api/usage.ts";
import { DEFAULT_PAGE, LARGEST_PAGE, longestDays, usageParameters } from "../api/usagequestion.ts";
import type { UsageParameter } from "../api/usagequestion.ts";

export class BadQuestion extends Error {
  readonly parameter: string;
  readonly value: string;
  constructor(parameter: string, value: string, message: string) {
    super(message);
    this.parameter = parameter;
    this.value = value.slice(0, 100);
  }
}

const daySeconds = 86_400;

/** Default: the UTC day of `nowMs`. Throws BadQuestion. */
export function parseQuery(given: URLSearchParams, nowMs: number): UsageQuery {
  for (const name of given.keys()) checkParameter(name, given.getAll(name));
  const sums = sumsOf(given);
  return {
    ...timesOf(given, nowMs, sums ? longestDays[sums.granularity] : longestDays.records),
    ...matching(given, "namespace", "is not a name of Kubernetes: write lower-case letters, digits and dashes"),
    ...matching(given, "deployment", "is not a name of Kubernetes: write lower-case letters, digits and dashes"),
    ...matching(given, "deploymentUID", "is no UID: pass metadata.uid of the deployment, or deploymentUID of a record"),
    ...matching(given, "account", "is no account: write at most 63 letters, digits, '-', '_' and '.'"),
    ...matching(given, "cursor", "is not one of this API's: pass next of the page before as it is"),
    ...(sums ? { sums } : {}),
    limit: limitOf(given),
  };
}

function checkParameter(name: string, values: readonly string[]): void {
  const names = Object.keys(usageParameters);
  if (!names.includes(name)) {
    const message = `there is no parameter ${name.slice(0, 40)}: use ${names.join(", ")}`;
    throw new BadQuestion(name, values[0] ?? "", message);
  }
  if (values.length > 1) throw new BadQuestion(name, values.join(), `${name} is given twice: give it once`);
}

function timesOf(
  given: URLSearchParams,
  nowMs: number,
  mostDays: number,
): { readonly from: number; readonly to: number } {
  const today = Math.floor(nowMs / 1000 / daySeconds) * daySeconds;
  const from = given.has("from") ? timeOf("from", given.get("from") ?? "") : today;
  const to = given.has("to") ? timeOf("to", given.get("to") ?? "") : Math.max(from, today) + daySeconds;
  if (to <= from) {
    const message = "to must be later than from: windows that begin in [from, to) are listed";
    throw new BadQuestion("to", given.get("to") ?? "", message);
  }
  if (to - from > mostDays * daySeconds) {
    const message = `from and to span more than ${mostDays} days: ask for at most ${mostDays} at a time`;
    throw new BadQuestion("from", given.get("from") ?? "", message);
  }
  return { from, to };
}

function timeOf(parameter: UsageParameter, value: string): number {
  const form = /^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2}))?$/;
  const ms = form.test(value) ? Date.parse(value) : NaN;
  if (!Number.isNaN(ms)) return Math.floor(ms / 1000);
  const message = `${parameter} is not a time: write a UTC day like 2026-11-21 or an instant like 2026-11-21T10:00:00Z`;
  throw new BadQuestion(parameter, value, message);
}

type Named = "namespace" | "deployment" | "deploymentUID" | "account" | "cursor";

/** The parameter where it is given and has the form that the OpenAPI document says. */
function matching<K extends Named>(given: URLSearchParams, parameter: K, otherwise: string): { [name in K]?: string } {
  const value = given.get(parameter);
  if (value === null) return {};
  if (!new RegExp(usageParameters[parameter].schema.pattern).test(value)) {
    throw new BadQuestion(parameter, value, `${parameter} ${otherwise}`);
  }
  return { [parameter]: value } as { [name in K]?: string };
}

/** Sums are given where either parameter is. */
function sumsOf(given: URLSearchParams): UsageQuery["sums"] {
  const [asked, by] = [given.get("granularity"), given.get("groupBy")];
  if (asked === null && by === null) return undefined;
  const granularity = granularities.find((one) => one === (asked ?? "hour"));
  if (!granularity) {
    const message = `granularity is none of ${granularities.join(", ")}: write one of them`;
    throw new BadQuestion("granularity", asked ?? "", message);
  }
  if (by === null) return { granularity, groupBy: groupings };
  if (!new RegExp(usageParameters.groupBy.schema.pattern).test(by)) {
    const message = `groupBy is not understood: write some of ${groupings.join(", ")} with commas between them, or none`;
    throw new BadQuestion("groupBy", by, message);
  }
  return { granularity, groupBy: groupings.filter((one) => by.split(",").includes(one)) };
}

function limitOf(given: URLSearchParams): number {
  const value = given.get("limit");
  if (value === null) return DEFAULT_PAGE;
  const limit = /^[1-9]\d{0,5}$/.test(value) ? Number(value) : NaN;
  if (limit <= LARGEST_PAGE) return limit;
  throw new BadQuestion("limit", value, `limit is not a number from 1 to ${LARGEST_PAGE}: write one`);
}
