/** Controllers of the operator role, each put together from its parts. Part of the composition root. */
import { readFile } from "node:fs/promises";
import type { Caches } from "./caches.ts";
import { storeFinder } from "./caches.ts";
import type { OperatorConfig } from "./config.ts";
import { isCandidate } from "./adapters/providers/static/provider.ts";
import { newPlanExecutor, type PlanExecutor } from "./controllers/apply.ts";
import { movedPods } from "./controllers/fetches.ts";
import { newKeyedLock } from "./controllers/keyedlock.ts";
import {
  deploymentIndexes,
  deploymentKeyOf,
  newDeploymentReconciler,
  type DeploymentStores,
} from "./controllers/modeldeployment.ts";
import { everyModelKey, feedNodeSupportController, newNodeSupportReconciler } from "./controllers/nodesupport.ts";
import { feedNodeTypeController, newNodeTypeReconciler } from "./controllers/nodetype.ts";
import type { Renderer } from "./plan/deployment/rollout.ts";
import type { FirstLook } from "./controllers/firstlook.ts";
import { newAccess } from "./http/access.ts";
import { cachedObjects, freshObjects } from "./controllers/facts.ts";
import { newCapacitySeries } from "./controllers/capacityseries.ts";
import type { LedgerHealth } from "./controllers/ledgerhealth.ts";
import type { LedgerMetrics } from "./controllers/ledgermetrics.ts";
import { newHeadKeeper } from "./controllers/clusterhead.ts";
import { newSealer, type Sealer } from "./controllers/sealer.ts";
import { newStartupWatch } from "./controllers/startups.ts";
import { newUsageSource } from "./controllers/usage.ts";
import { isUndecided } from "./controllers/undecided.ts";
import { proofOfLife } from "./controllers/lastseen.ts";
import { prudentClock } from "./controllers/clockskew.ts";
import type { Watermark } from "./controllers/watermark.ts";
import { newClosingRegister } from "./controllers/closingregister.ts";
import { newContinuity } from "./controllers/continuity.ts";
import type { Unproven } from "./controllers/unproven.ts";
import type { AppDeps } from "./http/app.ts";
import type { KubeObject, Ledger } from "./ports.ts";
import type { Base } from "./process.ts";
import { feedController, newController, type Controller } from "./runtime/controller.ts";
import { signerOf } from "./adapters/ledger/signing.ts";
import { priority } from "./runtime/queue.ts";
import type { Reflector } from "./runtime/reflector.ts";
import { keyOf, type Change } from "./runtime/store.ts";

/** What a test may replace: nothing of the product but the renderer whose change must restart no pod. */
export interface Replaceable {
  readonly render?: Renderer;
}

/**
 * Reconciliations at once. More of them finish a burst no sooner, since the API server works them off one after the other,
 * and what is nearly done waits behind them: with 16 the first of 1,000 was reported Ready after 2.0 s, with 4 after 0.6 s.
 */
export const CONCURRENCY = 4;

export function planExecutorOf(base: Base, caches: Caches): PlanExecutor {
  return newPlanExecutor({ writer: base.kube, storeOf: storeFinder(Object.values(caches)), events: base.events });
}

export interface LedgerOf {
  readonly ledger: Ledger;
  readonly clusterId: string;
  readonly sealed: Watermark;
  readonly unproven: Unproven;
}

function deploymentStores(caches: Caches): DeploymentStores {
  return {
    deployments: caches.deployments.store,
    models: caches.models.store,
    clusterModels: caches.clusterModels.store,
    nodeTypes: caches.nodeTypes.store,
    pools: caches.pools.store,
    revisions: caches.revisions.store,
    workloads: caches.workloads.store,
    services: caches.services.store,
    pods: caches.pods.store,
    namespaces: caches.namespaces.store,
    fetches: caches.fetches.store,
  };
}

