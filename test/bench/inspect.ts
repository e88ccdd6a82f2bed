// `berth inspect` of 70 billion parameters in 1, 30 and 163 shards over a real local S3 server, beside curl of the same ranges.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { runInspect, type Inspection } from "../../operator/cli/inspect.ts";
import { startS3, type S3Server } from "../cluster/s3.ts";
import { writeSparse70B } from "../models/sparse.ts";
import { print, say } from "./figures.ts";

const RUNS = 3;
/** What inspection asks of each shard first (operator/transfer/headers.ts). */
const FIRST_BYTES = 65_536;

export async function inspectCost(): Promise<void> {
  const s3 = await startS3();
  try {
    const bucket = await s3.createBucket("inspect");
    for (const shards of [1, 30, 163]) {
      const names = writeSparse70B(join(s3.dir, bucket, String(shards)), shards);
      const found = await fastest(s3, `s3://${bucket}/${String(shards)}`);
      const curlSeconds = curl(s3, bucket, shards, names);
      const name = `inspect ${String(shards)} shards`;
      say(`${name}: ${String(found.read.requests)} requests, ${String(found.read.bytes)} bytes`);
      print({ name: `${name}, requests`, value: found.read.requests, unit: "requests" });
      print({ name: `${name}, bytes`, value: found.read.bytes / 2 ** 20, unit: "MiB" });
      print({
        name,
        value: found.read.seconds,
        unit: "s",
        limit: curlSeconds,
        against: "curl of the same ranges, 8 at once",
      });
    }
  } finally {
    await s3.stop();
  }
}

async function fastest(s3: S3Server, place: string): Promise<Inspection> {
  const found: Inspection[] = [];
  for (let run = 0; run < RUNS; run++) {
    let out = "";
    const code = await runInspect([place, "-o", "json"], {
      env: {
        AWS_ENDPOINT_URL: s3.endpoint,
        AWS_ACCESS_KEY_ID: s3.accessKeyId,
        AWS_SECRET_ACCESS_KEY: s3.secretAccessKey,
      },
      write: (text) => (out += text),
      complain: say,
    });
    if (code !== 0) throw new Error(`berth inspect ended with ${String(code)}`);
    found.push(JSON.parse(out) as Inspection);
  }
  const [best] = found.sort((a, b) => a.read.seconds - b.read.seconds);
  if (!best) throw new Error("nothing was inspected");
  return best;
}

/** One curl for all ranges, signed as inspection signs: seconds by the wall. */
function curl(s3: S3Server, bucket: string, shards: number, names: readonly string[]): number {
  const lines = names.flatMap((name) => [
    "next",
    `url = "${s3.endpoint}/${bucket}/${String(shards)}/${name}"`,
    'output = "/dev/null"',
    ...(name.endsWith(".safetensors") ? [`range = "0-${String(FIRST_BYTES - 1)}"`] : []),
    `user = "${s3.accessKeyId}:${s3.secretAccessKey}"`,
    'header = "x-amz-content-sha256: UNSIGNED-PAYLOAD"',
    `aws-sigv4 = "aws:amz:${s3.region}:s3"`,
  ]);
  const before = performance.now();
  const ran = spawnSync("curl", ["-sS", "--fail", "-Z", "--parallel-max", "8", "-K", "-"], {
    input: lines.slice(1).join("\n"),
    encoding: "utf8",
  });
  if (ran.status !== 0) throw new Error(`curl failed: ${ran.stderr}`);
  return (performance.now() - before) / 1000;
}
