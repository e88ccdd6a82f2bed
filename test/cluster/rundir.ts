// The folder of one running control plane, and the clearing up of what a killed harness left behind.
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runsDir } from "./paths.ts";

interface Owner {
  readonly pid: number;
  /** Distinguishes a process from a later one with the same pid. */
  readonly startedAt: string;
  readonly parts: Record<string, number>;
}

/** A control plane's folder, with `logs/` in it; it records the process ids of the harness and of its parts. */
export interface RunDir {
  readonly path: string;
  readonly logs: string;
  /** Called for every part that starts (pid) or ends (undefined). */
  readonly recordPid: (name: string, pid: number | undefined) => void;
  /** Removes the folder; `keepLogs` leaves `logs/`. */
  readonly remove: (options?: { keepLogs?: boolean }) => void;
}

const keptDays = 1;

/** Start time of a process as the system tells it, or undefined when there is no such process. */
export function startTimeOf(pid: number): string | undefined {
  try {
    if (process.platform === "linux") {
      const stat = readFileSync(`/proc/${String(pid)}/stat`, "utf8");
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      return fields[0] === "Z" ? undefined : fields[19];
    }
    return execFileSync("ps", ["-o", "lstart=", "-p", String(pid)], { encoding: "utf8" }).trim();
  } catch {
    return undefined;
  }
}

/** Command line of a process, its words separated by blanks; empty when there is none. */
export function commandLineOf(pid: number): string {
  try {
    if (process.platform === "linux") return readFileSync(`/proc/${String(pid)}/cmdline`, "utf8").replaceAll("\0", " ");
    return execFileSync("ps", ["-o", "command=", "-p", String(pid)], { encoding: "utf8" });
  } catch {
    return "";
  }
}

function removeAllBut(path: string, kept: string | undefined): void {
  if (!kept) return rmSync(path, { recursive: true, force: true });
  for (const name of readdirSync(path)) {
    if (name !== kept) rmSync(join(path, name), { recursive: true, force: true });
  }
}

/** Makes a folder for a new run and clears up after dead ones first. */
export function newRunDir(): RunDir {
  mkdirSync(runsDir(), { recursive: true });
  reapDeadRuns();
  const path = join(runsDir(), `${Date.now().toString(36)}-${randomBytes(3).toString("hex")}`);
  const logs = join(path, "logs");
  mkdirSync(logs, { recursive: true });
  const parts: Record<string, number> = {};
  const save = (): void => {
    const owner: Owner = { pid: process.pid, startedAt: startTimeOf(process.pid) ?? "", parts };
    writeFileSync(join(path, "owner.json"), JSON.stringify(owner));
  };
  let removed = false;
  save();
  return {
    path,
    logs,
    recordPid: (name, pid) => {
      if (removed) return;
      if (pid === undefined) Reflect.deleteProperty(parts, name);
      else parts[name] = pid;
      save();
    },
    remove: ({ keepLogs = false } = {}) => {
      removed = true;
      removeAllBut(path, keepLogs ? "logs" : undefined);
    },
  };
}

/** Ends parts whose harness is dead, exactly those that were recorded and still run out of the same folder. */
export function reapDeadRuns(): void {
  for (const name of readdirSync(runsDir())) {
    const path = join(runsDir(), name);
    const owner = readOwner(path);
    if (owner && startTimeOf(owner.pid) === owner.startedAt) continue;
    for (const pid of Object.values(owner?.parts ?? {})) killIfOurs(pid, path);
    // Another harness may be clearing up, too.
    const modifiedMs = statSync(path, { throwIfNoEntry: false })?.mtimeMs;
    if (modifiedMs === undefined) continue;
    const old = Date.now() - modifiedMs > keptDays * 86_400_000;
    // A folder without a record may belong to a harness that is just making it.
    if (owner || old) removeAllBut(path, old ? undefined : "logs");
  }
}

function readOwner(path: string): Owner | undefined {
  try {
    return JSON.parse(readFileSync(join(path, "owner.json"), "utf8")) as Owner;
  } catch {
    return undefined;
  }
}

function killIfOurs(pid: number, path: string): void {
  if (!commandLineOf(pid).includes(path)) return;
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It ended by itself in between.
  }
}
