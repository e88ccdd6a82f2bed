// The folder of one run of real nodes, `<cache>/realnodes/<run>`, and what else a run leaves on the machine: cgroup
// folders and empty mount points. The process outside of the namespaces makes it, and removes it and those of dead ones.
import { randomBytes } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  rmdirSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { eventually } from "../cluster/eventually.ts";
import { cacheDir } from "../cluster/paths.ts";
import { startTimeOf } from "../cluster/rundir.ts";
import { cgroupPrefix, removeCgroups } from "./cgroups.ts";

interface Owner {
  readonly pid: number;
  /** Distinguishes a process from a later one with the same pid. */
  readonly startedAt: string;
  /** Empty folders of the host that were made to mount something on. */
  readonly mountPoints: readonly string[];
}

export interface State {
  /** Unique name, also that of its cgroup folders. */
  readonly run: string;
  readonly path: string;
  /** Stays for a day when the run failed or died. */
  readonly logs: string;
}

const keptMs = 86_400_000;
const removalMs = 10_000;

const statesDir = (): string => join(cacheDir(), "realnodes");

/** The state of the run that this process is in, as the process outside has named it. */
export function stateOf(run: string): State {
  const path = join(statesDir(), run);
  return { run, path, logs: join(path, "logs") };
}

/** Makes a state folder, owned by this process, after the dead ones were cleaned up. */
export async function newState(wantedMountPoints: readonly string[]): Promise<State> {
  await cleanDeadRuns();
  const state = stateOf(`${cgroupPrefix}${Date.now().toString(36)}${randomBytes(2).toString("hex")}`);
  mkdirSync(state.logs, { recursive: true });
  const mountPoints = wantedMountPoints.filter((path) => !existsSync(path));
  const owner: Owner = { pid: process.pid, startedAt: startTimeOf(process.pid) ?? "", mountPoints };
  writeOwner(state.path, owner);
  for (const path of mountPoints) mkdirSync(path, { recursive: true });
  return state;
}

/** Removes what a run left; `keepLogs` leaves its logs. Its processes must be dead or dying. */
export async function removeState(state: State, { keepLogs = false } = {}): Promise<void> {
  await eventually(() => removeCgroups(state.run), {
    what: `the processes of ${state.run} have ended and its cgroup folders are gone`,
    deadlineMs: removalMs,
    recheckMs: 50,
  });
  handOnMountPoints(state);
  for (const name of keepLogs ? readdirSync(state.path) : []) {
    if (name !== "logs") rmSync(join(state.path, name), { recursive: true, force: true });
  }
  if (!keepLogs) rmSync(state.path, { recursive: true, force: true });
}

/** Cleans up after runs whose owner is dead. Mounts, interfaces and processes went with their namespaces. */
export async function cleanDeadRuns(): Promise<void> {
  mkdirSync(statesDir(), { recursive: true });
  for (const run of readdirSync(statesDir())) {
    const state = stateOf(run);
    const owner = readOwner(state.path);
    if (owner && startTimeOf(owner.pid) === owner.startedAt) continue;
    const old = Date.now() - statSync(state.path).mtimeMs > keptMs;
    // A folder without a record holds only kept logs, or its owner is just making it.
    if (owner || old) await removeState(state, { keepLogs: !old });
  }
}

/**
 * Removes the folders that were made to mount on. Where another run lives, it gets them instead: removing a folder
 * unmounts what others have mounted on it.
 */
function handOnMountPoints(state: State): void {
  const mountPoints = readOwner(state.path)?.mountPoints ?? [];
  for (const run of readdirSync(statesDir())) {
    const { path } = stateOf(run);
    const heir = run === state.run ? undefined : readOwner(path);
    if (!heir || startTimeOf(heir.pid) !== heir.startedAt) continue;
    writeOwner(path, { ...heir, mountPoints: [...new Set([...heir.mountPoints, ...mountPoints])] });
    return;
  }
  for (const path of mountPoints) removeEmpty(path);
}

function writeOwner(path: string, owner: Owner): void {
  const part = join(path, "owner.json.part");
  writeFileSync(part, JSON.stringify(owner));
  renameSync(part, join(path, "owner.json"));
}

function readOwner(path: string): Owner | undefined {
  try {
    return JSON.parse(readFileSync(join(path, "owner.json"), "utf8")) as Owner;
  } catch {
    return undefined;
  }
}

function removeEmpty(path: string): void {
  try {
    rmdirSync(path);
  } catch {
    // Somebody uses it now, or a concurrent run had removed it.
  }
}
