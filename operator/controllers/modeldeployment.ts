/**
 * ModelDeployment: which changes wake which deployment, what is read into the snapshot, and the plan carried out.
 * Everything comes from the caches; no request is made to look.
 */
import { modelDeployments } from "../api/resources.ts";
import type { GPUNodePool } from "../api/gpunodepool.ts";
import { labels } from "../api/keys.ts";
import type { ControllerRevision, Namespace, OpaqueSpec, Pod, Workload } from "../api/kubernetes.ts";
import type { ClusterModel, Model } from "../api/model.ts";
import type { ModelDeployment, ModelDeploymentStatus } from "../api/modeldeployment.ts";
import type { NodeType } from "../api/nodetype.ts";
import type { FetchBoard } from "../api/fetches.ts";
import { mergeConditions } from "../api/conditions.ts";
import { workloadName } from "../plan/identity.ts";
import { planDeployment } from "../plan/deployment/plan.ts";
import type { Renderer } from "../plan/deployment/rollout.ts";
import { ownPool, uidOf, type Seen, type Settings } from "../plan/deployment/seen.ts";
import { wantedNodes } from "../plan/deployment/size.ts";
import { transitions } from "../plan/deployment/status.ts";
import type { Plan } from "../plan/plan.ts";
import type { Clock, KubeObject, Log, ManagedFieldsEntry, Outcome, Store } from "../ports.ts";
import { TerminalError, fieldOwnersOf, isForbidden, messageOf } from "../runtime/errors.ts";
import { keyOf } from "../runtime/store.ts";
import type { PlanExecutor } from "./apply.ts";
import { fetchesOf } from "./fetches.ts";
import type { KeyedLock } from "./keyedlock.ts";
import type { StartupWatch } from "./startups.ts";

export interface DeploymentStores {
  readonly deployments: Store<ModelDeployment>;
  readonly models: Store<Model>;
  readonly clusterModels: Store<ClusterModel>;
  readonly nodeTypes: Store<NodeType>;
  readonly pools: Store<GPUNodePool>;
  readonly revisions: Store<ControllerRevision>;
  readonly workloads: Store<Workload>;
  readonly services: Store<OpaqueSpec>;
  readonly pods: Store<Pod>;
  readonly namespaces: Store<Namespace>;
  /** The one ConfigMap in which the store role says how far fetches are. */
  readonly fetches: Store<FetchBoard>;
}

/** Index names of the caches above; wire.ts registers them. */
export const deploymentIndexes = {
  /** ModelDeployments by `kind/namespace/name` of their model (namespace empty for a ClusterModel). */
  model: "model",
  nodeType: "nodeType",
  namespace: "namespace",
  /** ModelDeployments that are protected against deletion, by their namespace. */
  protected: "protected",
  /** Children, revisions and pods by the UID label of their deployment. */
  deploymentUID: "deploymentUID",
} as const;

export function modelKeyOf({ metadata, spec }: ModelDeployment): string {
  return spec.model.kind === "Model"
    ? `Model/${metadata.namespace}/${spec.model.name}`
    : `ClusterModel//${spec.model.name}`;
}

type DeploymentPlan = Plan<ModelDeploymentStatus>;

export interface DeploymentDeps {
  readonly clock: Clock;
  readonly stores: DeploymentStores;
  readonly executor: PlanExecutor;
  readonly settings: Settings;
  /** Serialises growth of one node type while it has a quota. */
  readonly lock: KeyedLock;
  readonly startups: StartupWatch;
  /** Another template renderer; for the test that an upgrade restarts nothing. */
  readonly render?: Renderer;
}

/**
 * What changes without a condition changing waits at least so long after the last write: the number of ready replicas,
 * and what only people read (other counters, the words of messages, progress).
 */
const READY_COUNT_INTERVAL_MS = 1000;
const WORDS_INTERVAL_MS = 10_000;
/** Writes that took longer were waited for: what the watches brought meanwhile is worth a look. */
const NEWS_AFTER_MS = 5;
const NAME_RECHECK_MS = 15_000;

export function newDeploymentReconciler(deps: DeploymentDeps) {
  const lastStatusAt = new Map<string, number>();
  return async function reconcile(key: string, log: Log): Promise<Outcome> {
    const seen = observeDeployment(deps, key);
    if (!seen) {
      lastStatusAt.delete(key);
      deps.startups.forget(key);
      return {};
    }
    const needsLock = hasQuota(seen) && wantedNodes(seen) > (ownPool(seen)?.spec.size ?? 0);
    if (!needsLock) return carryOut(deps, seen, log, lastStatusAt);
    return deps.lock.run(seen.deployment.spec.nodeType, async () => {
      const again = observeDeployment(deps, key);
      return again ? carryOut(deps, again, log, lastStatusAt) : {};
    });
  };
}

function hasQuota({ nodeType }: Seen): boolean {
  const quota = nodeType?.spec.quota;
  return quota?.total !== undefined || quota?.perNamespace !== undefined;
}

