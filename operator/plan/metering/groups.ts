/** Sums of records by UTC hour, day or month and by what they have in common, and the order in which pages go through them. */
import type { Granularity, Grouping, UsageGroup, UsageLine } from "../../api/usage.ts";
import { addQuantities } from "./fold.ts";
import { instantOfSeconds, secondsOf } from "./windows.ts";

/** Begin and end in seconds of the calendar's hour, day or month (UTC) that contains `at`. */
export function periodOf(at: number, granularity: Granularity): { readonly start: number; readonly end: number } {
  if (granularity !== "month") {
    const length = granularity === "hour" ? 3_600 : 86_400;
    const start = Math.floor(at / length) * length;
    return { start, end: start + length };
  }
  const day = new Date(at * 1000);
  const [year, month] = [day.getUTCFullYear(), day.getUTCMonth()];
  return { start: Date.UTC(year, month) / 1000, end: Date.UTC(year, month + 1) / 1000 };
}

/** What a deployment is grouped by names it whole: a name that was made anew is another one, and names are of a namespace. */
function membersOf(line: UsageLine, groupBy: readonly Grouping[]): UsageGroup["by"] {
  const { namespace, deploymentName, deploymentUID, account, sku } = line;
  return {
    ...(groupBy.includes("namespace") || groupBy.includes("deployment") ? { namespace } : {}),
    ...(groupBy.includes("deployment") ? { deploymentName, deploymentUID } : {}),
    ...(groupBy.includes("account") ? { account } : {}),
    ...(groupBy.includes("sku") ? { sku } : {}),
  };
}

export interface Sums {
  readonly granularity: Granularity;
  readonly groupBy: readonly Grouping[];
}

/** Adds a record to the groups so far, in place. */
export function addToGroups(groups: Map<string, UsageGroup>, line: UsageLine, { granularity, groupBy }: Sums): void {
  const { start, end } = periodOf(secondsOf(line.windowStart), granularity);
  const fresh = { start: instantOfSeconds(start), end: instantOfSeconds(end), by: membersOf(line, groupBy) };
  const key = JSON.stringify(placeOfGroup(fresh));
  const known = groups.get(key);
  const records = (known?.records ?? 0) + 1;
  const sums = addQuantities(known ? [known, line] : [line]);
  groups.set(key, { ...fresh, ...sums, records, open: line.open || known?.open === true });
}

/** Where a record stands in the order of pages. Nothing that moves while its window is open is in it. */
export function placeOfLine(line: UsageLine): readonly string[] {
  const { windowStart, namespace, deploymentName, deploymentUID, part, id } = line;
  return [windowStart, namespace, deploymentName, deploymentUID, String(part).padStart(8, "0"), id];
}

export function placeOfGroup({ start, by }: Pick<UsageGroup, "start" | "by">): readonly string[] {
  const { namespace = "", deploymentName = "", deploymentUID = "", account = "", sku = "" } = by;
  return [start, namespace, deploymentName, deploymentUID, account, sku];
}

/** Below 0 where `a` comes first. */
export function comparePlaces(a: readonly string[], b: readonly string[]): number {
  for (let at = 0; at < Math.max(a.length, b.length); at++) {
    const [left = "", right = ""] = [a[at], b[at]];
    if (left !== right) return left < right ? -1 : 1;
  }
  return 0;
}

/** A place as text that a URL carries. */
export function cursorOf(place: readonly string[]): string {
  return Buffer.from(JSON.stringify(place)).toString("base64url");
}

/** undefined for text that `cursorOf` never made. */
export function placeOfCursor(cursor: string): readonly string[] | undefined {
  try {
    const place: unknown = JSON.parse(Buffer.from(cursor, "base64url").toString());
    const made = Array.isArray(place) && place.length === 6 && place.every((one) => typeof one === "string");
    return made && !Number.isNaN(Date.parse(String(place[0]))) ? (place as string[]) : undefined;
  } catch {
    return undefined;
  }
}
