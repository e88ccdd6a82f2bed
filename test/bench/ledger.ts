/** What sealing, verifying and reading cost, beside gzip and openssl over the same bytes. HOURS= sets how many windows are verified. */
import { execFile, execFileSync } from "node:child_process";
import { createReadStream, createWriteStream } from "node:fs";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { promisify } from "node:util";
import { createGunzip } from "node:zlib";

import { print, say } from "./figures.ts";

const run = promisify(execFile);
const program = join(import.meta.dirname, "ledgerload.ts");

interface Measured {
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly residentMegabytes: number;
  readonly records: number;
  readonly requests?: number;
  readonly windows?: number;
  /** Resident before the first window: what is to be sealed. */
  readonly factsMegabytes?: number;
}

/** Memory as the chart bounds it for the operator (templates/operator.yaml), which seals; an auditor's shell bounds no malloc. */
const chartHeap = ["--max-semi-space-size=8", "--max-old-space-size=256"];
const chartMalloc = { MALLOC_ARENA_MAX: "1", MALLOC_TRIM_THRESHOLD_: "65536", MALLOC_MMAP_THRESHOLD_: "32768" };

async function job(...args: readonly string[]): Promise<Measured> {
  say(`ledger: ${args.join(" ")}`);
  const { stdout } = await run(process.execPath, [...chartHeap, program, ...args], {
    maxBuffer: 2 ** 20,
    env: { ...process.env, ...(args[0] === "seal" ? chartMalloc : {}) },
  });
  return JSON.parse(stdout) as Measured;
}

const monthHours = 720;

export async function ledgerCost({ hours }: { readonly hours: number }): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "berth-bench-ledger-"));
  try {
    const small = join(folder, "small");
    sealing("10,000", await job("seal", small, "10000", "1", "1"), 5);
    await bytes(small, folder);
    sealing("100,000", await job("seal", join(folder, "large"), "100000", "1", "16"), 60);
    const month = join(folder, "month");
    const sealed = await job("seal", month, "10000", String(hours), "16");
    print({ name: "seal 10,000 records, CPU", value: (sealed.cpuSeconds / sealed.records) * 10_000, unit: "s" });
    print({ name: "requests for an hour of 16 shards", value: sealed.requests ?? 0, unit: "requests" });
    const verified = await job("verify", month);
    const scale = monthHours / hours;
    const what = `${hours} hours × ${scale.toPrecision(3)}`;
    print({
      name: "verify a month of 10,000 deployments",
      value: verified.seconds * scale,
      unit: "s",
      limit: 60,
      against: what,
    });
    print({ name: "verify a month, CPU", value: verified.cpuSeconds * scale, unit: "s", against: what });
    print({ name: "verify, resident", value: verified.residentMegabytes, unit: "MB", limit: 300 });
    const point = await job("point", month);
    print({ name: "one deployment's month", value: point.seconds * scale, unit: "s", against: what });
    print({ name: "one deployment: requests for each window", value: point.requests ?? 0, unit: "requests" });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function sealing(deployments: string, measured: Measured, limit: number): void {
  const against = `wanted at most ${limit} s and 300 MB`;
  print({ name: `seal ${deployments} deployments`, value: measured.seconds, unit: "s", limit, against });
  print({ name: `seal ${deployments} deployments, CPU`, value: measured.cpuSeconds, unit: "s" });
  print({
    name: `seal ${deployments} deployments, resident`,
    value: measured.residentMegabytes,
    unit: "MB",
    limit: 300,
    against,
  });
  const facts = measured.factsMegabytes ?? 0;
  print({ name: `the facts of ${deployments} deployments alone, resident`, value: facts, unit: "MB" });
}

/** The same bytes through the machine's own tools. */
async function bytes(place: string, folder: string): Promise<void> {
  const packed = join(place, "v1/dt=2026-11-01/hr=00/segment-r0.ndjson.gz");
  const raw = join(folder, "raw");
  await pipeline(createReadStream(packed), createGunzip(), createWriteStream(raw));
  const [{ size }, { size: gzipped }] = [await stat(raw), await stat(packed)];
  print({ name: "a record with its evidence, raw", value: size / 10_000, unit: "bytes" });
  print({ name: "a record with its evidence, gzip", value: gzipped / 10_000, unit: "bytes" });
  const timed = (command: string, ...args: string[]): number => {
    const begun = performance.now();
    execFileSync(command, args, { stdio: ["ignore", "ignore", "inherit"] });
    return (performance.now() - begun) / 1000;
  };
  print({ name: "gzip -6 of the same bytes", value: timed("gzip", "-6", "-c", raw), unit: "s" });
  print({ name: "openssl dgst -sha256 of the same bytes", value: timed("openssl", "dgst", "-sha256", raw), unit: "s" });
}
