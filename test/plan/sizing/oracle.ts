/**
 * Asks the real vLLM (CPU build of `make e2e-setup`) how its block manager cuts a cache: oracle.py builds the real model classes on
 * torch's meta device and hands their layers to the engine's own functions. All questions go to one process, since its imports take
 * longest.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { hostPython, vllmInstallation, type VllmInstallation } from "../../../image/vllm.ts";

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

/** What vLLM refuses has its words; `late` is what a busy machine left unanswered, and the next run asks. */
export type OracleSaid = OracleAnswer | { readonly refused: string; readonly late?: true };

/** Why the oracle cannot be asked here, in one line; undefined where it can. */
export function oracleMissing(): string | undefined {
  if (!vllmInstallation()) return "vLLM's CPU build is not installed (make e2e-setup)";
  return hostPython("json") ? undefined : "python 3.11 is missing on this machine";
}

/** Beside the installation, so that they go with it; the program that asks and the processor's number types are part of a question. */
function answerFile(installation: VllmInstallation, question: OracleQuestion): string {
  const program = readFileSync(join(import.meta.dirname, "oracle.py"), "utf8");
  const processor = existsSync("/proc/cpuinfo") && readFileSync("/proc/cpuinfo", "utf8").includes("avx512_bf16");
  const key = createHash("sha256")
    .update(JSON.stringify([program, processor, question]))
    .digest("hex")
    .slice(0, 32);
  return join(dirname(installation.sitePackagesDir), "answers", `${key}.json`);
}

function remembered(path: string): OracleAnswer | undefined {
  return existsSync(path) ? (JSON.parse(readFileSync(path, "utf8")) as OracleAnswer) : undefined;
}

/**
 * Answers in the order of the questions; a configuration that vLLM refuses has its words. What this installation has answered before is not
 * asked again unless `afresh` is true. Throws where {@link oracleMissing} has a reason.
 */
export function askOracle(questions: readonly OracleQuestion[], afresh = false): readonly OracleSaid[] {
  const installation = vllmInstallation();
  if (!installation) throw new Error(oracleMissing());
  const files = questions.map((question) => answerFile(installation, question));
  const known = files.map((file) => (afresh ? undefined : remembered(file)));
  const open = questions.filter((_, index) => known[index] === undefined);
  const said = open.length > 0 ? askNow(open) : [];
  mkdirSync(join(dirname(installation.sitePackagesDir), "answers"), { recursive: true });
  return questions.map((question, index) => {
    const answer = known[index] ?? said[open.indexOf(question)] ?? { refused: "no answer" };
    const file = files[index];
    if (file !== undefined && known[index] === undefined && !("refused" in answer))
      writeFileSync(file, JSON.stringify(answer));
    return answer;
  });
}

function askNow(questions: readonly OracleQuestion[]): readonly OracleSaid[] {
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
    const isLate = run.signal !== null;
    return questions.map(
      (_, index) =>
        said.get(index) ??
        (isLate
          ? { refused: "the machine is too busy: asked again by the next run", late: true }
          : { refused: run.stderr.trim().slice(-300) }),
    );
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
}