async function carryOut(
  deps: DeploymentDeps,
  seen: Seen,
  log: Log,
  lastStatusAt: Map<string, number>,
): Promise<Outcome> {
  const plan = planDeployment(seen, deps.render);
  log.debug({ because: plan.because, steps: plan.steps.length }, "planned");
  const startedMs = deps.clock.monotonicMs();
  let failure: { readonly error: unknown } | undefined;
  try {
    await deps.executor.write(plan.steps);
  } catch (error) {
    failure = { error: explained(error, seen) };
  }
  // Writes take their time: what has happened meanwhile (a pod is ready) is said now, not one round trip later.
  const waited = deps.clock.monotonicMs() - startedMs > NEWS_AFTER_MS;
  const outcome = failure ? withFailure(plan, failure.error, seen) : waited ? latestPlan(deps, seen, plan) : plan;
  const waitMs = await writeStatus(deps, seen, outcome, lastStatusAt);
  const started = deps.startups.observe(keyOf(seen.deployment), seen);
  deps.executor.emit(seen.deployment, modelDeployments, { events: [...started, ...outcome.events] });
  // Nobody tells us when the foreign Service goes: look again.
  if (isNameTaken(failure?.error)) return { requeueAfterMs: NAME_RECHECK_MS };
  if (failure) throw failure.error;
  const waits = [outcome.requeueAfterMs, waitMs].filter((ms) => ms !== undefined);
  return waits.length > 0 ? { requeueAfterMs: Math.min(...waits) } : {};
}

/** The plan of what the caches hold now, for its status and events; its steps are the next reconcile's. */
function latestPlan(deps: DeploymentDeps, seen: Seen, plan: DeploymentPlan): DeploymentPlan {
  const latest = observeDeployment(deps, keyOf(seen.deployment));
  const isSame = latest?.deployment.metadata.uid === seen.deployment.metadata.uid;
  if (!latest || !isSame || latest.deployment.metadata.deletionTimestamp) return plan;
  return planDeployment(latest, deps.render);
}

/** Answers how long a merely cosmetic change should wait. */
async function writeStatus(
  deps: DeploymentDeps,
  seen: Seen,
  plan: DeploymentPlan,
  lastStatusAt: Map<string, number>,
): Promise<number | undefined> {
  if (!plan.status) return undefined;
  const key = keyOf(seen.deployment);
  const live = deps.stores.deployments.get(seen.deployment.metadata.namespace, seen.deployment.metadata.name);
  if (!live || live.metadata.uid !== seen.deployment.metadata.uid) return undefined;
  const waitMs = (lastStatusAt.get(key) ?? -Infinity) + intervalMs(live.status, plan.status) - deps.clock.monotonicMs();
  if (waitMs > 0) return waitMs;
  // Metering belongs to the sealer; a status without that key leaves it alone.
  const { metering: _sealer, ...status } = plan.status;
  if (await deps.executor.status(modelDeployments, live, status)) lastStatusAt.set(key, deps.clock.monotonicMs());
  return undefined;
}

function intervalMs(live: ModelDeploymentStatus | undefined, wanted: ModelDeploymentStatus): number {
  if (gist(live) !== gist(wanted)) return 0;
  return live?.readyReplicas === wanted.readyReplicas ? WORDS_INTERVAL_MS : READY_COUNT_INTERVAL_MS;
}

/** What programs wait for: phase, and each condition's status and reason. */
function gist(status: ModelDeploymentStatus | undefined): string {
  return JSON.stringify([
    status?.observedGeneration,
    status?.phase,
    status?.conditions?.map(({ type, status: value, reason }) => [type, value, reason]),
  ]);
}

/** A Service of the deployment's name that belongs to somebody else is the user's to solve, not a race to win. */
function explained(error: unknown, seen: Seen): unknown {
  const owners = fieldOwnersOf(error);
  if (owners.length === 0) return error;
  const { namespace, name } = seen.deployment.metadata;
  return new TerminalError(
    "NameTaken",
    `Service ${namespace}/${name} exists and is not Berth's (${owners.join("; ")}): delete it, or give the deployment another name`,
  );
}

function isNameTaken(error: unknown): boolean {
  return error instanceof TerminalError && error.reason === "NameTaken";
}

