// The cgroup folders of one run: `/berth-<run>/<node>` in every hierarchy, made before the kubelets start and removed
// after them. Two kubelets on one machine need roots of their own: each removes pod groups that it does not know.
import { existsSync, mkdirSync, readFileSync, readdirSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const mountPoint = "/sys/fs/cgroup";

/** Prefix of every folder that this harness makes at the root of a hierarchy. */
export const cgroupPrefix = "berth-";

function isUnified(): boolean {
  return existsSync(join(mountPoint, "cgroup.controllers"));
}

/** Folders of the mounted hierarchies: one per controller (cgroup v1), or the single one (v2). */
export function controllers(): string[] {
  if (isUnified()) return [mountPoint];
  if (!existsSync(mountPoint)) return [];
  const isGroup = (path: string): boolean => existsSync(join(path, "cgroup.procs"));
  return readdirSync(mountPoint)
    .map((name) => join(mountPoint, name))
    .filter(isGroup);
}

function inherit(parent: string, child: string): void {
  for (const name of ["cpuset.cpus", "cpuset.mems"]) {
    if (existsSync(join(child, name))) writeFileSync(join(child, name), readFileSync(join(parent, name)));
  }
}

/** On v2 a child gets only the controllers that its parent hands down. */
function handDown(path: string): void {
  const names = readFileSync(join(path, "cgroup.controllers"), "utf8").trim().split(" ");
  for (const name of names.filter(Boolean)) writeFileSync(join(path, "cgroup.subtree_control"), `+${name}`);
}

/** Makes `/<run>/<node>` in every hierarchy. */
export function makeCgroups(run: string, nodes: readonly string[]): void {
  for (const root of controllers()) {
    const top = join(root, run);
    mkdirSync(top, { recursive: true });
    if (isUnified()) handDown(top);
    else inherit(root, top);
    for (const node of nodes) {
      mkdirSync(join(top, node), { recursive: true });
      if (!isUnified()) inherit(top, join(top, node));
    }
  }
}

function folders(path: string): string[] {
  try {
    return readdirSync(path, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => join(path, entry.name));
  } catch {
    return []; // It went in between.
  }
}

function removeTree(path: string): boolean {
  const children = folders(path).map(removeTree);
  try {
    rmdirSync(path);
    return children.every(Boolean);
  } catch {
    return !existsSync(path);
  }
}

/** Removes a run's folders. False where a process still lives in one: then try again. */
export function removeCgroups(run: string): boolean {
  return controllers()
    .map((root) => removeTree(join(root, run)))
    .every(Boolean);
}

/** Process ids (as this process sees them) in a group and all below it, over every hierarchy. */
export function processesOf(group: string): number[] {
  const pids = new Set<number>();
  const visit = (path: string): void => {
    for (const pid of readProcs(path)) pids.add(pid);
    folders(path).forEach(visit);
  };
  for (const root of controllers()) visit(join(root, group));
  return [...pids];
}

function readProcs(path: string): number[] {
  try {
    return readFileSync(join(path, "cgroup.procs"), "utf8")
      .split("\n")
      .filter(Boolean)
      .map(Number)
      .filter((pid) => pid > 0);
  } catch {
    return [];
  }
}
