// The pool and node type controllers alone, wired as in the product, in this process: to be started, killed and started again.
import { capacityClaims, gpuNodePools, modelDeployments, nodeTypes } from "../../operator/api/resources.ts";
import type { CapacityClaim } from "../../operator/api/capacityclaim.ts";
import { coreEvents, nodeClaims, nodePools } from "../../operator/api/karpenter.ts";
import { isOfStatus } from "../../operator/api/allocatable.ts";
import { fieldManagers, labels, MANAGED_BY } from "../../operator/api/keys.ts";
import { nodes, pods } from "../../operator/api/kubernetes.ts";
import {
  claimIndexes,
  eventIndexes,
  nodeClaimIndexes,
  nodeIndexes,
  podIndexes,
  poolIndexes,
  slimNode,
} from "../../operator/api/poolindexes.ts";
import { newKarpenterProvider } from "../../operator/adapters/providers/karpenter/provider.ts";
import { isCandidate, newStaticProvider } from "../../operator/adapters/providers/static/provider.ts";
import { newPlanExecutor } from "../../operator/controllers/apply.ts";
import { newPoolReconciler } from "../../operator/controllers/gpunodepool.ts";
import { newGraves } from "../../operator/controllers/graves.ts";
import { feedNodeTypeController, newNodeTypeReconciler } from "../../operator/controllers/nodetype.ts";
import { feedPoolController } from "../../operator/controllers/poolkeys.ts";
import { newUnproven } from "../../operator/controllers/unproven.ts";
import type { EventRecorder, KubeObject, KubeWriter, Ledger, Log, Resource, Store } from "../../operator/ports.ts";
import type { PoolSettings } from "../../operator/plan/pool/snapshot.ts";
import { newKubeClient } from "../../operator/runtime/client.ts";
import { systemClock as clock } from "../../operator/runtime/clock.ts";
import { newController } from "../../operator/runtime/controller.ts";
import { loadCredentials } from "../../operator/runtime/credentials.ts";
import { newWriteFeed } from "../../operator/runtime/feed.ts";
import { newRuntimeMetrics } from "../../operator/runtime/metrics.ts";
import { newReflector } from "../../operator/runtime/reflector.ts";
import type { Reflector, ReflectorDeps } from "../../operator/runtime/reflector.ts";
import { keyOf } from "../../operator/runtime/store.ts";
import { newTransport } from "../../operator/runtime/transport.ts";
import type { Cluster } from "../cluster/cluster.ts";
import { userIdentity } from "../cluster/users.ts";

export const OPERATOR_USER = "test-pool-operator";

export interface OperatorOptions {
  readonly cluster: Cluster;
  readonly ledger: Ledger;
  readonly settings?: Partial<PoolSettings>;
  /** The process "dies" at this write: it reaches the API server, but neither its answer nor any later write does. */
  readonly dieAtWrite?: number;
  /** Pools of this namespace only, so that several such operators can run beside each other. */
  readonly namespace?: string;
  /** What is sealed already, in milliseconds since the epoch. */
  readonly sealedThroughMs?: () => number | undefined;
}

export interface PoolOperator {
  /** Resolves when the write that kills it was made. */
  readonly died: Promise<void>;
  readonly caches: ReturnType<typeof newCaches>;
  readonly events: readonly { readonly about: string; readonly reason: string; readonly message: string }[];
  stop(): Promise<void>;
}

const ignore = (): void => undefined;
const print: Log["debug"] = (fields, message) => console.error(message, JSON.stringify(fields));

function testLog(): Log {
  const verbose = process.env["BERTH_TEST_LOG"] === "1";
  const log: Log = {
    debug: verbose ? print : ignore,
    info: verbose ? print : ignore,
    warn: print,
    error: print,
    child: () => log,
  };
  return log;
}

function newCaches(deps: ReflectorDeps, namespace: string | undefined) {
  const ours = `${labels.managedBy}=${MANAGED_BY}`;
  return {
    deployments: newReflector({ resource: modelDeployments, namespace }, deps),
    nodeTypes: newReflector({ resource: nodeTypes }, deps),
    pools: newReflector(
      { resource: gpuNodePools, namespace, keepManagers: [fieldManagers.size], indexes: poolIndexes },
      deps,
    ),
    claims: newReflector({ resource: capacityClaims, indexes: claimIndexes }, deps),
    nodes: newReflector(
      {
        resource: nodes,
        keepManagers: [fieldManagers.claim],
        keepEntry: isOfStatus,
        indexes: nodeIndexes,
        transform: slimNode,
      },
      deps,
    ),
    pods: newReflector({ resource: pods, labelSelector: ours, indexes: podIndexes }, deps),
    nodePools: newReflector({ resource: nodePools, labelSelector: ours }, deps),
    nodeClaims: newReflector({ resource: nodeClaims, labelSelector: labels.pool, indexes: nodeClaimIndexes }, deps),
    events: newReflector(
      { resource: coreEvents, fieldSelector: "involvedObject.kind=NodeClaim", indexes: eventIndexes },
      deps,
    ),
  };
}

