/** The real parser of `vllm serve`, where `make e2e-setup` has installed vLLM's CPU build: one process for all command lines. */
import { spawnSync } from "node:child_process";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hostPython, vllmInstallation } from "../../../image/vllm.ts";

/** What the parser made of one command line: the options that differ from their defaults, or its own words. */
export interface Parsed {
  readonly error?: string;
  readonly values?: Readonly<Record<string, unknown>>;
}

export interface ParserAnswer {
  /** Every option string that this vLLM knows. */
  readonly flags: readonly string[];
  /** In the order of the command lines. */
  readonly results: readonly Parsed[];
}

/** Why the parser cannot be asked here, in one line; undefined where it can. */
export function parserMissing(): string | undefined {
  if (!vllmInstallation()) return "vLLM's CPU build is not installed (make e2e-setup)";
  return hostPython("json") ? undefined : "python 3.11 is missing on this machine";
}

/** Asks the parser (about 7 s, most of it imports). Throws where {@link parserMissing} has a reason or Python fails. */
export function askParser(commandLines: readonly (readonly string[])[]): ParserAnswer {
  const python = hostPython("json");
  const installation = vllmInstallation();
  if (!python || !installation) throw new Error(parserMissing());
  const run = spawnSync(python, ["-sP", join(import.meta.dirname, "parse.py")], {
    input: JSON.stringify(commandLines),
    encoding: "utf8",
    cwd: tmpdir(),
    maxBuffer: 1 << 26,
    timeout: 180_000,
    env: {
      PATH: process.env["PATH"],
      HOME: tmpdir(),
      PYTHONPATH: installation.sitePackagesDir,
      // Not HF_HUB_OFFLINE: with it, engine arguments are only made where the folder of the model is there.
      VLLM_NO_USAGE_STATS: "1",
      VLLM_LOGGING_LEVEL: "ERROR",
    },
  });
  const answer = run.stdout.split("\n").find((line) => line.startsWith('{"flags"'));
  if (run.status !== 0 || !answer) throw new Error(`vLLM's parser could not be asked: ${run.stderr.slice(-2000)}`);
  return JSON.parse(answer) as ParserAnswer;
}
