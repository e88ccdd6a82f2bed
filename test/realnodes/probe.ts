// The image of the self-test's container: one static program (probe/main.go), built with the host's Go.
import { execFile } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { imageOf, writeArchive } from "../../image/archive.ts";
import { cacheDir } from "../cluster/paths.ts";

/** Name of the image in its archive. */
export const probeImage = "localhost/probe:1";

/** Builds the archive (2 s) and returns its path. */
export async function probeArchive(): Promise<string> {
  const folder = join(cacheDir(), "images");
  mkdirSync(folder, { recursive: true });
  const program = join(folder, `probe-${String(process.pid)}`);
  const env = {
    ...process.env,
    CGO_ENABLED: "0",
    GOCACHE: join(cacheDir(), "go", "build"),
    GOFLAGS: "-buildvcs=false",
  };
  const cwd = join(import.meta.dirname, "probe");
  await promisify(execFile)("go", ["build", "-trimpath", "-ldflags", "-s -w", "-o", program, "."], { cwd, env });
  const content = readFileSync(program);
  await promisify(execFile)("rm", ["-f", program]);
  const path = join(folder, "probe.tar");
  const image = imageOf({
    reference: probeImage,
    layers: [{ what: "probe", tree: new Map([["probe", { kind: "file", mode: 0o755, content }]]) }],
    config: { User: "65534:65534", Env: [], Entrypoint: ["/probe"], WorkingDir: "/" },
  });
  writeArchive(image, path);
  return path;
}
