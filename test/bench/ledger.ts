/**
 * What sealing, verifying and reading cost, beside gzip and openssl over the same bytes. HOURS= sets how many windows are verified,
 * DEPLOYMENTS= of how many deployments the large figures are.
 */
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
    env: { ...process.env, ...(args[0] === "seal" || args[0] === "catchup" ? chartMalloc : {}) },
  });
  return JSON.parse(stdout) as Measured;
}

const monthHours = 720;
const shortHours = 24;

export interface LedgerBench {
  /** Windows that are verified, more than 24; 720 are a month. */
  readonly hours: number;
  /** Of the large figures; the others have a tenth of them. */
  readonly deployments: number;
}

export async function ledgerCost({ hours, deployments }: LedgerBench): Promise<void> {
  if (!(hours > shortHours && hours <= monthHours)) throw new Error("HOURS is between 25 and 720");
  const folder = await mkdtemp(join(tmpdir(), "berth-bench-ledger-"));
  const fewer = Math.ceil(deployments / 10);
  try {
    const small = join(folder, "small");
    sealing(fewer, await job("seal", small, String(fewer), "1", "1"), 5);
    await bytes(small, folder, fewer);
    sealing(deployments, await job("seal", join(folder, "large"), String(deployments), "1", "16"), 60);
    await caughtUp(join(folder, "outage"), deployments);
    await month(join(folder, "month"), { hours, deployments: fewer });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** A day without an operator. */
async function caughtUp(place: string, deployments: number): Promise<void> {
  const {
    seconds,
    cpuSeconds,
    residentMegabytes,
    windows = 0,
  } = await job(...(["catchup", place, String(deployments), String(shortHours), "16"] as const));
  const name = `catch up ${String(windows)} windows of ${counted(deployments)} deployments`;
  print({ name: `${name}, each window`, value: seconds / windows, unit: "s" });
  print({ name: `${name}, CPU of each window`, value: cpuSeconds / windows, unit: "s" });
  const against = "wanted at most 300 MB";
  print({ name: `${name}, resident`, value: residentMegabytes, unit: "MB", limit: 300, against });
}

interface Spans {
  readonly hours: number;
  readonly short: number;
  readonly long: number;
}

/** The start and the first window, which has nothing to be compared with, are in both spans and do not grow with them. */
function ofMonth({ hours, short, long }: Spans): { readonly value: number; readonly against: string } {
  if (hours === monthHours) return { value: long, against: `measured: ${String(monthHours)} windows` };
  const further = (long - short) / (hours - shortHours);
  const from = `${String(shortHours)} and ${String(hours)} windows (${short.toPrecision(3)} and ${long.toPrecision(3)} s)`;
  if (further <= 0) return { value: Number.NaN, against: `nothing can be reckoned from ${from}` };
  const value = long + (monthHours - hours) * further;
  return { value, against: `reckoned from ${from}: ${further.toPrecision(2)} s for each further one` };
}

async function month(place: string, { hours, deployments }: LedgerBench): Promise<void> {
  // What differs between two spans is small beside what differs between two runs.
  const runs = hours === monthHours ? 1 : 3;
  const spanned = async (windows: number) => ({
    sealed: await job("seal", place, String(deployments), String(windows), "16"),
    verified: await median(runs, "verify", place),
    point: await median(runs, "point", place),
  });
  const [short, long] = [await spanned(shortHours), await spanned(hours)];
  const { records, cpuSeconds, requests = 0 } = long.sealed;
  print({ name: "seal 10,000 records, CPU", value: (cpuSeconds / records) * 10_000, unit: "s" });
  print({ name: "requests for an hour of 16 shards", value: requests, unit: "requests" });
  const figure = (of: "verified" | "point", what: "seconds" | "cpuSeconds") =>
    ofMonth({ hours, short: short[of][what], long: long[of][what] });
  const name = `verify a month of ${counted(deployments)} deployments`;
  print({ name, ...figure("verified", "seconds"), unit: "s", limit: 60 });
  print({ name: `${name}, CPU`, ...figure("verified", "cpuSeconds"), unit: "s" });
  print({ name: "verify, resident", value: long.verified.residentMegabytes, unit: "MB", limit: 300 });
  print({ name: "one deployment's month", ...figure("point", "seconds"), unit: "s" });
  print({ name: "one deployment: requests for each window", value: long.point.requests ?? 0, unit: "requests" });
}

/** The run in the middle, by its CPU time. */
async function median(runs: number, ...args: readonly string[]): Promise<Measured> {
  const all: Measured[] = [];
  for (let run = 0; run < runs; run++) all.push(await job(...args));
  all.sort((a, b) => a.cpuSeconds - b.cpuSeconds);
  return all[Math.floor(runs / 2)] ?? job(...args);
}

function counted(deployments: number): string {
  return deployments.toLocaleString("en-US");
}

function sealing(deployments: number, measured: Measured, limit: number): void {
  const against = `wanted at most ${limit} s and 300 MB`;
  const name = `seal ${counted(deployments)} deployments`;
  print({ name, value: measured.seconds, unit: "s", limit, against });
  print({ name: `${name}, CPU`, value: measured.cpuSeconds, unit: "s" });
  print({ name: `${name}, resident`, value: measured.residentMegabytes, unit: "MB", limit: 300, against });
  const facts = measured.factsMegabytes ?? 0;
  print({ name: `the facts of ${counted(deployments)} deployments alone, resident`, value: facts, unit: "MB" });
}

/** The same bytes through the machine's own tools. */
async function bytes(place: string, folder: string, records: number): Promise<void> {
  const packed = join(place, "v1/dt=2026-11-01/hr=00/segment-r0.ndjson.gz");
  const raw = join(folder, "raw");
  await pipeline(createReadStream(packed), createGunzip(), createWriteStream(raw));
  const [{ size }, { size: gzipped }] = [await stat(raw), await stat(packed)];
  print({ name: "a record with its evidence, raw", value: size / records, unit: "bytes" });
  print({ name: "a record with its evidence, gzip", value: gzipped / records, unit: "bytes" });
  const timed = (command: string, ...args: string[]): number => {
    const begun = performance.now();
    execFileSync(command, args, { stdio: ["ignore", "ignore", "inherit"] });
    return (performance.now() - begun) / 1000;
  };
  print({ name: "gzip -6 of the same bytes", value: timed("gzip", "-6", "-c", raw), unit: "s" });
  print({ name: "openssl dgst -sha256 of the same bytes", value: timed("openssl", "dgst", "-sha256", raw), unit: "s" });
}