export function deploymentController(
  base: Base,
  caches: Caches,
  config: OperatorConfig,
  { render }: Replaceable,
): Controller {
  const stores = deploymentStores(caches);
  const executor = planExecutorOf(base, caches);
  const settings = { ...config, operatorNamespace: config.namespace };
  const controller = newController(
    {
      name: "modeldeployment",
      concurrency: CONCURRENCY,
      reconcile: newDeploymentReconciler({
        clock: base.clock,
        stores,
        executor,
        settings,
        lock: newKeyedLock(),
        startups: newStartupWatch(base.metrics.registry),
        render,
      }),
      resyncKeys: () => stores.deployments.list().map(keyOf),
    },
    base,
  );
  wakeDeployments(caches, stores, controller);
  return controller;
}

/** Which changes make which deployment look again. What ends a rollout goes before what begins one. */
function wakeDeployments(caches: Caches, stores: DeploymentStores, controller: Controller): void {
  const soon = () => ({ priority: priority.finishing });
  const ofIndex = (index: string, key: string): string[] => stores.deployments.byIndex(index, key).map(keyOf);
  feedController(caches.deployments, controller, ({ object }) => [keyOf(object)]);
  feedController(caches.models, controller, ({ object }) => ofIndex(deploymentIndexes.model, `Model/${keyOf(object)}`));
  feedController(caches.clusterModels, controller, ({ object }) =>
    ofIndex(deploymentIndexes.model, `ClusterModel//${object.metadata.name}`),
  );
  feedController(caches.nodeTypes, controller, (change) =>
    hasSameSpec(change) ? [] : ofIndex(deploymentIndexes.nodeType, change.object.metadata.name),
  );
  feedController(
    caches.pools,
    controller,
    ({ object, type, old }) => {
      // Freed quota may be what others wait for.
      const freed = type === "deleted" || (old !== undefined && old.spec.size > object.spec.size);
      return [keyOf(object), ...(freed ? waitingForQuota(stores, object.spec.nodeType) : [])];
    },
    soon,
  );
  feedController(caches.pods, controller, ({ object }) => deploymentKeyOf(stores, object), soon);
  feedController(caches.fetches, controller, ({ object, old }) =>
    movedPods(stores.pods, old, object).flatMap((pod) => deploymentKeyOf(stores, pod)),
  );
  const children: readonly Reflector[] = [
    caches.revisions,
    caches.workloads,
    caches.services,
    caches.budgets,
    caches.policies,
  ];
  for (const reflector of children) {
    feedController(reflector, controller, (change) =>
      saysNothingNew(change) ? [] : deploymentKeyOf(stores, change.object),
    );
  }
  feedController(caches.namespaces, controller, (change) =>
    hasSameMarks(change) ? [] : ofIndex(deploymentIndexes.namespace, change.object.metadata.name),
  );
}

function hasSameSpec({ object, old }: Change): boolean {
  return (
    old !== undefined &&
    old.metadata.generation === object.metadata.generation &&
    old.metadata.deletionTimestamp === object.metadata.deletionTimestamp
  );
}

function hasSameMarks({ object, old }: Change): boolean {
  const marks = ({ metadata }: Change["object"]): string => JSON.stringify([metadata.annotations, metadata.labels]);
  return old !== undefined && marks(old) === marks(object);
}

/** Most changes of a child are counters in its status, which nobody here reads. */
function saysNothingNew({ type, object, old }: Change): boolean {
  if (type !== "updated" || !old) return false;
  const gist = ({ metadata, ...rest }: KubeObject): string => {
    const { generation, deletionTimestamp, labels, annotations, ownerReferences } = metadata;
    return JSON.stringify([generation, deletionTimestamp, labels, annotations, ownerReferences, rest]);
  };
  // Without a generation (Services, for one) every change may be one of the spec.
  return object.metadata.generation !== undefined && gist(object) === gist(old);
}

function waitingForQuota(stores: DeploymentStores, nodeType: string): string[] {
  return stores.deployments
    .byIndex(deploymentIndexes.nodeType, nodeType)
    .filter(({ status }) =>
      status?.conditions?.some(({ type, reason }) => type === "CapacityReady" && reason === "QuotaExceeded"),
    )
    .map(keyOf);
}

