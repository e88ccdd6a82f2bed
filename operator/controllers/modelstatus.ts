/** Writes a Model's status while an import runs: one writer per run, only what changed, events on transitions only. */
import { findCondition } from "../api/conditions.ts";
import { API_VERSION, fieldManagers } from "../api/keys.ts";
import type { ClusterModel, Model, ModelRevision, ModelStatus } from "../api/model.ts";
import type { ModelFacts } from "../plan/model/inspect.ts";
import { modelStatusOf } from "../plan/model/status.ts";
import type { ImportState } from "../plan/model/status.ts";
import type { Clock, EventRecorder, Resource } from "../ports.ts";
import type { Applier } from "../runtime/apply.ts";

export type AnyModel = Model | ClusterModel;

export interface StatusDeps {
  readonly applier: Applier;
  readonly events: EventRecorder;
  readonly clock: Clock;
}

export interface StatusWriter {
  /** Resolves with whether anything differed. */
  write(
    state: ImportState,
    found?: {
      readonly facts?: ModelFacts;
      readonly revisions?: readonly ModelRevision[];
      readonly sourceCommit?: string;
    },
  ): Promise<boolean>;
  /** A Normal event about the model. */
  tell(reason: string, message: string): void;
  readonly live: AnyModel;
}

/** Every field that the importer writes: those that a status lacks are removed. */
const everyField: Readonly<Record<Exclude<keyof ModelStatus, "observedGeneration" | "nodeSupport">, undefined>> = {
  phase: undefined,
  digest: undefined,
  revisions: undefined,
  sizeBytes: undefined,
  weightBytes: undefined,
  recorded: undefined,
  architecture: undefined,
  task: undefined,
  parameters: undefined,
  dtype: undefined,
  quantization: undefined,
  contextLength: undefined,
  kvBytesPerToken: undefined,
  tokenizer: undefined,
  chatTemplate: undefined,
  parsers: undefined,
  ropeScaling: undefined,
  effectiveBits: undefined,
  dtypes: undefined,
  shape: undefined,
  weights: undefined,
  cache: undefined,
  unknown: undefined,
  sourceCommit: undefined,
  copied: undefined,
  progress: undefined,
  conditions: undefined,
};

/** `generation` is the one that the work was begun for. */
export function newStatusWriter(
  deps: StatusDeps,
  resource: Resource<AnyModel>,
  model: AnyModel,
  generation: number,
): StatusWriter {
  let live = model;
  const about = (): AnyModel & { apiVersion: string; kind: string } => ({
    ...live,
    apiVersion: API_VERSION,
    kind: resource.kind,
  });

  /** A Warning where a refusal or fault is new, not at each repetition. */
  function warn(before: ModelStatus | undefined, next: ModelStatus, state: ImportState): void {
    if (state.kind !== "failed" && state.kind !== "inUse") return;
    const was = findCondition(before?.conditions, "Ready");
    const is = findCondition(next.conditions, "Ready");
    // How much is free changes from try to try.
    if (!is || (was?.reason === is.reason && (was.message === is.message || is.reason === "StoreFull"))) return;
    deps.events.emit(about(), { type: "Warning", reason: is.reason, message: is.message, action: "Import" });
  }

  return {
    get live() {
      return live;
    },
    tell: (reason, message) => deps.events.emit(about(), { type: "Normal", reason, message, action: "Import" }),
    async write(state, found = {}) {
      const before = live.status;
      const input = { current: before, generation, now: deps.clock.now(), state, ...found };
      const next = modelStatusOf(input);
      const wanted = { ...everyField, ...next };
      const options = { manager: fieldManagers.importer };
      const { object, wrote } = await deps.applier.patchStatusIfChanged(resource, live, wanted, options);
      live = object;
      warn(before, next, state);
      return wrote;
    },
  };
}
