// What is missing on this machine for real nodes, said before anything is started.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, statfsSync } from "node:fs";
import { cacheDir } from "../cluster/paths.ts";
import { controllers } from "./cgroups.ts";
import { programs } from "./packages.ts";

const wantedFreeGiB = 8;
const gib = 1 << 30;

/**
 * One line for each thing that is missing, with how to get it; empty when real nodes can run here. With
 * BERTH_TEST_KUBECONFIG nothing is needed: somebody else runs the nodes.
 */
export function missingPrerequisites(): Promise<string[]> {
  if (process.env["BERTH_TEST_KUBECONFIG"]) return Promise.resolve([]);
  const lines: string[] = [];
  if (process.platform !== "linux" || process.arch !== "x64") {
    lines.push(`real nodes need Linux on x86-64, this is ${process.platform} on ${process.arch}`);
    return Promise.resolve(lines);
  }
  if (process.getuid?.() !== 0)
    lines.push("root is needed for namespaces, mounts and cgroups: run it as root (sudo -E)");
  else if (!canUnshare())
    lines.push("this root may not make namespaces: run it outside of the container, or give that CAP_SYS_ADMIN");
  const packages = new Set(programs.filter(({ path }) => !existsSync(path)).map((program) => program.package));
  if (packages.size > 0) lines.push(`Debian packages are missing: ${[...packages].join(", ")}: run make e2e-setup`);
  if (controllers().length === 0) lines.push("no cgroup hierarchy is mounted under /sys/fs/cgroup: mount one");
  const free = freeGiB();
  if (free < wantedFreeGiB) {
    lines.push(
      `${cacheDir()} has ${free.toFixed(1)} GiB free, ${String(wantedFreeGiB)} GiB are needed: free some, or set BERTH_CACHE_DIR to a roomier disk`,
    );
  }
  return Promise.resolve(lines);
}

function canUnshare(): boolean {
  const made = spawnSync("unshare", ["--net", "--mount", "--pid", "--ipc", "--uts", "--fork", "true"], {
    stdio: "ignore",
  });
  return made.error !== undefined || made.status === 0;
}

function freeGiB(): number {
  mkdirSync(cacheDir(), { recursive: true });
  const { bavail, bsize } = statfsSync(cacheDir());
  return (bavail * bsize) / gib;
}