/** A refusal is said in the status; what passes by itself (conflicts, a server that is away) is not. */
function withFailure(plan: DeploymentPlan, error: unknown, seen: Seen): DeploymentPlan {
  if (!plan.status || !(error instanceof TerminalError || isForbidden(error))) return plan;
  const message = messageOf(error);
  // The API server's own reasons are an open set, and a condition's are a closed one.
  const reason = isNameTaken(error) ? "NameTaken" : "WriteRefused";
  const failed = { status: "False", reason, message } as const;
  const parts = (plan.status.conditions ?? []).flatMap(({ type, status, reason: was, message: words }) => {
    if (type === "Reconciling" || type === "Stalled" || type === "Ready") return [];
    return [type === "Serving" ? { type, ...failed } : { type, status, reason: was, message: words }];
  });
  const wanted = [...parts, { type: "Stalled", ...failed, status: "True" as const }, { type: "Ready", ...failed }];
  const before = seen.deployment.status?.conditions;
  const at = { now: seen.now, generation: seen.deployment.metadata.generation ?? 0 };
  const conditions = mergeConditions(before, wanted, at);
  return { ...plan, status: { ...plan.status, phase: "Error", conditions }, events: transitions(before, conditions) };
}

export function observeDeployment(
  deps: Pick<DeploymentDeps, "clock" | "stores" | "settings">,
  key: string,
): Seen | undefined {
  const { stores, settings } = deps;
  const [namespace = "", name = ""] = key.split("/");
  const deployment = stores.deployments.get(namespace, name);
  if (!deployment) return undefined;
  const uid = uidOf(deployment);
  const { model: modelRef, nodeType } = deployment.spec;
  const model =
    modelRef.kind === "Model"
      ? stores.models.get(namespace, modelRef.name)
      : stores.clusterModels.get(undefined, modelRef.name);
  const isHere = ({ metadata }: KubeObject): boolean => metadata.namespace === namespace;
  const pods = stores.pods.byIndex(deploymentIndexes.deploymentUID, uid).filter(isHere);
  return Object.freeze({
    now: deps.clock.now(),
    deployment,
    replicasSetAt: replicasSetAt(deployment.metadata.managedFields),
    namespace: stores.namespaces.get(undefined, namespace),
    nodeType: stores.nodeTypes.get(undefined, nodeType),
    nodeTypes: stores.nodeTypes.list(),
    others: quotaUse(stores, deployment),
    model,
    modelScope: modelRef.kind === "Model" ? stores.namespaces.get(undefined, namespace)?.metadata.uid : "cluster",
    pool: stores.pools.get(namespace, name),
    // Labels can be put on anything anywhere: only what lives in the deployment's own namespace counts.
    revisions: stores.revisions.byIndex(deploymentIndexes.deploymentUID, uid).filter(isHere),
    workload: stores.workloads.get(namespace, workloadName(name, uid)),
    service: stores.services.get(namespace, name),
    pods,
    fetches: fetchesOf(stores.fetches, pods),
    othersProtected: protectedBeside(stores, deployment),
    settings,
  });
}

/** Counted only under a quota: it takes a look at every pool of the type. */
function quotaUse({ nodeTypes, pools }: DeploymentStores, { metadata, spec }: ModelDeployment): Seen["others"] {
  const { quota } = nodeTypes.get(undefined, spec.nodeType)?.spec ?? {};
  if (quota?.total === undefined && quota?.perNamespace === undefined) return { total: 0, inNamespace: 0 };
  const others = pools
    .byIndex(deploymentIndexes.nodeType, spec.nodeType)
    .filter((pool) => pool.spec.deploymentRef.uid !== metadata.uid);
  const sum = (some: readonly GPUNodePool[]): number => some.reduce((total, pool) => total + pool.spec.size, 0);
  return {
    total: sum(others),
    inNamespace: sum(others.filter((pool) => pool.metadata.namespace === metadata.namespace)),
  };
}

export function isProtected({ metadata, spec }: ModelDeployment): boolean {
  return spec.deletionProtection && !metadata.deletionTimestamp;
}

function protectedBeside({ deployments }: DeploymentStores, deployment: ModelDeployment): boolean {
  const { namespace = "", uid } = deployment.metadata;
  if (isProtected(deployment)) return false;
  return deployments.byIndex(deploymentIndexes.protected, namespace).some(({ metadata }) => metadata.uid !== uid);
}

/** True for the managedFields entry that owns spec.replicas: its time is when the number was last written. */
export function ownsReplicas({ fieldsV1 }: ManagedFieldsEntry): boolean {
  const spec = (fieldsV1 as { "f:spec"?: Record<string, unknown> } | undefined)?.["f:spec"];
  return spec !== undefined && "f:replicas" in spec;
}

function replicasSetAt(entries: readonly ManagedFieldsEntry[] | undefined): number | undefined {
  const times = (entries ?? []).filter(ownsReplicas).map(({ time }) => Date.parse(time ?? ""));
  return times.length > 0 ? Math.max(...times) : undefined;
}

/** The deployment that a child, a pod or a pool belongs to: owner first, then the UID label. */
export function deploymentKeyOf(
  stores: DeploymentStores,
  object: { readonly metadata: { readonly labels?: Readonly<Record<string, string>> } },
): string[] {
  const uid = object.metadata.labels?.[labels.deploymentUID];
  const deployment = uid === undefined ? undefined : stores.deployments.byUid(uid);
  return deployment ? [keyOf(deployment)] : [];
}
