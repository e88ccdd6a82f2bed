// 2,000 files of 16 KiB: what each file costs beside its bytes.
import type { Cost } from "./command.ts";
import { print } from "./figures.ts";
import { putModel } from "./importmodel.ts";
import { berthLine, medians } from "./importrig.ts";
import type { Case } from "./importrig.ts";
import type { Bench } from "./imports.ts";

const FILES = 2_000;

export async function smallLines(bench: Bench): Promise<void> {
  const texts = Object.fromEntries(
    Array.from({ length: FILES }, (_, n) => [`notes/${String(n)}.txt`, String(n).padEnd(16 << 10, "x")]),
  );
  const model = await putModel(bench.s3, { name: "small", shards: 1, shardBytes: 1 << 20, texts });
  const { rclone } = bench.peers ?? {};
  const remote = `b:${model.bucket}/${model.prefix}`;
  const cases: Case[] = [
    { what: "berth import", line: (into) => berthLine(model.place, `file://${into}`) },
    ...(rclone ? [{ what: "rclone copy", line: (into: string) => `${rclone} copy -q ${remote} ${into}` }] : []),
  ];
  const [ours, peer] = await medians(bench, cases);
  const rate = (seconds: number | undefined): number => FILES / (seconds ?? Number.NaN);
  print({
    name: "import.small.rate",
    value: rate(ours?.seconds),
    unit: "files/s",
    limit: rate(peer?.seconds),
    against: "rclone copy, not flushed, an MD5 of each that is compared with nothing (wanted: 1)",
  });
  const cpu = (cost: Cost | undefined): number => ((cost?.cpuSeconds ?? Number.NaN) * 1000) / FILES;
  print({ name: "import.small.cpu", value: cpu(ours), unit: "CPU ms/file", limit: cpu(peer), against: "rclone copy" });
}
