/**
 * Debian packages as sources of files: pinned by version and SHA-256 in a lock file, downloaded by the host's apt and
 * unpacked into the cache folder. Nothing is installed on the host.
 */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { cacheDir } from "../test/cluster/paths.ts";
import { Missing } from "./missing.ts";
import type { Progress } from "./missing.ts";
import { treeOf } from "./tree.ts";
import type { Tree } from "./tree.ts";

const run = promisify(execFile);

export interface DebianPackage {
  readonly name: string;
  readonly version: string;
  readonly sha256: string;
}

export interface UnpackedPackage extends DebianPackage {
  readonly files: Tree;
  /** Its control file, as dpkg keeps it. */
  readonly control: string;
}

export const lockPath = (name: "operator" | "engine"): string => join(import.meta.dirname, "debian", `${name}.lock`);

/** Reads `name version sha256` lines; `#` starts a comment. */
export function readLock(path: string): DebianPackage[] {
  const lines = readFileSync(path, "utf8").split("\n");
  return lines
    .filter((line) => line && !line.startsWith("#"))
    .map((line) => {
      const [name = "", version = "", sha256 = ""] = line.split(" ");
      if (!/^[0-9a-f]{64}$/.test(sha256)) throw new Error(`${path}: "${line}" is not "name version sha256"`);
      return { name, version, sha256 };
    });
}

const folderOf = ({ sha256 }: DebianPackage): string => join(cacheDir(), "debian", sha256.slice(0, 32));

/** Downloads with the host's apt into `folder`. */
export async function download(packages: readonly string[], folder: string): Promise<void> {
  try {
    await run("apt-get", ["download", "-q", ...packages], { cwd: folder, maxBuffer: 1 << 26 });
  } catch (error) {
    const words = error instanceof Error && "stderr" in error ? String(error.stderr) : String(error);
    const said = words.split("\n").find((line) => line.startsWith("E:")) ?? words.split("\n")[0] ?? "";
    throw new Missing(
      `Debian packages cannot be downloaded (${said.trim()}): needs Debian 12's apt with a fresh index (apt-get update); ` +
        `when a pinned version is gone from the archive, "node image/lock.ts" writes new pins`,
    );
  }
}

export function sha256Of(path: string): string {
  return createHash("sha256").update(readFileSync(path)).digest("hex");
}

async function unpack(file: string, wanted: DebianPackage): Promise<void> {
  const folder = folderOf(wanted);
  const part = `${folder}.part-${String(process.pid)}`;
  mkdirSync(part, { recursive: true });
  await run("dpkg-deb", ["--extract", file, join(part, "files")]);
  const { stdout } = await run("dpkg-deb", ["--field", file]);
  writeFileSync(join(part, "control"), stdout);
  try {
    renameSync(part, folder);
  } catch (error) {
    rmSync(part, { recursive: true, force: true });
    if (!existsSync(folder)) throw error;
  }
}

async function fetchMissing(missing: readonly DebianPackage[], progress: Progress): Promise<void> {
  progress(`downloading ${String(missing.length)} Debian packages …`);
  mkdirSync(join(cacheDir(), "debian"), { recursive: true });
  const work = mkdtempSync(join(cacheDir(), "debian", "download-"));
  try {
    await download(
      missing.map(({ name, version }) => `${name}=${version}`),
      work,
    );
    const bySum = new Map(readdirSync(work).map((name) => [sha256Of(join(work, name)), join(work, name)]));
    for (const wanted of missing) {
      const file = bySum.get(wanted.sha256);
      if (!file) throw new Error(`${wanted.name} ${wanted.version}: no downloaded file has SHA-256 ${wanted.sha256}`);
      await unpack(file, wanted);
    }
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** The packages of a lock file with their content, downloaded where the cache lacks them. Throws {@link Missing}. */
export async function unpackedPackages(lock: string, progress: Progress): Promise<UnpackedPackage[]> {
  const packages = readLock(lock);
  const missing = packages.filter((entry) => !existsSync(folderOf(entry)));
  if (missing.length > 0) await fetchMissing(missing, progress);
  return packages.map((entry) => ({
    ...entry,
    files: treeOf(join(folderOf(entry), "files")),
    control: readFileSync(join(folderOf(entry), "control"), "utf8"),
  }));
}
