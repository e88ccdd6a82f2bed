// Where the test bed keeps what it builds and runs: everything below one cache folder, nothing outside of it.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

/** Folder of this module, which also holds go.mod and go.sum. */
export const clusterDir = dirname(fileURLToPath(import.meta.url));

/** Root of the repository. */
export const repoDir = resolve(clusterDir, "..", "..");

/** The cache folder: `BERTH_CACHE_DIR`, or `.cache` in the repository. */
export function cacheDir(): string {
  return resolve(process.env["BERTH_CACHE_DIR"] ?? join(repoDir, ".cache"));
}

/** First 16 hex digits of the SHA-256 over a module's go.mod and go.sum: other versions of the tools get another folder. */
export function toolsKey(moduleDir = clusterDir): string {
  const hash = createHash("sha256");
  for (const name of ["go.mod", "go.sum"]) hash.update(readFileSync(join(moduleDir, name)));
  return hash.digest("hex").slice(0, 16);
}

/** Folder of the built programs of a Go module (this folder's by default). */
export function binDir(moduleDir = clusterDir): string {
  return join(cacheDir(), "bin", toolsKey(moduleDir));
}

/** Folder of the CRD files that were copied out of the Go modules of this go.mod. */
export function crdDir(): string {
  return join(cacheDir(), "crds", toolsKey());
}

/**
 * Parent of the folders of running (and recently ended) control planes. `BERTH_TEST_RUNS_DIR` is for a harness with
 * process ids of its own (a PID namespace): it could not tell whether the owners of the usual folders still live.
 */
export function runsDir(): string {
  return process.env["BERTH_TEST_RUNS_DIR"] ?? join(cacheDir(), "run");
}
