/**
 * One piece of work on one model, under its Lease: inspect, copy or empty. Runs beside the reconcile loop, which starts
 * and stops it; what it decides it asks plan/model, what moves bytes is handed in.
 */
import { namespaces } from "../api/kubernetes.ts";
import type { ModelReason } from "../api/reasons.ts";
import { modelReasons } from "../api/reasons.ts";
import { SPEC_TEMPLATE, templateProblem } from "../plan/model/chattemplate.ts";
import type { ImportObserver, ImportResult } from "../plan/model/importing.ts";
import type { StoreOwner } from "../plan/model/manifest.ts";
import { reimportRequest } from "../plan/model/plan.ts";
import type { Purpose } from "../plan/model/plan.ts";
import { isProblem } from "../plan/model/problem.ts";
import type { ModelProblem } from "../plan/model/problem.ts";
import { wholeQuantity } from "../plan/quantity.ts";
import type { Clock, EventRecorder, KubeReader, KubeWriter, Resource } from "../ports.ts";
import type { Applier } from "../runtime/apply.ts";
import { ConflictError, RetryError, TerminalError } from "../runtime/errors.ts";
import { beginnings, follow } from "./modelcourse.ts";
import { accessTo } from "./modelcredentials.ts";
import type { AccessSettings, SourceAccess } from "./modelcredentials.ts";
import type { ModelRevision } from "../api/model.ts";
import type { ImportMetrics, ImportOutcome } from "./modelmetrics.ts";
import { answer, held, letGo } from "./modelmarks.ts";
import { newStatusWriter } from "./modelstatus.ts";
import type { AnyModel, StatusWriter } from "./modelstatus.ts";
import type { ProgressPace } from "./progresspace.ts";

/** What moves bytes; wired from transfer/ and adapters/. */
export interface ModelTransfer {
  importModel(request: {
    readonly owner: StoreOwner;
    readonly access: SourceAccess;
    /** Reads the Secret anew, where the source refuses what it said before; undefined where it gives nothing to be sent there any more. */
    readonly renew: () => Promise<SourceAccess | undefined>;
    readonly maxSizeBytes: number;
    readonly copy: boolean;
    /** A request to copy anew what the store holds already. */
    readonly reimport: string | undefined;
    readonly signal: AbortSignal;
    readonly observer: ImportObserver;
  }): Promise<ImportResult>;
  /** Removes everything of the model from the store. */
  emptyModel(owner: StoreOwner): Promise<number>;
}

export interface ImportDeps {
  readonly kube: KubeReader & KubeWriter;
  readonly applier: Applier;
  readonly events: EventRecorder;
  readonly clock: Clock;
  readonly transfer: ModelTransfer;
  readonly metrics: ImportMetrics;
  readonly settings: AccessSettings;
  readonly progress: ProgressPace;
}

export interface ImportRequest {
  readonly resource: Resource<AnyModel>;
  readonly namespace: string | undefined;
  readonly name: string;
  readonly uid: string;
  readonly purpose: Purpose;
  readonly signal: AbortSignal;
}

/** "failed" asks for another try after a pause; "done" for none. */
export type ImportEnd = "done" | "failed" | "stopped";

/** A thrown fault of source or store as a problem; undefined for faults of the API server and bugs. */
export function problemOf(error: unknown): ModelProblem | undefined {
  const retryable = error instanceof RetryError;
  const said: unknown = retryable ? error.cause : error;
  if (!(said instanceof TerminalError) || !Object.hasOwn(modelReasons, said.reason)) return undefined;
  return { reason: said.reason as ModelReason, message: said.message, retryable };
}

async function ownerOf(deps: ImportDeps, model: AnyModel): Promise<StoreOwner> {
  const { namespace, uid = "" } = model.metadata;
  if (namespace === undefined) return { namespaceUID: undefined, modelUID: uid };
  const found = await deps.kube.read(namespaces, undefined, namespace);
  if (!found?.metadata.uid) throw new RetryError(new Error(`namespace ${namespace} is gone`));
  return { namespaceUID: found.metadata.uid, modelUID: uid };
}

function tellDone(writer: StatusWriter, revisions: readonly ModelRevision[], seconds: number): void {
  const [before, added] = revisions.slice(-2).length === 2 ? revisions.slice(-2) : [undefined, revisions.at(-1)];
  const digest = added?.digest ?? "";
  if (before && before.digest !== digest)
    writer.tell(
      "NewRevision",
      `the source changed: revision ${digest} follows ${before.digest}, which stays in the store`,
    );
  else if (before) writer.tell("NewRevision", `the same files were imported anew, as number ${added?.number ?? 0}`);
  writer.tell("Imported", `revision ${digest} is complete after ${seconds.toFixed(1)} s`);
}

