/** A history: what became known of a cluster's metered objects, and when, as one JSON merge patch (RFC 7386) a change. */
import { readFileSync } from "node:fs";

export const meteredKinds = ["ModelDeployment", "GPUNodePool", "CapacityClaim"] as const;
export type MeteredKind = (typeof meteredKinds)[number];

export interface Change {
  /** When a watch told of it: RFC 3339 with milliseconds. */
  readonly at: string;
  readonly kind: MeteredKind;
  readonly uid: string;
  /** The whole object at first; null when it is gone. */
  readonly change: object | null;
}

type Fields = Readonly<Record<string, unknown>>;

const isFields = (value: unknown): value is Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Arrays are replaced as a whole, null removes a field. */
export function patched(target: unknown, patch: unknown): unknown {
  if (!isFields(patch)) return patch;
  const result: Record<string, unknown> = isFields(target) ? { ...target } : {};
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete result[name];
    else result[name] = patched(result[name], value);
  }
  return result;
}

/** The smallest patch that makes `after` of `before`; undefined where they are equal. */
export function patchBetween(before: Fields, after: Fields): Fields | undefined {
  const patch: Record<string, unknown> = {};
  for (const name of new Set([...Object.keys(before), ...Object.keys(after)])) {
    const [was, is] = [before[name], after[name]];
    if (is === undefined) patch[name] = null;
    else if (isFields(was) && isFields(is)) {
      const inner = patchBetween(was, is);
      if (inner) patch[name] = inner;
    } else if (JSON.stringify(was) !== JSON.stringify(is)) patch[name] = is;
  }
  return Object.keys(patch).length > 0 ? patch : undefined;
}

/** A file of JSON lines, one change each, in the order of time. */
export function readHistory(path: string): Change[] {
  const lines = readFileSync(path, "utf8").split("\n");
  return lines.filter((line) => line !== "").map((line) => JSON.parse(line) as Change);
}
