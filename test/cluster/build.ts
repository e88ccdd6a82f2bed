// Builds the servers of the test bed from go.mod, once per content of go.mod and go.sum, and fetches helm and kubectl.
// Nothing is written outside the cache folder. `node test/cluster/build.ts` does only this.
import { spawn, spawnSync } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { setTimeout as delay } from "node:timers/promises";
import { clientsThere, ensureClients } from "./prebuilt.ts";
import { binDir, cacheDir, clusterDir, crdDir } from "./paths.ts";
import { startTimeOf } from "./rundir.ts";

const kubernetesVersion = "v1.36.3";
const goVersion = { major: 1, minor: 26 } as const;

/** A program and the Go package it is built from. */
export interface Tool {
  readonly name: string;
  readonly package: string;
  /** Cold, on 2 cores, when built in this order (later ones share what earlier ones compiled). */
  readonly usual: string;
  /** Build tags of Go. */
  readonly tags?: string;
}

const tools: readonly Tool[] = [
  { name: "etcd", package: "go.etcd.io/etcd/server/v3", usual: "1 min" },
  { name: "kube-apiserver", package: "k8s.io/kubernetes/cmd/kube-apiserver", usual: "3 min" },
  { name: "kube-controller-manager", package: "k8s.io/kubernetes/cmd/kube-controller-manager", usual: "1 min" },
  { name: "kube-scheduler", package: "k8s.io/kubernetes/cmd/kube-scheduler", usual: "20 s" },
  { name: "versitygw", package: "github.com/versity/versitygw/cmd/versitygw", usual: "30 s" },
  { name: "kwok", package: "sigs.k8s.io/kwok/cmd/kwok", usual: "45 s" },
  { name: "karpenter", package: "sigs.k8s.io/karpenter/kwok", usual: "45 s" },
];

const crdFolders = ["pkg/apis/crds", "kwok/apis/crds"] as const;

/** Where progress goes: one line per call. */
export type Progress = (line: string) => void;

/** Paths of all programs of the test bed. */
export interface Tools {
  readonly bin: string;
  readonly kubectl: string;
  readonly helm: string;
}

/** A prerequisite is missing; the message is one line that names it and the version wanted. */
export class MissingPrerequisite extends Error {}

function goEnvironment(): NodeJS.ProcessEnv {
  return {
    ...process.env,
    GOMODCACHE: join(cacheDir(), "go", "mod"),
    GOCACHE: join(cacheDir(), "go", "build"),
    GOFLAGS: "-modcacherw",
    CGO_ENABLED: "0",
  };
}

function checkGo(): void {
  const wanted = `Go ${String(goVersion.major)}.${String(goVersion.minor)} or newer`;
  const run = spawnSync("go", ["env", "GOVERSION"], { encoding: "utf8", env: goEnvironment(), cwd: clusterDir });
  if (run.error)
    throw new MissingPrerequisite(`go is missing: ${wanted} is needed to build the test bed (https://go.dev/dl)`);
  const [, major = "0", minor = "0"] = /go(\d+)\.(\d+)/.exec(run.stdout) ?? [];
  if (run.status !== 0 || Number(major) !== goVersion.major || Number(minor) < goVersion.minor) {
    throw new MissingPrerequisite(
      `go is ${run.stdout.trim() || run.stderr.trim()}: ${wanted} is needed to build the test bed`,
    );
  }
}

const seconds = (since: number): string => `${((Date.now() - since) / 1000).toFixed(0)} s`;

async function go(args: readonly string[], what: string, moduleDir = clusterDir): Promise<string> {
  const child = spawn("go", args, { cwd: moduleDir, env: goEnvironment(), stdio: ["ignore", "pipe", "pipe"] });
  let out = "";
  let errors = "";
  child.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (errors += chunk.toString()));
  const code = await new Promise<number | null>((resolve, reject) =>
    child.once("error", reject).once("close", resolve),
  );
  if (code !== 0) throw new Error(`${what} failed:\n${errors.trimEnd().split("\n").slice(-15).join("\n")}`);
  return out.trim();
}

async function buildTool(tool: Tool, moduleDir: string): Promise<void> {
  const path = join(binDir(moduleDir), tool.name);
  const part = `${path}.part-${String(process.pid)}`;
  const version = ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"];
  const flags = ["-s", "-w", ...version.map((name) => `-X ${name}.gitVersion=${kubernetesVersion}`)].join(" ");
  try {
    const options = ["-trimpath", "-ldflags", flags, ...(tool.tags === undefined ? [] : ["-tags", tool.tags])];
    await go(["build", ...options, "-o", part, tool.package], `building ${tool.name}`, moduleDir);
    renameSync(part, path);
  } finally {
    rmSync(part, { force: true });
  }
}

