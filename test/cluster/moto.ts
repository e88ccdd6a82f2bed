// A second S3 server that shares no code with the first: moto in server mode, exact versions with their hashes from PyPI, in the cache folder.
// It checks neither signatures nor checksums and is slow: for what both servers must agree on, not for faults or figures.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { CreateBucketCommand, S3Client } from "@aws-sdk/client-s3";
import { hostPython } from "../../image/vllm.ts";
import { cacheDir } from "./paths.ts";
import { freePort, newPart } from "./process.ts";
import { newRunDir } from "./rundir.ts";
import { s3Region } from "./s3.ts";

export interface Moto {
  readonly endpoint: string;
  readonly region: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  client(): S3Client;
  /** Makes a bucket and returns its name. */
  createBucket(name: string): Promise<string>;
  stop(): Promise<void>;
}

const requirements = join(import.meta.dirname, "moto", "requirements.txt");

/** Starts one on loopback; where it cannot be installed, says why. */
export async function startMoto(): Promise<Moto | { readonly missing: string }> {
  const python = hostPython("pip");
  if (python === undefined) return { missing: "no python3.11 with pip" };
  const packages = install(python);
  if (typeof packages !== "string") return packages;
  const own = newRunDir();
  const port = await freePort();
  const endpoint = `http://127.0.0.1:${String(port)}`;
  const part = newPart({
    name: "moto",
    command: python,
    args: ["-m", "moto.server", "-H", "127.0.0.1", "-p", String(port)],
    env: { PYTHONPATH: packages, PATH: process.env["PATH"] ?? "", HOME: own.path, TMPDIR: own.path },
    logPath: join(own.path, "moto.log"),
    ready: async () => (await fetch(endpoint, { signal: AbortSignal.timeout(1000) })).status > 0,
    onPid: own.recordPid,
  });
  const killNow = (): void => {
    part.killNow();
    own.remove();
  };
  process.once("exit", killNow);
  await part.start();
  const keys = { accessKeyId: "test", secretAccessKey: "test-secret" };
  const client = (): S3Client => new S3Client({ endpoint, region: s3Region, credentials: keys, forcePathStyle: true });
  return {
    endpoint,
    region: s3Region,
    ...keys,
    client,
    createBucket: async (name) => {
      const s3 = client();
      await s3.send(new CreateBucketCommand({ Bucket: name }));
      s3.destroy();
      return name;
    },
    stop: async () => {
      await part.kill();
      process.off("exit", killNow);
      own.remove();
    },
  };
}

function install(python: string): string | { readonly missing: string } {
  const key = createHash("sha256").update(readFileSync(requirements)).digest("hex").slice(0, 16);
  const folder = join(cacheDir(), "moto", key);
  if (existsSync(folder)) return folder;
  const fresh = `${folder}.new-${String(process.pid)}`;
  mkdirSync(fresh, { recursive: true });
  const args = [
    "-m",
    "pip",
    "install",
    "--quiet",
    "--no-deps",
    "--require-hashes",
    "--target",
    fresh,
    "-r",
    requirements,
  ];
  const pip = spawnSync(python, args, { encoding: "utf8" });
  if (pip.status === 0 && !existsSync(folder)) renameSync(fresh, folder);
  rmSync(fresh, { recursive: true, force: true });
  return pip.status === 0 ? folder : { missing: `pip cannot install moto: ${pip.stderr.trim().slice(-200)}` };
}
