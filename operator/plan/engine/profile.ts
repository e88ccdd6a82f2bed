/**
 * What one version of vLLM accepts: its flags, environment variables and parser names.
 * The data files are printed by the real program of that version (test/plan/engine/dumpprofile.py), never written by hand.
 */
import v0_28 from "./profiles/0.28.0.json" with { type: "json" };
import v0_29 from "./profiles/0.29.0.json" with { type: "json" };
import v0_30 from "./profiles/0.30.0.json" with { type: "json" };
import v0_31 from "./profiles/0.31.0.json" with { type: "json" };
import v0_32 from "./profiles/0.32.0.json" with { type: "json" };

/**
 * flag: no value · human: 8k = 8000, 8K = 8192 · list: one or more words · optional: a word or none · text: a word,
 * which for flags of `jsonPolicies` (classes.ts) is a JSON object.
 */
export type FlagKind = "flag" | "int" | "float" | "human" | "list" | "optional" | "text";

export interface Flag {
  readonly kind: FlagKind;
  /** vLLM's own group, such as ModelConfig. */
  readonly group: string;
  /** The --no- form of a switch. */
  readonly negation?: string;
  readonly aliases?: readonly string[];
  /** The only values that the parser takes. */
  readonly choices?: readonly string[];
}

export interface EngineProfile {
  readonly source: string;
  readonly version: string;
  readonly flags: Readonly<Record<string, Flag>>;
  readonly environment: readonly string[];
  readonly toolParsers: readonly string[];
  readonly reasoningParsers: readonly string[];
  readonly quantizations: readonly string[];
}

/** Oldest first. */
export const engineProfiles: readonly EngineProfile[] = [v0_28, v0_29, v0_30, v0_31, v0_32] as readonly EngineProfile[];

/**
 * The profile of an engine version, which may carry a leading v and a build's suffix (v0.32.0-cu129). Patch releases
 * share their minor version's profile, since vLLM removes flags in minor releases only. undefined: no profile is known.
 */
export function profileOf(version: string): EngineProfile | undefined {
  const minor = /^v?(\d+\.\d+)(?:[.+-]|$)/.exec(version)?.[1];
  return engineProfiles.find((profile) => profile.version.startsWith(`${minor}.`));
}

/** Why a version cannot be rendered, with what to ask for. */
export function noProfile(version: string): string {
  const known = engineProfiles.map((profile) => profile.version.replace(/\.\d+$/, ".x")).join(", ");
  return `this Berth has no list of the arguments of vLLM ${version}: take an engine version of ${known}`;
}

/** Flags that older versions had, with what took their place (vLLM's deprecation notes; read off pull requests named in docs/engine.md). */
export const removedFlags: Readonly<Record<string, string>> = {
  "--task": "Berth derives --runner and --convert from the model's task",
  "--swap-space": "it has no successor: preempted requests are computed again",
  "--guided-decoding-backend": "use --structured-outputs-config.backend",
  "--disable-log-requests": "leave it out: requests are not logged unless asked for",
  "--num-scheduler-steps": "leave it out: vLLM schedules asynchronously by itself",
  "--override-pooler-config": "use --pooler-config",
  "--rope-scaling": "import the model with rope_scaling in its config.json",
  "--rope-theta": "import the model with rope_theta in its config.json",
  "--disable-frontend-multiprocessing": "leave it out",
  "--max-seq-len-to-capture": "use --max-cudagraph-capture-size",
  "--enable-reasoning": "set spec.engine.reasoningParser",
  "--calculate-kv-scales": "use a checkpoint with KV scales",
  "--logits-processor-pattern": "leave it out: requests cannot name logits processors",
  "--use-v2-block-manager": "leave it out: it is the only one",
  "--enable-mamba-fine-grained-prefix-cache": "use --enable-mamba-shared-prefix-checkpoint (since 0.31)",
  "--enable-bf16x3-router-gemm": "leave it out: it was dropped in 0.30",
};
