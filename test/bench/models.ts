// `berth models verify` of a directory store beside `openssl dgst -sha256` of the same files on all cores. Files lie in the page cache.
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { berthProgram } from "../chart/rendered.ts";
import { llamaFolder } from "../models/llama.ts";
import { filesBelow } from "../models/upload.ts";
import { print, quantile, say } from "./figures.ts";

const RUNS = 5;
const WEIGHT_BYTES = 4e9;
const SHARDS = 8;

async function secondsOf(command: string): Promise<number> {
  const started = performance.now();
  const child = spawn("bash", ["-c", command], { stdio: ["ignore", "ignore", "inherit"] });
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  if (code !== 0) throw new Error(`${command} ended with ${String(code)}`);
  return (performance.now() - started) / 1000;
}

/** Seconds that berth itself says that it read, without the start of the program. */
function verify(store: string): number {
  const [node, ...args] = [process.execPath, ...berthProgram(), "models", "verify", "--store", `file://${store}`, "-o", "json"]; // prettier-ignore
  const { seconds } = JSON.parse(execFileSync(node, args, { encoding: "utf8" })) as { seconds: number };
  return seconds;
}

export async function verifyRate(): Promise<void> {
  const model = llamaFolder({ weightBytes: WEIGHT_BYTES, shards: SHARDS });
  const store = mkdtempSync(join(tmpdir(), "berth-bench-"));
  try {
    const [node, ...args] = [process.execPath, ...berthProgram(), "import", "--from", model, "--to", `file://${store}`];
    execFileSync(node, args, { stdio: ["ignore", "ignore", "ignore"] });
    const gigabytes = filesBelow(model).reduce((sum, path) => sum + statSync(join(model, path)).size, 0) / 1e9;
    const files = `find ${store}/models -name '*.safetensors' -print0`;
    const openssl = `${files} | xargs -0 -n 1 -P ${String(availableParallelism())} openssl dgst -sha256`;
    const [ours, whole, theirs]: [number[], number[], number[]] = [[], [], []];
    const program = [process.execPath, ...berthProgram()].join(" ");
    await secondsOf(openssl);
    for (let n = 0; n < RUNS; n++) {
      theirs.push(await secondsOf(openssl));
      ours.push(verify(store));
      whole.push(await secondsOf(`${program} models verify --store file://${store}`));
      say(`openssl ${theirs.at(-1)?.toFixed(2)} s, verify ${ours.at(-1)?.toFixed(2)} s, with its start ${whole.at(-1)?.toFixed(2)} s`); // prettier-ignore
    }
    const rate = (seconds: readonly number[]): number => gigabytes / quantile(seconds, 0.5);
    const against = `openssl dgst -sha256, ${String(availableParallelism())} at once`;
    print({ name: "models.verify.rate", value: rate(ours), unit: "GB/s", limit: rate(theirs), against });
    print({ name: "models.verify.rate.command", value: rate(whole), unit: "GB/s", limit: rate(theirs), against });
  } finally {
    rmSync(store, { recursive: true, force: true });
  }
}
