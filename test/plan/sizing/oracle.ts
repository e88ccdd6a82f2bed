/**
 * Asks the real vLLM (CPU build of `make e2e-setup`) how many tokens its block manager gets out of so much memory:
 * `node test/plan/sizing/oracle.ts CONFIG.json MAX_MODEL_LEN [KV_CACHE_GIB]` prints the answer. 10 to 20 s and the dummy weights'
 * memory for each configuration.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hostPython, vllmInstallation } from "../../../image/vllm.ts";

export interface OracleQuestion {
  /** The model's config.json, reduced so that its weights fit in memory. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly maxModelLen: number;
  readonly kvCacheGiB: number;
  /** Further arguments of the engine by their Python names, such as `{ runner: "pooling" }`. */
  readonly extra?: Readonly<Record<string, unknown>>;
}

export interface OracleAnswer {
  readonly tokens: number;
  readonly concurrency: number;
  readonly blocks: number;
  readonly groups: readonly {
    /** vLLM's class of the layers' cache: FullAttentionSpec, SlidingWindowSpec, MLAAttentionSpec, MambaSpec … */
    readonly kind: string;
    readonly layers: number;
    readonly blockTokens: number;
    /** One block of one layer. */
    readonly pageBytes: number;
  }[];
}

/** Why the oracle cannot be asked here, in one line; undefined where it can. */
export function oracleMissing(): string | undefined {
  if (!vllmInstallation()) return "vLLM's CPU build is not installed (make e2e-setup)";
  return hostPython("json") ? undefined : "python 3.11 is missing on this machine";
}

/** The answer, or vLLM's own last words where it refuses the configuration. Throws where {@link oracleMissing} has a reason. */
export function askOracle({ config, ...rest }: OracleQuestion): OracleAnswer | { readonly refused: string } {
  const python = hostPython("json");
  const installation = vllmInstallation();
  if (!python || !installation) throw new Error(oracleMissing());
  const model = mkdtempSync(join(tmpdir(), "berth-oracle-"));
  try {
    writeFileSync(join(model, "config.json"), JSON.stringify(config));
    const run = spawnSync(python, ["-sP", join(import.meta.dirname, "oracle.py")], {
      input: JSON.stringify({ model, ...rest }),
      encoding: "utf8",
      cwd: model,
      maxBuffer: 1 << 26,
      timeout: 300_000,
      env: {
        PATH: process.env["PATH"],
        HOME: model,
        PYTHONPATH: installation.sitePackagesDir,
        HF_HUB_OFFLINE: "1",
        VLLM_NO_USAGE_STATS: "1",
      },
    });
    const line = run.stdout.split("\n").find((text) => text.startsWith('{"tokens"'));
    return line ? (JSON.parse(line) as OracleAnswer) : { refused: lastWords(`${run.stdout}\n${run.stderr}`) };
  } finally {
    rmSync(model, { recursive: true, force: true });
  }
}

function lastWords(output: string): string {
  const lines = output.split("\n").filter((line) => /\b\w*(Error|Exception)\b/.test(line));
  return (lines.at(-1) ?? output.trim().slice(-300)).trim();
}

if (import.meta.main) {
  const [path = "", maxModelLen = "2048", kvCacheGiB = "1"] = process.argv.slice(2);
  const config = JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>;
  console.log(askOracle({ config, maxModelLen: Number(maxModelLen), kvCacheGiB: Number(kvCacheGiB) }));
}