/** Copies Karpenter's CRD files out of its module, so that starting a control plane needs no Go. */
async function copyCrds(): Promise<void> {
  if (existsSync(join(crdDir(), "karpenter.sh_nodepools.yaml"))) return;
  checkGo();
  await go(["mod", "download", "sigs.k8s.io/karpenter"], "downloading karpenter");
  const module = await go(["list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/karpenter"], "finding karpenter's module");
  const part = `${crdDir()}.part-${String(process.pid)}`;
  mkdirSync(part, { recursive: true });
  for (const folder of crdFolders) {
    for (const name of readdirSync(join(module, folder)).filter((file) => file.endsWith(".yaml"))) {
      copyFileSync(join(module, folder, name), join(part, name));
    }
  }
  rmSync(crdDir(), { recursive: true, force: true });
  renameSync(part, crdDir());
}

/** Runs `work` while no other process does, and takes over the lock of a dead one. */
async function underLock(progress: Progress, work: () => Promise<void>): Promise<void> {
  const path = join(cacheDir(), "build.lock");
  const me = `${String(process.pid)} ${startTimeOf(process.pid) ?? ""}`;
  let told = false;
  while (!takeLock(path, me)) {
    if (!told) progress(`another process is building the test bed (lock ${path}): waiting for it`);
    told = true;
    await delay(500);
  }
  try {
    await work();
  } finally {
    rmSync(path, { force: true });
  }
}

function takeLock(path: string, me: string): boolean {
  try {
    writeFileSync(path, me, { flag: "wx" });
    return true;
  } catch {
    const [pid = "", started] = readIfThere(path).split(" ");
    if (pid && startTimeOf(Number(pid)) !== started) rmSync(path, { force: true });
    return false;
  }
}

function readIfThere(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

async function buildMissing(all: readonly Tool[], moduleDir: string, progress: Progress): Promise<void> {
  const missing = all.filter((tool) => !existsSync(join(binDir(moduleDir), tool.name)));
  if (missing.length > 0) checkGo();
  for (const tool of missing) {
    const start = Date.now();
    const place = `${String(all.indexOf(tool) + 1)} of ${String(all.length)}`;
    progress(`building ${tool.name} (${place}), usually about ${tool.usual} when nothing is cached …`);
    const timer = setInterval(() => progress(`  still building ${tool.name}: ${seconds(start)}`), 30_000);
    await buildTool(tool, moduleDir).finally(() => clearInterval(timer));
    progress(`  built ${tool.name} in ${seconds(start)}`);
  }
}

/** Makes sure that the programs of another module are there too. Returns their folder; throws {@link MissingPrerequisite}. */
export async function ensureModuleTools(
  moduleDir: string,
  wanted: readonly Tool[],
  progress: Progress,
): Promise<string> {
  const dir = binDir(moduleDir);
  mkdirSync(dir, { recursive: true });
  if (wanted.some((tool) => !existsSync(join(dir, tool.name)))) {
    await underLock(progress, () => buildMissing(wanted, moduleDir, progress));
  }
  return dir;
}

/** Makes sure that every program is there. Throws {@link MissingPrerequisite} where Go, helm or kubectl is needed and missing. */
export async function ensureTools(progress: Progress = () => undefined): Promise<Tools> {
  mkdirSync(binDir(), { recursive: true });
  mkdirSync(dirname(crdDir()), { recursive: true });
  const isMissing = (tool: Tool): boolean => !existsSync(join(binDir(), tool.name));
  const crdsThere = existsSync(join(crdDir(), "karpenter.sh_nodepools.yaml"));
  if (tools.some(isMissing) || !crdsThere || !clientsThere()) {
    await underLock(progress, async () => {
      await buildMissing(tools, clusterDir, progress);
      await copyCrds();
      await ensureClients(progress);
    });
  }
  return { bin: binDir(), ...(await ensureClients(progress)) };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const start = Date.now();
  ensureTools((line) => console.log(line)).then(
    ({ bin }) => console.log(`test bed: all programs are in ${bin} (${seconds(start)})`),
    (error: unknown) => {
      console.error(error instanceof Error ? error.message : error);
      process.exitCode = 1;
    },
  );
}
