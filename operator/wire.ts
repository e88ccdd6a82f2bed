/** Composition root of the operator role: builds every object once, starts and stops them in order. */
import { newCaches, storeFinder, type Caches } from "./caches.ts";
import type { OperatorConfig } from "./config.ts";
import { newPlanExecutor } from "./controllers/apply.ts";
import { newKeyedLock } from "./controllers/keyedlock.ts";
import {
  deploymentIndexes,
  deploymentKeyOf,
  newDeploymentReconciler,
  type DeploymentStores,
} from "./controllers/modeldeployment.ts";
import type { Renderer } from "./plan/deployment/rollout.ts";
import { newBase, type Base, type Running } from "./process.ts";
import { feedController, newController, type Controller } from "./runtime/controller.ts";
import { newLeader } from "./runtime/leader.ts";
import { priority } from "./runtime/queue.ts";
import type { Reflector } from "./runtime/reflector.ts";
import { keyOf } from "./runtime/store.ts";

/** What a test may replace: nothing of the product but the renderer whose change must restart no pod. */
export interface Replaceable {
  readonly render?: Renderer;
}

const EXIT_LEADERSHIP_LOST = 3;

export async function startOperator(
  config: OperatorConfig,
  env: Readonly<Record<string, string | undefined>>,
  replaceable: Replaceable = {},
): Promise<Running> {
  const base = await newBase("operator", config, env);
  const caches = newCaches(base);
  const reflectors: Reflector[] = Object.values(caches);
  const controllers = [deploymentController(base, caches, config, replaceable)];
  for (const reflector of reflectors) reflector.start();
  await Promise.all(reflectors.map(({ synced }) => synced));
  base.log.info({ caches: reflectors.length }, "caches are in sync");
  return lead(base, config, controllers, async () => {
    await base.events.stop();
    await Promise.all(reflectors.map((reflector) => reflector.stop()));
    await base.transport.close();
  });
}

/** Controllers run while the Lease is ours; without election at once. */
function lead(
  base: Base,
  config: OperatorConfig,
  controllers: readonly Controller[],
  close: () => Promise<void>,
): Running {
  let endWith: (code: number) => void = () => undefined;
  const ended = new Promise<number>((resolve) => (endWith = resolve));
  const start = (): void => controllers.forEach((controller) => controller.start());
  const leader = newLeader({ namespace: config.namespace, name: "berth-operator", identity: base.identity }, base, {
    onStarted: start,
    onPaused: () => controllers.forEach((controller) => controller.pause()),
    onResumed: () => controllers.forEach((controller) => controller.resume()),
    onLost: (holder) => {
      base.log.error({ holder }, "leadership was lost to another process");
      endWith(EXIT_LEADERSHIP_LOST);
    },
  });
  if (config.leaderElect) leader.start();
  else start();
  return {
    ended,
    async stop() {
      await Promise.all(controllers.map((controller) => controller.stop()));
      if (config.leaderElect) await leader.stop();
      await close();
    },
  };
}

function deploymentController(base: Base, caches: Caches, config: OperatorConfig, { render }: Replaceable): Controller {
  const stores: DeploymentStores = {
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
  };
  const executor = newPlanExecutor({
    writer: base.kube,
    storeOf: storeFinder(Object.values(caches)),
    events: base.events,
  });
  const settings = { ...config, operatorNamespace: config.namespace };
  const controller = newController(
    {
      name: "modeldeployment",
      concurrency: 16,
      reconcile: newDeploymentReconciler({
        clock: base.clock,
        stores,
        executor,
        settings,
        lock: newKeyedLock(),
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
  feedController(caches.nodeTypes, controller, ({ object, old }) => {
    const sameSpec =
      old !== undefined &&
      old.metadata.generation === object.metadata.generation &&
      old.metadata.deletionTimestamp === object.metadata.deletionTimestamp;
    return sameSpec ? [] : ofIndex(deploymentIndexes.nodeType, object.metadata.name);
  });
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
  const children: readonly Reflector[] = [
    caches.revisions,
    caches.workloads,
    caches.services,
    caches.budgets,
    caches.policies,
  ];
  for (const reflector of children)
    feedController(reflector, controller, ({ object }) => deploymentKeyOf(stores, object));
  feedController(caches.namespaces, controller, ({ object, old }) => {
    const same =
      old !== undefined &&
      JSON.stringify([old.metadata.annotations, old.metadata.labels]) ===
        JSON.stringify([object.metadata.annotations, object.metadata.labels]);
    return same ? [] : ofIndex(deploymentIndexes.namespace, object.metadata.name);
  });
}

function waitingForQuota(stores: DeploymentStores, nodeType: string): string[] {
  return stores.deployments
    .byIndex(deploymentIndexes.nodeType, nodeType)
    .filter(({ status }) =>
      status?.conditions?.some(({ type, reason }) => type === "CapacityReady" && reason === "QuotaExceeded"),
    )
    .map(keyOf);
}