export function nodeTypeController(base: Base, caches: Caches): Controller {
  const { nodeTypes, pools, nodes, nodePools } = caches;
  const reconcile = newNodeTypeReconciler({
    clock: base.clock,
    stores: { nodeTypes: nodeTypes.store, pools: pools.store, nodes: nodes.store },
    karpenterInstalled: () => !nodePools.absent,
    isCandidate,
    executor: planExecutorOf(base, caches),
  });
  const controller = newController(
    { name: "nodetype", concurrency: 1, reconcile, resyncKeys: () => nodeTypes.store.list().map(keyOf) },
    base,
  );
  feedNodeTypeController(controller, { nodeTypes, pools, nodes });
  return controller;
}

/** Keeps status.nodeSupport of models and catalogue entries. */
export function nodeSupportController(base: Base, caches: Caches, config: OperatorConfig): Controller {
  const { models, clusterModels, nodeTypes } = caches;
  const engineVersion = config.engineImages[0]?.version;
  const deps = {
    stores: { models: models.store, clusterModels: clusterModels.store, nodeTypes: nodeTypes.store },
    engineVersion,
    executor: planExecutorOf(base, caches),
  };
  const controller = newController(
    {
      name: "nodesupport",
      concurrency: 4,
      reconcile: newNodeSupportReconciler(deps),
      resyncKeys: () => everyModelKey(deps.stores),
    },
    base,
  );
  feedNodeSupportController(controller, { models, clusterModels, nodeTypes });
  return controller;
}

type Books = LedgerOf & { readonly metrics: LedgerMetrics; readonly health: LedgerHealth };

/** How long the sealer waits for a bookmark before it lists for itself. */
const FRESHNESS_PATIENCE_MS = 5_000;

export function sealer(
  base: Base,
  caches: Caches,
  config: OperatorConfig,
  { ledger, clusterId, sealed, unproven, metrics, health }: Books,
  seen: FirstLook,
): Sealer {
  const { clock, log, transport, kube } = base;
  const headKeeper = newHeadKeeper({ kube, namespace: config.namespace });
  const compare = newContinuity({
    ledger,
    kube,
    unproven,
    headKeeper,
    ...signerIn(config),
    sealedThroughMs: sealed.ms,
  });
  return newSealer({
    ledger,
    kube,
    clock: prudentClock(clock, base.clockWatch),
    log: log.child({ controller: "sealer" }),
    metrics,
    counters: newCapacitySeries(),
    clusterId,
    windowSeconds: config.windowSeconds,
    sealGraceSeconds: config.sealGraceSeconds,
    sealSpreadSeconds: config.sealSpreadSeconds,
    shards: config.ledgerShards,
    freshObjects: async () =>
      compare(await freshObjects({ caches, transport, reader: kube, patienceMs: FRESHNESS_PATIENCE_MS })),
    caughtUp: () =>
      seen.complete() &&
      !caches.claims.store
        .list()
        .some((claim) =>
          isUndecided(claim, { nodes: caches.nodes.store, now: clock.now(), nodeLostMs: config.nodeLostMs }),
        ),
    ...signerIn(config),
    noteSealed: sealed.note,
    health,
    headKeeper,
    register: newClosingRegister({ kube, namespace: config.namespace }),
    lastSeenAt: (claim) => proofOfLife(claim, { nodes: caches.nodes.store, nodeClaims: caches.nodeClaims.store }),
  });
}

/** The mounted Secret is read at each pass: a key that is rotated takes effect without a restart. */
function signerIn({ ledgerSigningKeyFile: file }: OperatorConfig) {
  return file === undefined ? {} : { signer: async () => signerOf(await readFile(file, "utf8"), file) };
}

/** Sealed hours and the open one, for callers whom Kubernetes lets read the deployments; needs no leadership. */
export function usageApp(
  base: Base,
  caches: Caches,
  config: OperatorConfig,
  { ledger, clusterId }: Pick<LedgerOf, "ledger" | "clusterId">,
): NonNullable<AppDeps["usage"]> {
  const { clock, kube } = base;
  const source = newUsageSource({
    ledger,
    clock,
    clusterId,
    windowSeconds: config.windowSeconds,
    objects: () => cachedObjects(caches),
    register: newClosingRegister({ kube, namespace: config.namespace }),
  });
  const namespaceUID = (name: string) => caches.namespaces.store.get(undefined, name)?.metadata.uid;
  return { source, access: newAccess({ kube, clock, namespaceUID }), clock };
}
