/**
 * Asks the real vLLM (CPU build of `make e2e-setup`) how its block manager cuts a cache: oracle.py builds the real model classes on
 * torch's meta device and hands their layers to the engine's own functions. All questions go to one process, since its imports take
 * longest.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hostPython, vllmInstallation } from "../../../image/vllm.ts";

export interface OracleQuestion {
  /** The model's config.json. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly maxModelLen: number;
  readonly cacheBytes: number;
  /** Further arguments of the engine by their Python names, such as `{ runner: "pooling" }`. */
  readonly extra?: Readonly<Record<string, unknown>>;
}

export interface OracleAnswer {
  /** Concurrency × length, as the start-up log prints it. */
  readonly tokens: number;
  readonly concurrency: number;
  readonly blocks: number;
  /** Blocks of one request of the asked length, over all groups. */
  readonly requestBlocks: number;
  readonly groups: readonly {
    /** vLLM's class of the layers' cache: FullAttentionSpec, SlidingWindowSpec, MLAAttentionSpec, MambaSpec … */
    readonly kind: string;
    readonly layers: number;
    readonly blockTokens: number;
    /** One block of one layer. */
    readonly pageBytes: number;
  }[];
}

export type OracleSaid = OracleAnswer | { readonly refused: string };

/** Why the oracle cannot be asked here, in one line; undefined where it can. */
export function oracleMissing(): string | undefined {
  if (!vllmInstallation()) return "vLLM's CPU build is not installed (make e2e-setup)";
  return hostPython("json") ? undefined : "python 3.11 is missing on this machine";
}

/** Answers in the order of the questions; a configuration that vLLM refuses has its words. Throws where {@link oracleMissing} has a reason. */
export function askOracle(questions: readonly OracleQuestion[]): readonly OracleSaid[] {
  const python = hostPython("json");
  const installation = vllmInstallation();
  if (!python || !installation) throw new Error(oracleMissing());
  const home = mkdtempSync(join(tmpdir(), "berth-oracle-"));
  try {
    const asked = questions.map(({ config, ...rest }, index) => {
      const model = join(home, String(index));
      mkdirSync(model);
      writeFileSync(join(model, "config.json"), JSON.stringify(config));
      return { ...rest, name: index, model };
    });
    const run = spawnSync(python, ["-sP", join(import.meta.dirname, "oracle.py")], {
      input: JSON.stringify(asked),
      encoding: "utf8",
      cwd: home,
      maxBuffer: 1 << 26,
      timeout: 540_000,
      env: {
        PATH: process.env["PATH"],
        HOME: home,
        PYTHONPATH: installation.sitePackagesDir,
        HF_HUB_OFFLINE: "1",
        VLLM_NO_USAGE_STATS: "1",
        VLLM_ENABLE_V1_MULTIPROCESSING: "0",
      },
    });
    const lines = run.stdout.split("\n").filter((text) => text.startsWith('{"name"'));
    const said = new Map(
      lines.map((line) => {
        const { name, ...answer } = JSON.parse(line) as OracleSaid & { name: number };
        return [name, answer as OracleSaid] as const;
      }),
    );
    return questions.map((_, index) => said.get(index) ?? { refused: run.stderr.trim().slice(-300) });
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
}