async function transferFrom(
  access: SourceAccess,
  deps: ImportDeps,
  { signal, purpose }: ImportRequest,
  model: AnyModel,
  observer: ImportObserver,
): Promise<ImportResult> {
  const owner = await ownerOf(deps, model);
  // The schema has checked the form; what slipped through allows nothing.
  const maxSizeBytes = wholeQuantity(model.spec.maxSize) ?? 0;
  const copy = purpose === "copy";
  const reimport = reimportRequest(model);
  const renew = async (): Promise<SourceAccess | undefined> => {
    const now = await accessTo(deps.kube, model, deps.settings);
    return isProblem(now) ? undefined : now;
  };
  return deps.transfer.importModel({ owner, access, renew, maxSizeBytes, copy, reimport, signal, observer });
}

const ownTemplateProblem = ({ spec: { chatTemplate } }: AnyModel): ModelProblem | undefined =>
  chatTemplate === undefined ? undefined : templateProblem(SPEC_TEMPLATE, chatTemplate);

async function importFrom(
  deps: ImportDeps,
  request: ImportRequest,
  model: AnyModel,
  writer: StatusWriter,
): Promise<ImportEnd> {
  const startedMs = deps.clock.monotonicMs();
  const secondsSoFar = (): number => (deps.clock.monotonicMs() - startedMs) / 1000;
  const ended = (outcome: ImportOutcome): void => deps.metrics.seconds.observe({ outcome }, secondsSoFar());
  const refuse = async (problem: ModelProblem): Promise<ImportEnd> => {
    ended(problem.retryable ? "failed" : "refused");
    await writer.write({ kind: "failed", problem });
    // A fault that passes is no answer: the next try has the look that was asked for.
    if (problem.retryable) return "failed";
    await answer(deps.kube, request.resource, writer.live, { begun: model, isImported: false });
    return "done";
  };
  const unsafe = ownTemplateProblem(model);
  if (unsafe) return refuse(unsafe);
  const access = await accessTo(deps.kube, model, deps.settings);
  if (isProblem(access)) return refuse(access);
  const watch = follow(deps, writer, access.endpoint);
  let result: ImportResult;
  try {
    result = await transferFrom(access, deps, request, model, watch.observer);
  } catch (error) {
    await watch.stop();
    const problem = request.signal.aborted ? undefined : problemOf(error);
    if (problem) return refuse(problem);
    ended(request.signal.aborted ? "stopped" : "failed");
    throw error;
  }
  await watch.stop();
  if (result.kind === "refused") return refuse(result.problem);
  const { facts, revisions, commit } = result;
  await writer.write({ kind: result.kind }, { facts, revisions, sourceCommit: commit });
  ended(result.kind === "inspected" ? "inspected" : result.copied ? "imported" : "unchanged");
  if (result.kind === "imported" && result.copied) tellDone(writer, revisions, secondsSoFar());
  await answer(deps.kube, request.resource, writer.live, { begun: model, isImported: result.kind === "imported" });
  return "done";
}

async function emptyStore(
  deps: ImportDeps,
  request: ImportRequest,
  model: AnyModel,
  writer: StatusWriter,
): Promise<ImportEnd> {
  try {
    await deps.transfer.emptyModel(await ownerOf(deps, model));
  } catch (error) {
    const problem = problemOf(error);
    if (!problem) throw error;
    await writer.write({ kind: "deleting", message: `waiting for the store: ${problem.message}` });
    return "failed";
  }
  await letGo(deps.kube, request.resource, writer.live);
  return "done";
}

/** Does the work; errors that come out are of the API server, or bugs. Call it only while the model's Lease is held. */
export async function workOn(deps: ImportDeps, request: ImportRequest): Promise<ImportEnd> {
  const { resource, namespace, name, uid, purpose, signal } = request;
  // The cache may be behind what the former holder of the Lease wrote.
  const fresh = await deps.kube.read(resource, namespace, name);
  const isDeleted = fresh?.metadata.deletionTimestamp !== undefined;
  if (!fresh || fresh.metadata.uid !== uid || isDeleted !== (purpose === "empty")) return "done";
  deps.metrics.active.inc();
  try {
    const model = isDeleted ? fresh : await held(deps.kube, resource, fresh);
    const writer = newStatusWriter(deps, resource, model, model.metadata.generation ?? 0);
    if (purpose === "empty") return await emptyStore(deps, request, model, writer);
    const isFirst = model.status?.conditions === undefined;
    if (isFirst) await writer.write({ kind: "importing", phase: "Listing", message: beginnings.Listing });
    return await importFrom(deps, request, model, writer);
  } catch (error) {
    if (signal.aborted) return "stopped";
    // Somebody else changed the object under us: the next round sees it.
    if (error instanceof ConflictError) return "failed";
    throw error;
  } finally {
    deps.metrics.active.dec();
  }
}
