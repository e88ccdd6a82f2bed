/**
 * The folded form of a size log: the steps of one UTC hour in one entry, `folded` holding what followed its first as
 * `<seconds after since>:<size>` separated by commas. Nothing is lost, so records and their evidence are the same.
 */
import type { SizeLogEntry } from "./gpunodepool.ts";

const HOUR_MS = 3_600_000;

/** Every step of its own, in order. */
export function unfoldedSizes(log: readonly SizeLogEntry[]): readonly SizeLogEntry[] {
  if (!log.some(({ folded }) => folded !== undefined)) return log;
  return log.flatMap(({ folded, ...first }) => {
    const later = folded === undefined || folded === "" ? [] : folded.split(",");
    const steps = later.map((text): SizeLogEntry => {
      const [after = "", size = ""] = text.split(":");
      return { ...first, since: instantAt(Date.parse(first.since) + Number(after) * 1000), size: Number(size) };
    });
    return [first, ...steps];
  });
}

/** With one entry for each run of steps of an hour that is over at `now`, as long as account and tags are the same. */
export function foldedSizes(log: readonly SizeLogEntry[], now: string, isSame: IsSame): readonly SizeLogEntry[] {
  const runs: SizeLogEntry[][] = [];
  for (const step of unfoldedSizes(log)) {
    const run = runs.at(-1);
    const first = run?.[0];
    const joins =
      first && hourOf(step.since) === hourOf(first.since) && hourOf(step.since) < hourOf(now) && isSame(first, step);
    if (joins) run.push(step);
    else runs.push([step]);
  }
  return runs.flatMap(([first, ...later]) => (first ? [later.length === 0 ? first : withFolded(first, later)] : []));
}

/** Whether account and tags of two steps are the same. */
export type IsSame = (a: SizeLogEntry, b: SizeLogEntry) => boolean;

function withFolded(first: SizeLogEntry, later: readonly SizeLogEntry[]): SizeLogEntry {
  const start = Date.parse(first.since);
  const folded = later.map(({ since, size }) => `${(Date.parse(since) - start) / 1000}:${size}`).join(",");
  return { ...first, folded };
}

function hourOf(instant: string): number {
  return Math.floor(Date.parse(instant) / HOUR_MS);
}

function instantAt(ms: number): string {
  return new Date(ms).toISOString().replace(".000Z", "Z");
}
