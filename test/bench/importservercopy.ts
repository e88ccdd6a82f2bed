// S3 → S3 inside of one service: our copy of what was read, beside our own sending of it and rclone's server-side copy, which reads nothing.
import { startFaultProxy } from "../cluster/faultproxy.ts";
import { costOf } from "./command.ts";
import { print } from "./figures.ts";
import { putModel } from "./importmodel.ts";
import { berthLine, environment, medians } from "./importrig.ts";
import { emptyBucket } from "./importstream.ts";
import type { Case } from "./importrig.ts";
import type { Bench } from "./imports.ts";

const SHARDS = 4;
const SHARD_BYTES = Number(process.env["SHARD_MIB"] ?? "256") * 2 ** 20;

/** Requests that a command makes, counted by a proxy in a run that is not timed. */
async function requestsOf(bench: Bench, line: (endpoint: string) => string): Promise<number> {
  const proxy = await startFaultProxy({ target: bench.s3.endpoint, dialect: "s3" });
  try {
    await costOf(line(proxy.url), environment({ ...bench, s3: { ...bench.s3, endpoint: proxy.url } }));
    return proxy.seen.length;
  } finally {
    await proxy.close();
  }
}

export async function serverCopyLines(bench: Bench): Promise<void> {
  const model = await putModel(bench.s3, { name: "servercopy", shards: SHARDS, shardBytes: SHARD_BYTES });
  const bucket = await bench.s3.createBucket("bench-servercopy-store");
  const tidy = (): Promise<void> => emptyBucket(bench, bucket);
  const { rclone } = bench.peers ?? {};
  const streamed = (endpoint: string): string =>
    `${berthLine(model.place, `s3://${bucket}/platform`)} --endpoint ${endpoint}`;
  const copied = (endpoint: string): string => `${streamed(endpoint)} --server-side-copy`;
  const peerLine = `${rclone ?? ""} copy -q b:${model.bucket}/${model.prefix} b:${bucket}/rclone`;
  const cases: Case[] = [
    { what: "berth import --server-side-copy", line: () => copied(bench.s3.endpoint), tidy },
    { what: "berth import, streamed", line: () => streamed(bench.s3.endpoint), tidy },
    ...(rclone ? [{ what: "rclone copy, server-side", line: () => peerLine, tidy }] : []),
  ];
  const [ours, sent, peer] = await medians(bench, cases);
  const gigabytes = model.bytes / 1e9;
  const rate = (seconds: number | undefined): number => gigabytes / (seconds ?? Number.NaN);
  const against = "rclone copy, server-side: nothing read, nothing hashed";
  print({
    name: "import.servercopy.rate",
    value: rate(ours?.seconds),
    unit: "GB/s",
    limit: rate(peer?.seconds),
    against,
  });
  print({ name: "import.servercopy.streamed", value: rate(sent?.seconds), unit: "GB/s" });
  print({
    name: "import.servercopy.cpu",
    value: (ours?.cpuSeconds ?? 0) / gigabytes,
    unit: "CPU s/GB",
    limit: (sent?.cpuSeconds ?? 0) / gigabytes,
    against: "berth import, streamed",
  });
  const gibibytes = model.bytes / 2 ** 30;
  const ourRequests = await requestsOf(bench, copied);
  await tidy();
  const peerRequests = rclone ? await requestsOf(bench, () => peerLine) : Number.NaN;
  await tidy();
  print({
    name: "import.servercopy.requests",
    value: ourRequests / gibibytes,
    unit: "requests/GiB",
    limit: peerRequests / gibibytes,
    against,
  });
}
