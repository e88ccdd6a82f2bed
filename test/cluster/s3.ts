// A real S3 server (versitygw) over a directory, for tests that want a bucket of their own.
import { randomBytes } from "node:crypto";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { CreateBucketCommand, S3Client } from "@aws-sdk/client-s3";
import { ensureTools } from "./build.ts";
import { freePort, newPart } from "./process.ts";
import type { Part } from "./process.ts";
import { newRunDir } from "./rundir.ts";
import type { RunDir } from "./rundir.ts";

export interface S3Server {
  /** `http://127.0.0.1:<port>`. */
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

/** Starts a server on `address` (default 127.0.0.1); `runDir` puts its data and log there, otherwise it gets a folder of its own that `stop()` removes. */
export async function startS3(options: { runDir?: string; name?: string; address?: string } = {}): Promise<S3Server> {
  const tools = await ensureTools();
  const own: RunDir | undefined = options.runDir ? undefined : newRunDir();
  const name = options.name ?? `s3-${randomBytes(3).toString("hex")}`;
  const root = options.runDir ?? own?.path ?? "";
  const dir = join(root, name);
  const logs = join(root, "logs");
  mkdirSync(dir, { recursive: true });
  mkdirSync(logs, { recursive: true });
  const port = await freePort();
  const address = `${options.address ?? "127.0.0.1"}:${String(port)}`;
  const endpoint = `http://${address}`;
  const accessKeyId = "test-root";
  const secretAccessKey = randomBytes(16).toString("hex");
  const part = newPart({
    name: "versitygw",
    command: join(tools.bin, "versitygw"),
    args: ["--port", address, "--region", s3Region, "posix", dir],
    env: { ROOT_ACCESS_KEY: accessKeyId, ROOT_SECRET_KEY: secretAccessKey },
    logPath: join(logs, `${name}.log`),
    ready: async () => (await fetch(endpoint, { signal: AbortSignal.timeout(1000) })).status > 0,
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
