// Figures as JSON lines, and the few measurements of a process that Linux gives for nothing.
import { readFileSync } from "node:fs";

export interface Figure {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** The machine's own limit, or a peer's figure, taken in the same run; undefined where there is none. */
  readonly limit?: number;
  /** What the limit is. */
  readonly against?: string;
}

/** Three significant digits are all that a shared machine is worth. */
function rounded(value: number): number {
  return Number(value.toPrecision(3));
}

export function print({ name, value, unit, limit, against }: Figure): void {
  const ratio = limit === undefined || limit === 0 ? undefined : rounded(value / limit);
  const line = {
    name,
    value: rounded(value),
    unit,
    limit: limit === undefined ? null : rounded(limit),
    ratio: ratio ?? null,
    ...(against ? { against } : {}),
  };
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

export function say(text: string): void {
  process.stderr.write(`${new Date().toISOString().slice(11, 19)} ${text}\n`);
}

/** Resident megabytes of a process. */
export function residentMegabytes(pid: number): number {
  const text = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+) kB/.exec(text)?.[1] ?? 0) / 1024;
}

const TICKS_PER_SECOND = 100;

/** CPU seconds of a process so far, user and system. */
export function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

/** The q-th quantile of some numbers, 0 ≤ q ≤ 1. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN;
}

/** Runs `work` for each item with `width` in flight. */
export async function inFlight<T>(items: readonly T[], width: number, work: (item: T) => Promise<void>): Promise<void> {
  const queue = items.values();
  const worker = async (): Promise<void> => {
    for (const item of queue) await work(item);
  };
  await Promise.all(Array.from({ length: width }, worker));
}