/** Lets `dieAtWrite` writes through, the last of them without its answer. */
function mortal(writer: KubeWriter, dieAtWrite: number | undefined, died: () => void): KubeWriter {
  if (dieAtWrite === undefined) return writer;
  let writes = 0;
  const never = new Promise<never>(ignore);
  const guard = async <T>(write: () => Promise<T>): Promise<T> => {
    writes++;
    if (writes > dieAtWrite) return never;
    if (writes < dieAtWrite) return write();
    await write().catch(ignore);
    died();
    return never;
  };
  return {
    apply: (...args) => guard(() => writer.apply(...args)),
    create: (...args) => guard(() => writer.create(...args)),
    mergePatch: (...args) => guard(() => writer.mergePatch(...args)),
    remove: (...args) => guard(() => writer.remove(...args)),
  } as KubeWriter;
}

const defaults: PoolSettings = { nodeLostMs: 600_000, drainGraceMs: 600_000, staticCapacityTimeoutMs: 60_000 };

/** Starts the controllers once their caches are in sync. */
export async function startPoolOperator(options: OperatorOptions): Promise<PoolOperator> {
  const { cluster, ledger } = options;
  const settings = { ...defaults, ...options.settings };
  const log = testLog();
  const metrics = newRuntimeMetrics();
  const kubeconfig = cluster.kubeconfigFor(userIdentity(cluster, OPERATOR_USER, ["system:masters"]));
  const credentials = await loadCredentials({ kubeconfig }, process.env, clock);
  const transport = newTransport({ credentials, clock, log, metrics, userAgent: "berth-pool-test" });
  const feed = newWriteFeed();
  const kube = newKubeClient({ transport, feed });
  const caches = newCaches({ transport, clock, log, metrics, feed }, options.namespace);
  const reflectors: Reflector[] = Object.values(caches) as Reflector[];
  const { promise: died, resolve } = Promise.withResolvers<void>();
  const events: { about: string; reason: string; message: string }[] = [];
  const recorder: EventRecorder = {
    emit: (about, { reason, message }) => void events.push({ about: keyOf(about), reason, message }),
  };
  const stores = { nodes: caches.nodes.store, claims: caches.claims.store };
  const executor = newPlanExecutor({
    writer: mortal(kube, options.dieAtWrite, resolve),
    storeOf: <T extends KubeObject>(resource: Resource<T>) =>
      (resource.plural === nodeClaims.plural ? caches.nodeClaims.store : undefined) as Store<T> | undefined,
    events: recorder,
  });
  const graves = newGraves();
  caches.pools.onChange(({ type, object }) => type === "deleted" && graves.bury(object));
  const reconcile = newPoolReconciler({
    clock,
    reader: kube,
    stores: {
      pools: caches.pools.store,
      deployments: caches.deployments.store,
      claims: caches.claims.store as Store<CapacityClaim>,
      pods: caches.pods.store,
    },
    providers: {
      static: newStaticProvider({ ...stores, reader: kube, clock }),
      karpenter: newKarpenterProvider({
        ...stores,
        nodePools: caches.nodePools.store,
        nodeClaims: caches.nodeClaims.store,
        events: caches.events.store,
        installed: () => !caches.nodePools.absent,
      }),
    },
    executor,
    ledger,
    clusterId: "11111111-2222-3333-4444-555555555555",
    settings,
    graves,
    ...(options.sealedThroughMs && { sealedThroughMs: options.sealedThroughMs }),
    unproven: newUnproven({ registry: metrics.registry, log, events: recorder }),
  });
  const pools = newController(
    { name: "gpunodepool", concurrency: 8, reconcile, backoffBaseMs: 50 },
    { clock, log, metrics },
  );
  feedPoolController(pools, caches);
  const types = newController(
    {
      name: "nodetype",
      reconcile: newNodeTypeReconciler({
        clock,
        stores: { nodeTypes: caches.nodeTypes.store, pools: caches.pools.store, nodes: caches.nodes.store },
        karpenterInstalled: () => !caches.nodePools.absent,
        isCandidate,
        executor,
      }),
    },
    { clock, log, metrics },
  );
  feedNodeTypeController(types, caches);
  for (const reflector of reflectors) reflector.start();
  await Promise.all(reflectors.map(({ synced }) => synced));
  pools.start();
  types.start();
  return {
    died,
    caches,
    events,
    async stop() {
      const stopped = Promise.all([pools.stop(), types.stop()]);
      // A dead writer never answers: nobody waits for what hangs on it.
      await (options.dieAtWrite === undefined ? stopped : undefined);
      await Promise.all(reflectors.map((reflector) => reflector.stop()));
      await transport.close();
    },
  };
}
