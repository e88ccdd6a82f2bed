// From the store to the pod: `berth fetch` through `berth store`, both as processes, beside curl of the same bytes straight
// from the S3 server, without and with a hash of every file. Files lie in the page cache; everything runs on one machine.
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { berthProgram } from "../chart/rendered.ts";
import { llamaFolder } from "../models/llama.ts";
import { filesBelow } from "../models/upload.ts";
import { kinds } from "../transfer/bench.ts";
import type { StoreKind } from "../transfer/bench.ts";
import { first, podToken, startStoreRig } from "../transfer/storerig.ts";
import type { StoreRig } from "../transfer/storerig.ts";
import { cpuSeconds, print, quantile, say } from "./figures.ts";

const RUNS = 3;
const WEIGHT_BYTES = 1.5e9;
const SHARDS = 4;

interface Measured {
  readonly seconds: number;
  /** Of the command and its children. */
  readonly cpu: number;
  readonly peakMegabytes: number;
}

/** Runs a shell line; the shell's `times` counts its children's CPU, the kernel its children's largest resident set. */
async function measure(line: string): Promise<Measured> {
  const started = performance.now();
  // Not through a pipe: that would be another shell, which has no children.
  const script = `set -e\n${line}\ntimes`;
  const child = spawn("bash", ["-c", script], { stdio: ["ignore", "pipe", "pipe"] });
  let out = "";
  let complaint = "";
  let peakMegabytes = 0;
  child.stdout.on("data", (chunk: Buffer) => void (out += String(chunk)));
  child.stderr.on("data", (chunk: Buffer) => void (complaint = String(chunk)));
  const sample = setInterval(() => (peakMegabytes = Math.max(peakMegabytes, peakOfChildren(child.pid ?? 0))), 50);
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  clearInterval(sample);
  if (code !== 0) throw new Error(`${line}: ${complaint}`);
  const children = out.trim().split("\n").at(-1) ?? "";
  const spent = [...children.matchAll(/(\d+)m([\d.]+)s/g)].map(
    ([, minutes, rest]) => Number(minutes) * 60 + Number(rest),
  );
  const cpu = spent.reduce((sum, seconds) => sum + seconds, 0);
  return { seconds: (performance.now() - started) / 1000, cpu, peakMegabytes };
}

function peakOfChildren(pid: number): number {
  try {
    const children = readFileSync(`/proc/${String(pid)}/task/${String(pid)}/children`, "utf8")
      .trim()
      .split(" ");
    const peaks = children.map((child) => {
      const status = readFileSync(`/proc/${child}/status`, "utf8");
      return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? 0) / 1024;
    });
    return Math.max(0, ...peaks);
  } catch {
    return 0;
  }
}

interface Case {
  readonly what: string;
  /** The command; `into` is an empty folder. */
  readonly line: (into: string) => string;
}

async function medianOf({ what, line }: Case): Promise<Measured> {
  const runs: Measured[] = [];
  for (let n = 0; n < RUNS; n++) {
    const into = mkdtempSync(join(tmpdir(), "berth-bench-"));
    runs.push(await measure(line(into)));
    rmSync(into, { recursive: true, force: true });
    say(`${what}: ${(runs.at(-1)?.seconds ?? 0).toFixed(2)} s`);
  }
  const median = (of: (run: Measured) => number): number => quantile(runs.map(of), 0.5);
  return {
    seconds: median(({ seconds }) => seconds),
    cpu: median(({ cpu }) => cpu),
    peakMegabytes: Math.max(...runs.map(({ peakMegabytes }) => peakMegabytes)),
  };
}

