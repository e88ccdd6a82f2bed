/** What the importer does next with one Model or ClusterModel. Same snapshot in, same decision out. */
import { findCondition } from "../../api/conditions.ts";
import { annotations, finalizers } from "../../api/keys.ts";
import type { ClusterModel, Model } from "../../api/model.ts";

export interface ModelSnapshot {
  readonly model: Model | ClusterModel;
  /** Epoch milliseconds. */
  readonly now: number;
  /** ModelDeployments that name this model, as namespace/name, sorted. */
  readonly users: readonly string[];
  /** The import that this process runs for it, if any: what it was started for. */
  readonly running: { readonly generation: number; readonly purpose: Purpose } | undefined;
  /** This process's last look at the source: an optimisation, never the basis of what is true. */
  readonly lastAttempt: Attempt | undefined;
  readonly delays: Delays;
}
export interface Attempt {
  readonly endedAt: number;
  /** Attempts without success in a row. */
  readonly failures: number;
}
export interface Delays {
  /** First delay after a fault that may pass; doubled each time up to `retryMaxMs`. */
  readonly retryMinMs: number;
  readonly retryMaxMs: number;
  /** After a refusal that a changed Secret or RoleBinding would lift (their change cannot be watched). */
  readonly secretMs: number;
  /** After any other refusal: somebody may have changed the bucket. */
  readonly refusedMs: number;
}
/** "inspect": read headers only; "copy": inspect and copy; "empty": remove everything from the store. */
export type Purpose = "inspect" | "copy" | "empty";

export type ModelDecision =
  | { readonly do: "nothing"; readonly because: string; readonly requeueAfterMs?: number }
  /** The running work is for something that is not wanted any more. */
  | { readonly do: "stop"; readonly because: string }
  | { readonly do: "start"; readonly purpose: Purpose; readonly because: string }
  /** Deletion is wanted but the model is in use: say by whom. */
  | { readonly do: "hold"; readonly by: readonly string[]; readonly because: string };

const nothing = (because: string, requeueAfterMs?: number): ModelDecision => ({
  do: "nothing",
  because,
  ...(requeueAfterMs === undefined ? {} : { requeueAfterMs }),
});

/** Reasons that a Secret, its annotation or a RoleBinding decides. */
const secretReasons = new Set([
  "SecretNotFound",
  "SecretTypeWrong",
  "SecretInvalid",
  "SecretNotReadable",
  "EndpointNotAllowed",
  "AccessDenied",
]);

/** Whether bytes are to be copied, or the source only looked at. */
export function purposeOf(model: Model | ClusterModel, users: readonly string[]): "inspect" | "copy" {
  if (model.metadata.annotations?.[annotations.reimport] !== undefined) return "copy";
  const onDemand = "import" in model.spec && model.spec.import === "OnDemand";
  return onDemand && users.length === 0 && (model.status?.revisions ?? []).length === 0 ? "inspect" : "copy";
}

/**
 * Names one request to import anew: the annotation's value, and when the API server says that it was written, so that the same
 * word asks again later and an importer that was killed after its commit does not copy twice. Undefined where nobody asks.
 */
export function reimportRequest({ metadata }: Pick<Model | ClusterModel, "metadata">): string | undefined {
  const value = metadata.annotations?.[annotations.reimport];
  if (value === undefined) return undefined;
  const field = `"f:${annotations.reimport}"`;
  const entry = metadata.managedFields?.find(({ fieldsV1 }) => JSON.stringify(fieldsV1 ?? {}).includes(field));
  return `${value.slice(0, 100)} ${entry?.time ?? ""}`.trim();
}

/** Why the source must be looked at now or later; undefined when all is done. */
function owed(
  snapshot: ModelSnapshot,
  purpose: Purpose,
): { readonly because: string; readonly delayMs: number } | undefined {
  const { model, delays, lastAttempt } = snapshot;
  const ready = findCondition(model.status?.conditions, "Ready");
  if (!model.metadata.finalizers?.includes(finalizers.store)) return { because: "new", delayMs: 0 };
  if (!ready || model.status?.observedGeneration !== model.metadata.generation)
    return { because: "changed", delayMs: 0 };
  const failures = lastAttempt?.failures ?? 0;
  const backoffMs = Math.min(delays.retryMaxMs, delays.retryMinMs * 2 ** Math.min(30, Math.max(0, failures - 1)));
  const retryMs = failures > 0 ? backoffMs : 0;
  if (model.metadata.annotations?.[annotations.refresh] !== undefined) return { because: "refresh", delayMs: retryMs };
  if (ready.status === "True") {
    if (model.metadata.annotations?.[annotations.reimport] !== undefined)
      return { because: "reimport", delayMs: retryMs };
    return ready.reason === "Inspected" && purpose === "copy" ? { because: "first use", delayMs: retryMs } : undefined;
  }
  if (!findCondition(model.status?.conditions, "Stalled")) return { because: "unfinished", delayMs: retryMs };
  return { because: "re-check", delayMs: secretReasons.has(ready.reason) ? delays.secretMs : delays.refusedMs };
}

function decideDeletion(snapshot: ModelSnapshot): ModelDecision {
  const { model, users, running, lastAttempt, delays, now } = snapshot;
  if (!model.metadata.finalizers?.includes(finalizers.store)) {
    return running ? { do: "stop", because: "deleted" } : nothing("deleted, nothing of ours left");
  }
  if (users.length > 0) {
    return running ? { do: "stop", because: "deleted" } : { do: "hold", by: users, because: "in use" };
  }
  if (running) return running.purpose === "empty" ? nothing("emptying") : { do: "stop", because: "deleted" };
  const failures = lastAttempt?.failures ?? 0;
  const backoffMs = failures > 0 ? Math.min(delays.retryMaxMs, delays.retryMinMs * 2 ** Math.min(30, failures - 1)) : 0;
  const waitMs = lastAttempt ? lastAttempt.endedAt + backoffMs - now : 0;
  if (failures > 0 && waitMs > 0) return nothing("waiting for the store", waitMs);
  return { do: "start", purpose: "empty", because: "deleted and unused" };
}

/** The next thing to do; `requeueAfterMs` only where time alone brings it. */
export function decideModel(snapshot: ModelSnapshot): ModelDecision {
  const { model, users, running, lastAttempt, now } = snapshot;
  if (model.metadata.deletionTimestamp) return decideDeletion(snapshot);
  const purpose = purposeOf(model, users);
  if (running) {
    if (running.generation !== model.metadata.generation) return { do: "stop", because: "changed" };
    return nothing("running");
  }
  const due = owed(snapshot, purpose);
  if (!due) return nothing("done");
  const waitMs = due.delayMs === 0 ? 0 : (lastAttempt?.endedAt ?? now) + due.delayMs - now;
  if (waitMs > 0) return nothing(`${due.because}: not yet due`, waitMs);
  return { do: "start", purpose, because: due.because };
}
