// A real S3 server (versitygw) over a directory, for tests that want a bucket of their own.
import { randomBytes } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { Agent } from "node:https";
import { connect } from "node:net";
import { join } from "node:path";
import { CreateBucketCommand, S3Client } from "@aws-sdk/client-s3";
import { ensureTools } from "./build.ts";
import { freePort, newPart } from "./process.ts";
import type { Part } from "./process.ts";
import { newRunDir } from "./rundir.ts";
import type { RunDir } from "./rundir.ts";
import type { KeyPair } from "./x509.ts";

export interface S3Server {
  /** `http://127.0.0.1:<port>`, or https with `tls`. */
  readonly endpoint: string;
  readonly region: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Parent of the buckets' folders: objects are plain files below it. */
  readonly dir: string;
  readonly logPath: string;
  readonly part: Part;
  /** An S3 client with the root credentials; `endpoint` sends it through a proxy. */
  client(endpoint?: string): S3Client;
  /** Makes a bucket and returns its name. */
  createBucket(name: string): Promise<string>;
  stop(): Promise<void>;
}

export const s3Region = "us-east-1";

export interface S3Options {
  /** Where its data and log go; otherwise it gets a folder of its own that `stop()` removes. */
  readonly runDir?: string;
  readonly name?: string;
  /** Default 127.0.0.1; IPv6 without brackets. */
  readonly address?: string;
  /** Serves TLS with these; `client()` then takes any certificate. */
  readonly tls?: KeyPair;
  /** Buckets are also addressed by `<bucket>.<virtualDomain>`. */
  readonly virtualDomain?: string;
  /** Buckets may keep versions. */
  readonly isVersioning?: boolean;
}

/** Whether anybody listens: whatever certificate a server shows, and whatever it answers. */
function listens(port: number, host: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host });
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
}

function tlsFiles(folder: string, name: string, pair: KeyPair | undefined): readonly string[] {
  if (!pair) return [];
  const [cert, key] = [join(folder, `${name}.crt`), join(folder, `${name}.key`)];
  writeFileSync(cert, pair.certPem);
  writeFileSync(key, pair.keyPem, { mode: 0o600 });
  return ["--cert", cert, "--key", key];
}

/** Starts a server. */
export async function startS3(options: S3Options = {}): Promise<S3Server> {
  const tools = await ensureTools();
  const own: RunDir | undefined = options.runDir ? undefined : newRunDir();
  const name = options.name ?? `s3-${randomBytes(3).toString("hex")}`;
  const root = options.runDir ?? own?.path ?? "";
  const dir = join(root, name);
  const logs = join(root, "logs");
  mkdirSync(dir, { recursive: true });
  mkdirSync(logs, { recursive: true });
  const versions = join(root, `${name}-versions`);
  if (options.isVersioning) mkdirSync(versions, { recursive: true });
  const keeping = options.isVersioning ? ["--versioning-dir", versions] : [];
  const port = await freePort();
  const host = options.address ?? "127.0.0.1";
  const address = `${host.includes(":") ? `[${host}]` : host}:${String(port)}`;
  const endpoint = `${options.tls ? "https" : "http"}://${address}`;
  const style = options.virtualDomain === undefined ? [] : ["--virtual-domain", options.virtualDomain];
  const serving = [...tlsFiles(logs, name, options.tls), ...style];
  const accessKeyId = "test-root";
  const secretAccessKey = randomBytes(16).toString("hex");
  const part = newPart({
    name: "versitygw",
    command: join(tools.bin, "versitygw"),
    args: ["--port", address, "--region", s3Region, ...serving, "posix", ...keeping, dir],
    env: { ROOT_ACCESS_KEY: accessKeyId, ROOT_SECRET_KEY: secretAccessKey },
    logPath: join(logs, `${name}.log`),
    ready: async () =>
      options.tls ? listens(port, host) : (await fetch(endpoint, { signal: AbortSignal.timeout(1000) })).status > 0,
    onPid: own?.recordPid,
  });
  const killNow = (): void => {
    part.killNow();
    own?.remove();
  };
  process.once("exit", killNow);
  await part.start();
  const client = (url = endpoint): S3Client =>
    new S3Client({
      endpoint: url,
      region: s3Region,
      credentials: { accessKeyId, secretAccessKey },
      forcePathStyle: true,
      ...(options.tls ? { requestHandler: { httpsAgent: new Agent({ rejectUnauthorized: false }) } } : {}),
    });
  return {
    endpoint,
    region: s3Region,
    accessKeyId,
    secretAccessKey,
    dir,
    logPath: part.logPath,
    part,
    client,
    createBucket: async (bucket) => {
      const s3 = client();
      await s3.send(new CreateBucketCommand({ Bucket: bucket }));
      s3.destroy();
      return bucket;
    },
    stop: async () => {
      await part.kill();
      process.off("exit", killNow);
      own?.remove();
    },
  };
}
