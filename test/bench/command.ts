// What a command costs: time, CPU of it and its children, and the largest resident memory of one of them.
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { monitorEventLoopDelay } from "node:perf_hooks";

export interface Cost {
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly peakMegabytes: number;
  /** p99 of the delay of the measuring program's own event loop meanwhile, which has nothing to do: what the machine alone makes processes wait. */
  readonly idleDelayMs: number;
  /** Standard output of the line, without the shell's own last lines. */
  readonly out: string;
}

const RESOLUTION_MS = 5;

/** Runs a shell line to its end; throws with what it complained where it fails. */
export async function costOf(line: string, env: Readonly<Record<string, string>> = {}): Promise<Cost> {
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  delay.enable();
  const started = performance.now();
  // The shell's `times` counts the CPU of its children.
  const script = `set -e -o pipefail\n${line}\ntimes`;
  const child = spawn("bash", ["-c", script], { env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "pipe"] });
  let out = "";
  let complaint = "";
  let peakMegabytes = 0;
  child.stdout.on("data", (chunk: Buffer) => void (out += String(chunk)));
  child.stderr.on("data", (chunk: Buffer) => void (complaint = String(chunk)));
  const sample = setInterval(() => (peakMegabytes = Math.max(peakMegabytes, peakOfChildren(child.pid ?? 0))), 50);
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  clearInterval(sample);
  delay.disable();
  const seconds = (performance.now() - started) / 1000;
  if (code !== 0) throw new Error(`${line}: ${complaint}`);
  const lines = out.trimEnd().split("\n");
  const spent = [...(lines.pop() ?? "").matchAll(/(\d+)m([\d.]+)s/g)];
  lines.pop();
  const cpuSeconds = spent.reduce((sum, [, minutes, rest]) => sum + Number(minutes) * 60 + Number(rest), 0);
  const idleDelayMs = Math.max(0, delay.percentile(99) / 1e6 - RESOLUTION_MS);
  return { seconds, cpuSeconds, peakMegabytes, idleDelayMs, out: lines.join("\n") };
}

function peakOfChildren(pid: number): number {
  try {
    const children = readFileSync(`/proc/${String(pid)}/task/${String(pid)}/children`, "utf8")
      .trim()
      .split(" ");
    return Math.max(0, ...children.map(peakOf));
  } catch {
    return 0;
  }
}

/** Megabytes that the process had at most so far. */
export function peakOf(pid: number | string): number {
  const status = readFileSync(`/proc/${String(pid)}/status`, "utf8");
  return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? 0) / 1024;
}
