/** What a Model's status says at each turn of its life. Phases are derived here and never read back. */
import { instantOf, mergeConditions } from "../../api/conditions.ts";
import type { WantedCondition } from "../../api/conditions.ts";
import type { ModelRevision, ModelStatus } from "../../api/model.ts";
import type { ModelReason } from "../../api/reasons.ts";
import type { ModelFacts } from "./inspect.ts";
import type { ModelProblem } from "./problem.ts";
import type { Way } from "./way.ts";

export type Progress = NonNullable<ModelStatus["progress"]>;

/** Where the import stands. */
export type ImportState =
  | {
      readonly kind: "importing";
      readonly phase: "Listing" | "Inspecting" | "Copying";
      readonly message: string;
      readonly progress?: Progress;
    }
  | { readonly kind: "failed"; readonly problem: ModelProblem }
  /** Looked at, not copied: no deployment has asked for it. */
  | { readonly kind: "inspected" }
  | { readonly kind: "imported" }
  | { readonly kind: "inUse"; readonly by: readonly string[] }
  | { readonly kind: "deleting"; readonly message: string };

export interface StatusInput {
  readonly current: ModelStatus | undefined;
  readonly generation: number;
  readonly now: number;
  readonly state: ImportState;
  /** What the headers said; kept from the current status where absent. */
  readonly facts?: ModelFacts;
  /** Complete revisions, oldest first; kept from the current status where absent. */
  readonly revisions?: readonly ModelRevision[];
  /** Of the hub's repository that was inspected; none for other sources. */
  readonly sourceCommit?: string;
}

const factKeys = [
  "sizeBytes",
  "weightBytes",
  "recorded",
  "architecture",
  "task",
  "parameters",
  "dtype",
  "quantization",
  "contextLength",
  "kvBytesPerToken",
  "tokenizer",
  "chatTemplate",
  "parsers",
  "ropeScaling",
  "effectiveBits",
  "dtypes",
  "shape",
  "weights",
  "cache",
  "unknown",
] as const satisfies readonly (keyof ModelFacts)[];

function factsOf(status: ModelStatus | undefined): ModelFacts {
  const entries = factKeys.map((key) => [key, status?.[key]] as const).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries);
}

const condition = (
  type: string,
  status: WantedCondition["status"],
  reason: ModelReason,
  message: string,
): WantedCondition => ({ type, status, reason, message });

/** At most ten names, so that a message stays one line. */
function named(names: readonly string[]): string {
  const shown = names.slice(0, 10).join(", ");
  return names.length > 10 ? `${shown} and ${String(names.length - 10)} more` : shown;
}

function conditionsOf(state: ImportState, digest: string | undefined): readonly WantedCondition[] {
  const waiting = (reason: ModelReason, message: string) => [
    condition("Ready", "False", reason, message),
    condition("Reconciling", "True", reason, message),
  ];
  switch (state.kind) {
    case "importing":
      return waiting(state.phase, state.message);
    case "failed": {
      const { reason, message, retryable } = state.problem;
      if (retryable) return waiting(reason, `${message}; Berth keeps retrying`);
      return [condition("Ready", "False", reason, message), condition("Stalled", "True", reason, message)];
    }
    case "inspected": {
      const message = "the source was inspected; it is copied when the first ModelDeployment names this model";
      return [condition("Ready", "True", "Inspected", message)];
    }
    case "imported":
      return [condition("Ready", "True", "Imported", `revision ${digest ?? "unknown"} is complete in the store`)];
    case "inUse":
      return waiting("InUse", `cannot be removed while these deployments use it: ${named(state.by)}`);
    case "deleting":
      return waiting("Deleting", state.message);
  }
}

/** A source that is away just now is no error of a model whose facts are known: the condition says that it is waited for. */
function isAway(state: ImportState, facts: ModelFacts): boolean {
  return state.kind === "failed" && state.problem.reason === "SourceUnreachable" && facts.weightBytes !== undefined;
}

function phaseOf(state: ImportState, facts: ModelFacts): NonNullable<ModelStatus["phase"]> {
  if (isAway(state, facts)) return "Preparing";
  if (state.kind === "imported" || state.kind === "inspected" || state.kind === "inUse") return "Ready";
  if (state.kind === "failed") return "Error";
  return state.kind === "importing" && state.phase === "Copying" ? "Downloading" : "Preparing";
}

/** What the column Done says. */
function copiedOf(state: ImportState, digest: string | undefined): string | undefined {
  switch (state.kind) {
    case "importing":
      return state.progress ? shareOf(state.progress) : "0%";
    case "imported":
      return "100%";
    case "inspected":
      return digest === undefined ? "0%" : "100%";
    default:
      return undefined;
  }
}

/** Whole per cents, rounded down: 100% is said of a complete revision only. */
function shareOf({ bytes, totalBytes }: Progress): string {
  const share = totalBytes > 0 ? Math.floor((bytes / totalBytes) * 100) : 0;
  return `${String(Math.min(99, share))}%`;
}

/** The whole status to write. While a new source is on its way, facts and digest stay those of the newest complete revision. */
export function modelStatusOf(input: StatusInput): ModelStatus {
  const { current, state, now, generation } = input;
  const revisions = input.revisions ?? current?.revisions;
  const digest = revisions?.at(-1)?.digest;
  const settled = state.kind === "imported" || digest === undefined;
  const facts = settled && input.facts ? input.facts : factsOf(current);
  const isLooked = state.kind === "inspected" || state.kind === "imported";
  const isSameSpec = current?.observedGeneration === generation;
  const copied = copiedOf(state, digest);
  const sourceCommit = isLooked ? input.sourceCommit : isSameSpec ? current?.sourceCommit : undefined;
  return {
    observedGeneration: generation,
    phase: phaseOf(state, facts),
    ...(digest === undefined ? {} : { digest }),
    ...(revisions && revisions.length > 0 ? { revisions: revisions.slice(-64) } : {}),
    ...facts,
    ...(sourceCommit === undefined ? {} : { sourceCommit }),
    ...(copied === undefined ? {} : { copied }),
    ...(state.kind === "importing" && state.progress ? { progress: state.progress } : {}),
    conditions: mergeConditions(current?.conditions, conditionsOf(state, digest), { now, generation }),
  };
}

/** What a running copy reports, in the words of the status. Rates are whole bytes per second of the last measured span. */
export function progressOf(at: {
  readonly phase: Progress["phase"];
  readonly bytes: number;
  readonly totalBytes: number;
  readonly files: { readonly done: number; readonly all: number };
  readonly startedAtMs: number;
  readonly bytesPerSecond: number | undefined;
  readonly way?: Way | undefined;
}): Progress {
  const rate = at.bytesPerSecond === undefined ? undefined : Math.floor(at.bytesPerSecond);
  const left = Math.max(0, at.totalBytes - at.bytes);
  return {
    phase: at.phase,
    bytes: at.bytes,
    totalBytes: at.totalBytes,
    ...(rate === undefined ? {} : { bytesPerSecond: rate }),
    ...(rate === undefined || rate <= 0 ? {} : { etaSeconds: Math.ceil(left / rate) }),
    files: `${String(at.files.done)}/${String(at.files.all)}`,
    startedAt: instantOf(at.startedAtMs),
    ...(at.way === undefined ? {} : { way: at.way }),
  };
}