/** All files of the bucket side by side, as a person would do it without us. */
function curlLine({ s3 }: StoreRig, paths: readonly string[], into: string): string {
  const config = paths.map((path) => `url = "${s3.endpoint}/weights/large/${path}"\noutput = "${into}/${path}"`);
  const user = `user = "${s3.accessKeyId}:${s3.secretAccessKey}"\naws-sigv4 = "aws:amz:${s3.region}:s3"\n`;
  const signed = `${user}header = "x-amz-content-sha256: UNSIGNED-PAYLOAD"\n`;
  writeFileSync(join(into, ".curl"), `parallel\nparallel-max = 8\nsilent\nfail\n${signed}${config.join("\n")}\n`);
  return `curl -K ${into}/.curl`;
}

/** With redirects, pods read from the S3 server themselves. */
async function oneKind(kind: StoreKind, model: string, isRedirected: boolean): Promise<void> {
  const ending: (() => unknown)[] = [];
  try {
    const rig = await startStoreRig({ after: (work) => void ending.unshift(work as () => unknown) }, kind, model, {
      ...(isRedirected ? { redirects: "direct" } : {}),
    });
    const store = await rig.startStore();
    const folder = mkdtempSync(join(tmpdir(), "berth-bench-"));
    const token = join(folder, "token");
    writeFileSync(token, await podToken(rig.cluster, await rig.servingPod(first)));
    ending.unshift(() => rmSync(folder, { recursive: true }));
    const program = [process.execPath, ...berthProgram()].join(" ");
    const redirect = isRedirected ? `--redirect-origin ${rig.s3.endpoint}` : "";
    const flags = `--store ${store.urls["store"] ?? ""} --token-file ${token} --log-level error ${redirect}`;
    const title = isRedirected ? `${kind}.redirected` : kind;
    await compare(title, model, store.pid() ?? 0, {
      fetch: { what: `${title}: berth fetch`, line: (into) => `${program} fetch ${flags} --into ${into}` },
      curl: { what: "curl", line: (into) => curlLine(rig, filesBelow(model), into) },
    });
  } finally {
    for (const work of ending) await work();
  }
}

async function compare(kind: string, model: string, storePid: number, cases: Record<"fetch" | "curl", Case>) {
  const gigabytes = filesBelow(model).reduce((sum, path) => sum + statSync(join(model, path)).size, 0) / 1e9;
  const bare = await medianOf(cases.curl);
  const hash = (into: string): string => `openssl dgst -sha256 ${into}/*.safetensors > /dev/null`;
  const hashed = await medianOf({
    what: "curl, then openssl dgst",
    line: (into) => `${cases.curl.line(into)}\n${hash(into)}`,
  });
  const before = cpuSeconds(storePid);
  const ours = await medianOf(cases.fetch);
  const storeCpu = (cpuSeconds(storePid) - before) / RUNS;
  const rate = ({ seconds }: Measured): number => gigabytes / seconds;
  const name = `fetch.${kind}`;
  print({
    name: `${name}.rate`,
    value: rate(ours),
    unit: "GB/s",
    limit: rate(hashed),
    against: "curl, then openssl dgst",
  });
  print({ name: `${name}.rate.unverified`, value: rate(ours), unit: "GB/s", limit: rate(bare), against: "curl alone" });
  const perGigabyte = (cpu: number): number => cpu / gigabytes;
  const limit = perGigabyte(hashed.cpu);
  print({
    name: `${name}.cpu`,
    value: perGigabyte(ours.cpu),
    unit: "CPU s/GB",
    limit,
    against: "curl and openssl dgst",
  });
  print({ name: `${name}.cpu.store`, value: perGigabyte(storeCpu), unit: "CPU s/GB" });
  print({
    name: `${name}.memory`,
    value: ours.peakMegabytes,
    unit: "MB",
    limit: 256,
    against: "request of the init step",
  });
}

/** Prints rates, CPU and memory for a bucket that pods read from themselves, and for both kinds of store behind the store role. */
export async function fetchRate(): Promise<void> {
  const model = llamaFolder({ weightBytes: WEIGHT_BYTES, shards: SHARDS });
  await oneKind("s3", model, true);
  for (const kind of kinds) await oneKind(kind, model, false);
}
