// `node test/realnodes/main.ts`: the self-test of real nodes, and the proof that the machine is afterwards as it was
// before, also after `kill -9`. Takes two minutes. Needs root and what `make e2e-setup` installs.
import { spawn } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ensureTools } from "../cluster/build.ts";
import { eventually } from "../cluster/eventually.ts";
import { ensureNodeTools } from "./build.ts";
import { startRealCluster } from "./cluster.ts";
import { differences, lookAtHost } from "./host.ts";
import type { HostLook } from "./host.ts";
import { insideRun, runInside } from "./namespaces.ts";
import { missingPrerequisites } from "./prerequisites.ts";
import { probeArchive } from "./probe.ts";
import { selfTest } from "./selftest.e2e.ts";
import { cleanDeadRuns } from "./state.ts";

const say = (line: string): void => console.log(line);
const holdLine = "holding";

async function inside(): Promise<void> {
  const [mode, archive = "", mounted = ""] = process.argv.slice(2);
  if (mode === "hold") {
    await startRealCluster({ systemNodes: 1, gpuNodes: 1 });
    say(holdLine);
    await new Promise(() => setInterval(() => undefined, 60_000));
  }
  await selfTest({ archive, mounted, say });
}

function compare(before: HostLook, what: string): void {
  const left = differences(before, lookAtHost());
  if (left.length > 0) throw new Error(`${what}, the machine is not as before:\n${left.join("\n")}`);
  say(`        ${what}: interfaces, packet filters, mounts, cgroups, processes and kernel settings are as before`);
}

/** Starts a run in a process of its own, kills that with SIGKILL while nodes run, and lets the next start clean up. */
async function killNine(before: HostLook): Promise<void> {
  const child = spawn(process.execPath, [...process.execArgv, import.meta.filename, "hold"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exit = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  await new Promise<void>((resolve, reject) => {
    child.stdout.on("data", (chunk: Buffer) => (chunk.toString().includes(holdLine) ? resolve() : undefined));
    child.once("exit", (code) => reject(new Error(`the run to be killed ended by itself with ${String(code)}`)));
  });
  child.kill("SIGKILL");
  await exit;
  await eventually(() => lookAtHost()["processes"] === before["processes"], {
    what: "no process of the killed run lives",
  });
  await cleanDeadRuns();
  compare(before, "after kill -9 and the next start");
}

async function outside(): Promise<number> {
  if (process.argv[2] === "hold") return (await runInside()).code;
  const missing = await missingPrerequisites();
  for (const line of missing) console.error(line);
  if (missing.length > 0) return 1;
  await ensureTools(say);
  await ensureNodeTools(say);
  await cleanDeadRuns();
  const before = lookAtHost();
  const mounted = mkdtempSync(join(tmpdir(), "berth-mounted-"));
  // Containers run as somebody else.
  chmodSync(mounted, 0o755);
  writeFileSync(join(mounted, "hello"), "hello");
  try {
    const archive = await probeArchive();
    const { code, logs } = await runInside({
      argv: [...process.execArgv, import.meta.filename, "test", archive, mounted],
    });
    compare(before, "after the run");
    if (code !== 0) {
      console.error(`failed; logs are in ${logs}`);
      return code;
    }
    await killNine(before);
    return 0;
  } finally {
    rmSync(mounted, { recursive: true, force: true });
  }
}

try {
  process.exitCode = insideRun() ? await inside().then(() => 0) : await outside();
} catch (error) {
  console.error(error);
  process.exitCode = 1;
}
// Parts and open connections must not keep us.
process.exit();
