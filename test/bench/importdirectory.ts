// S3 → directory with a SHA-256 of every byte, beside rclone with the same guarantee and the machine's limit; and beside those that hash nothing.
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import type { S3Server } from "../cluster/s3.ts";
import type { Cost } from "./command.ts";
import { cpuSeconds, print, quantile } from "./figures.ts";
import { putModel } from "./importmodel.ts";
import type { BenchModel } from "./importmodel.ts";
import { berthLine, medians } from "./importrig.ts";
import type { Case } from "./importrig.ts";
import type { Bench } from "./imports.ts";

const SHARDS = 16;
/** From 256 MiB on rclone writes a file by several streams and hashes none; it takes an MD5 of smaller ones. SHARD_MIB= makes them smaller, for a look on a machine that has other work. */
const SHARD_BYTES = Number(process.env["SHARD_MIB"] ?? "256") * 2 ** 20;

/** Bytes a second that one core hashes. */
function hashRate(): number {
  const { stderr, stdout } = spawnSync("openssl", ["speed", "-seconds", "2", "-bytes", "1048576", "sha256"], {
    encoding: "utf8",
  });
  const kilobytes = Number(/sha256\s+([\d.]+)k/.exec(stdout)?.[1]);
  if (!(kilobytes > 0)) throw new Error(`openssl speed says nothing: ${stderr}`);
  return kilobytes * 1000;
}

/** All files side by side into the folder, nothing hashed. */
export function curlLine(s3: S3Server, model: BenchModel, paths: readonly string[], into: string): string {
  const config = paths.map(
    (path) => `url = "${s3.endpoint}/${model.bucket}/${model.prefix}/${path}"\noutput = "${into}/${path}"`,
  );
  const user = `user = "${s3.accessKeyId}:${s3.secretAccessKey}"\naws-sigv4 = "aws:amz:${s3.region}:s3"\n`;
  const signed = `${user}header = "x-amz-content-sha256: UNSIGNED-PAYLOAD"\n`;
  writeFileSync(join(into, ".curl"), `parallel\nparallel-max = 8\nsilent\nfail\n${signed}${config.join("\n")}\n`);
  return `curl -K ${into}/.curl`;
}

/** `delaysMs` gets the p99 of our event loop's delay in each run. */
function casesOf(bench: Bench, model: BenchModel, delaysMs: number[]): Record<string, Case> {
  const delayFile = join(bench.newFolder(), "delay");
  const { s3, peers } = bench;
  const shards = Array.from(
    { length: SHARDS },
    (_, n) => `model-${String(n + 1).padStart(5, "0")}-of-00016.safetensors`,
  );
  const remote = `b:${model.bucket}/${model.prefix}`;
  const ours: Case = {
    what: "berth import",
    line: (into) => `LOOP_DELAY_FILE=${delayFile} ${berthLine(model.place, `file://${into}`)}`,
    tidy: async () => void delaysMs.push(Number(await readFile(delayFile, "utf8"))),
  };
  const curl: Case = { what: "curl", line: (into) => curlLine(s3, model, shards, into) };
  if (!peers) return { ours, curl };
  const { rclone, s5cmd } = peers;
  const copy = (into: string): string => `${rclone} copy -q ${remote} ${into}`;
  return {
    ours,
    curl,
    verified: {
      what: "rclone copy, then hashsum",
      line: (into) => `${copy(into)}\n${rclone} hashsum SHA256 ${into} > /dev/null`,
    },
    durable: {
      what: "rclone copy, sync, then hashsum",
      line: (into) => `${copy(into)}\nsync -f ${into}\n${rclone} hashsum SHA256 ${into} > /dev/null`,
    },
    rclone: { what: "rclone copy", line: copy },
    s5cmd: { what: "s5cmd cp", line: (into) => `${s5cmd} cp '${model.place}/*' ${into}/ > /dev/null` },
  };
}

export async function directoryLines(bench: Bench): Promise<void> {
  const model = await putModel(bench.s3, { name: "directory", shards: SHARDS, shardBytes: SHARD_BYTES });
  const delaysMs: number[] = [];
  const cases = casesOf(bench, model, delaysMs);
  const pid = bench.s3.part.pid() ?? 0;
  const before = cpuSeconds(pid);
  const costs = await medians(bench, Object.values(cases));
  const serverCpu = (cpuSeconds(pid) - before) / (bench.runs * costs.length);
  const of = Object.fromEntries(Object.keys(cases).map((name, n) => [name, costs[n]]));
  const gigabytes = model.bytes / 1e9;
  const rate = (cost: Cost | undefined): number => gigabytes / (cost?.seconds ?? Number.NaN);
  const { ours, curl, verified, durable, rclone, s5cmd } = of;
  // Receiving and writing keep the cores busy as long as curl takes; hashing comes on top, over all cores.
  const limit = 1 / (1 / rate(curl) + 1e9 / hashRate() / availableParallelism());
  const unit = "GB/s";
  print({
    name: "import.directory.rate",
    value: rate(ours),
    unit,
    limit: rate(verified),
    against: "rclone copy, then rclone hashsum SHA256 (wanted: 1.25)",
  });
  if (durable)
    print({
      name: "import.directory.durable",
      value: rate(ours),
      unit,
      limit: rate(durable),
      against: "rclone copy, sync, then rclone hashsum SHA256: on the disk, as ours is",
    });
  print({
    name: "import.directory.machine",
    value: rate(ours),
    unit,
    limit,
    against: "curl to files and openssl speed sha256 over the cores (wanted: 0.7)",
  });
  for (const [name, cost] of Object.entries({ "rclone copy": rclone, "s5cmd cp": s5cmd, curl }))
    if (cost)
      print({
        name: "import.directory.unverified",
        value: rate(ours),
        unit,
        limit: rate(cost),
        against: `${name}, nothing hashed`,
      });
  print({
    name: "import.directory.cpu",
    value: (ours?.cpuSeconds ?? 0) / gigabytes,
    unit: "CPU s/GB",
    limit: 1.4,
    against: "wanted at most",
  });
  if (verified) print({ name: "import.directory.cpu.peer", value: verified.cpuSeconds / gigabytes, unit: "CPU s/GB" });
  print({ name: "import.directory.cpu.server", value: serverCpu / gigabytes, unit: "CPU s/GB" });
  print({
    name: "import.directory.memory",
    value: ours?.peakMegabytes ?? 0,
    unit: "MB",
    limit: 256 * 1.048576 + 120,
    against: "buffers and 120 MB",
  });
  delayLines(delaysMs, ours?.idleDelayMs ?? 0);
}

function delayLines(delaysMs: readonly number[], idleDelayMs: number): void {
  const name = "import.directory.loop.delay";
  const [median, unit] = [quantile(delaysMs, 0.5), "ms"];
  print({ name: `${name}.p99`, value: median, unit, limit: 20, against: "median of the runs (wanted at most)" });
  print({ name: `${name}.p99.worst`, value: Math.max(...delaysMs), unit, against: "largest of the runs" });
  print({ name: `${name}.idle`, value: idleDelayMs, unit });
}
