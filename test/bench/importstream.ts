// S3 → S3: streamed beside rclone without server-side copy. Its parts carry an MD5 each and, since the server speaks plain HTTP, a signed
// SHA-256 (rclone 1.75, backend/s3: WriteChunk; its option for unsigned payloads is for whole objects alone). A file that it sends as one
// object has neither, so that is tried as well.
import { DeleteObjectCommand, ListObjectsV2Command } from "@aws-sdk/client-s3";
import { cpuSeconds, print } from "./figures.ts";
import { putModel } from "./importmodel.ts";
import { berthLine, medians } from "./importrig.ts";
import type { Case } from "./importrig.ts";
import type { Bench } from "./imports.ts";

const SHARDS = 4;
const SHARD_BYTES = Number(process.env["SHARD_MIB"] ?? "256") * 2 ** 21;

const WHOLE = "--multi-thread-cutoff 5G --s3-upload-cutoff 5G";

/** Takes everything out of the bucket. */
export async function emptyBucket({ s3 }: Bench, bucket: string): Promise<void> {
  const client = s3.client();
  for (;;) {
    const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: bucket }));
    if (Contents.length === 0) break;
    for (const { Key } of Contents) await client.send(new DeleteObjectCommand({ Bucket: bucket, Key }));
  }
  client.destroy();
}

export async function streamLines(bench: Bench): Promise<void> {
  const model = await putModel(bench.s3, { name: "stream", shards: SHARDS, shardBytes: SHARD_BYTES });
  const bucket = await bench.s3.createBucket("bench-stream-store");
  const tidy = (): Promise<void> => emptyBucket(bench, bucket);
  const endpoint = `--endpoint ${bench.s3.endpoint}`;
  const { rclone } = bench.peers ?? {};
  const remote = `b:${model.bucket}/${model.prefix} b:${bucket}/rclone`;
  const cases: Case[] = [
    { what: "berth import", line: () => `${berthLine(model.place, `s3://${bucket}/platform`)} ${endpoint}`, tidy },
    ...(rclone
      ? [
          { what: "rclone copy, streamed", line: () => `${rclone} copy -q --disable copy ${remote}`, tidy },
          {
            what: "rclone copy, whole objects",
            line: () => `${rclone} copy -q --disable copy ${WHOLE} ${remote}`,
            tidy,
          },
        ]
      : []),
  ];
  const before = cpuSeconds(bench.s3.part.pid() ?? 0);
  const [ours, peer, whole] = await medians(bench, cases);
  const gigabytes = model.bytes / 1e9;
  const rate = (seconds: number | undefined): number => gigabytes / (seconds ?? Number.NaN);
  const serverCpu = (cpuSeconds(bench.s3.part.pid() ?? 0) - before) / (bench.runs * cases.length) / gigabytes;
  print({
    name: "import.stream.rate",
    value: rate(ours?.seconds),
    unit: "GB/s",
    limit: rate(peer?.seconds),
    against: "rclone copy --disable copy: MD5 and SHA-256 of each part, none of a file (wanted: 1)",
  });
  print({
    name: "import.stream.unhashed",
    value: rate(ours?.seconds),
    unit: "GB/s",
    limit: rate(whole?.seconds),
    against: "rclone copy --disable copy, a file as one object: nothing hashed",
  });
  print({
    name: "import.stream.cpu",
    value: (ours?.cpuSeconds ?? 0) / gigabytes,
    unit: "CPU s/GB",
    limit: (peer?.cpuSeconds ?? 0) / gigabytes,
    against: "rclone",
  });
  print({ name: "import.stream.cpu.unhashed", value: (whole?.cpuSeconds ?? 0) / gigabytes, unit: "CPU s/GB" });
  print({ name: "import.stream.cpu.server", value: serverCpu, unit: "CPU s/GB" });
  print({
    name: "import.stream.memory",
    value: ours?.peakMegabytes ?? 0,
    unit: "MB",
    limit: 256 * 1.048576 + 120,
    against: "buffers and 120 MB",
  });
}
