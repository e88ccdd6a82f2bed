/** The image of a pod's sandbox container: one static program that waits for the signal to end. */
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { cacheDir } from "../test/cluster/paths.ts";
import { imageOf } from "./archive.ts";
import type { ImageArchive } from "./archive.ts";
import { Missing } from "./missing.ts";

export const PAUSE_REFERENCE = "localhost/pause:1";

/** Builds the program with the host's Go and wraps it. Throws {@link Missing} where Go is missing. */
export async function pauseImage(): Promise<ImageArchive> {
  const work = mkdtempSync(join(tmpdir(), "berth-pause-"));
  const path = join(work, "pause");
  const env = {
    ...process.env,
    CGO_ENABLED: "0",
    GOCACHE: join(cacheDir(), "go", "build"),
    GOFLAGS: "-buildvcs=false",
  };
  try {
    await promisify(execFile)("go", ["build", "-trimpath", "-ldflags", "-s -w -buildid=", "-o", path, "."], {
      cwd: join(import.meta.dirname, "pause"),
      env,
    });
    return imageOf({
      reference: PAUSE_REFERENCE,
      layers: [
        { what: "pause", tree: new Map([["pause", { kind: "file", mode: 0o755, content: readFileSync(path) }]]) },
      ],
      config: { User: "65535:65535", Env: [], Entrypoint: ["/pause"], WorkingDir: "/" },
    });
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") {
      throw new Missing("go is missing: Go 1.26 or newer is needed to build the test bed (https://go.dev/dl)");
    }
    throw error;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
