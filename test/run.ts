// The test runner of `make test`: builds the test bed, starts one control plane for the whole run, runs `node --test`
// and exits with its code. Arguments are parts of file names (only those files run).
import { spawn } from "node:child_process";
import { globSync } from "node:fs";
import { join } from "node:path";
import { startControlPlane } from "./cluster/controlplane.ts";
import type { ControlPlane } from "./cluster/controlplane.ts";
import { clusterDir, repoDir } from "./cluster/paths.ts";
import { berthCrdDir } from "./cluster/session.ts";

/** Two files at a time: the control plane's processes want the rest of a small machine. */
const concurrency = 2;

/** Test files whose path holds one of the given parts (all without any), sorted. */
function testFiles(parts: readonly string[]): string[] {
  const files = globSync("test/**/*.test.ts", { cwd: repoDir }).sort();
  return parts.length === 0 ? files : files.filter((file) => parts.some((part) => file.includes(part)));
}

/** Runs the files and resolves with the runner's exit code. A signal goes to the runner, so that `after` hooks run. */
function runTests(files: readonly string[], cluster: ControlPlane | undefined): Promise<number> {
  const reporter = join(clusterDir, "reporter.ts");
  const imports = ["--import", join(repoDir, "test", "propertyruns.ts")];
  const args = [
    ...imports,
    "--test",
    `--test-concurrency=${String(concurrency)}`,
    `--test-reporter=${reporter}`,
    ...files,
  ];
  const env = { ...process.env, ...(cluster && { BERTH_TEST_CLUSTER: cluster.infoPath }) };
  const child = spawn(process.execPath, args, { cwd: repoDir, env, stdio: "inherit" });
  const pass = (signal: NodeJS.Signals): void => void child.kill(signal);
  process.on("SIGINT", pass).on("SIGTERM", pass);
  return new Promise((resolve) => child.once("exit", (code) => resolve(code ?? 1)));
}

async function main(parts: readonly string[]): Promise<number> {
  const files = testFiles(parts);
  if (files.length === 0) throw new Error(`no test file's name contains ${parts.join(" or ")}`);
  const foreign = process.env["BERTH_TEST_KUBECONFIG"];
  console.log(foreign ? `testing on the cluster of ${foreign}` : "starting the test bed");
  const progress = (line: string): void => console.log(line);
  const cluster = foreign ? undefined : await startControlPlane({ crdFolders: [berthCrdDir], progress });
  const code = await runTests(files, cluster);
  if (code !== 0 && cluster) console.log(`logs of the control plane: ${cluster.logDir}`);
  await cluster?.stop({ keepLogs: code !== 0 });
  return code;
}

main(process.argv.slice(2)).then(
  (code) => (process.exitCode = code),
  (error: unknown) => {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  },
);
