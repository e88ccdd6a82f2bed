/** The controller of pools with its providers, put together from its parts. Part of the composition root. */
import { newKarpenterProvider } from "./adapters/providers/karpenter/provider.ts";
import { isCandidate, newStaticProvider } from "./adapters/providers/static/provider.ts";
import { CONCURRENCY, planExecutorOf, type LedgerOf } from "./assemble.ts";
import type { Caches } from "./caches.ts";
import type { OperatorConfig } from "./config.ts";
import type { FirstLook } from "./controllers/firstlook.ts";
import { newClosingRegister } from "./controllers/closingregister.ts";
import { newPoolReconciler } from "./controllers/gpunodepool.ts";
import { cachedNodeKeys, feedWipeController, newWipeReconciler } from "./controllers/cachewipe.ts";
import { newGraves } from "./controllers/graves.ts";
import { newUnseen } from "./controllers/unseen.ts";
import { feedPoolController } from "./controllers/poolkeys.ts";
import type { Base } from "./process.ts";
import { newController, type Controller } from "./runtime/controller.ts";
import { keyOf } from "./runtime/store.ts";

export function poolController(
  base: Base,
  caches: Caches,
  config: OperatorConfig,
  { ledger, clusterId, sealed, unproven }: LedgerOf,
  seen: FirstLook,
): Controller {
  const { pools, deployments, claims, pods, nodes, nodePools, nodeClaims, claimEvents } = caches;
  const graves = newGraves();
  // Before the controller's own feed: a pool that vanishes is known when its key is worked on.
  pools.onChange(({ type, object }) => type === "deleted" && graves.bury(object));
  const unseen = newUnseen(unproven);
  claims.onChange(unseen.claim);
  nodeClaims.onChange(unseen.nodeClaim);
  const reconcile = newPoolReconciler({
    clock: base.clock,
    reader: base.kube,
    stores: { pools: pools.store, deployments: deployments.store, claims: claims.store, pods: pods.store },
    providers: providersOf(base, caches),
    executor: planExecutorOf(base, caches),
    ledger,
    clusterId,
    register: newClosingRegister({ kube: base.kube, namespace: config.namespace }),
    settings: config,
    sealedThroughMs: sealed.ms,
    graves,
    unproven,
  });
  const resyncKeys = (): string[] => pools.store.list().map(keyOf);
  const controller = newController(
    { name: "gpunodepool", concurrency: CONCURRENCY, reconcile: seen.watch(reconcile), resyncKeys },
    base,
  );
  feedPoolController(controller, { pools, claims, nodes, pods, nodePools, nodeClaims, events: claimEvents });
  return controller;
}

function providersOf({ kube, clock }: Base, { nodes, claims, nodePools, nodeClaims, claimEvents }: Caches) {
  return {
    static: newStaticProvider({ nodes: nodes.store, claims: claims.store, reader: kube, clock }),
    karpenter: newKarpenterProvider({
      nodes: nodes.store,
      claims: claims.store,
      nodePools: nodePools.store,
      nodeClaims: nodeClaims.store,
      events: claimEvents.store,
      installed: () => !nodePools.absent,
    }),
  };
}

/** Where the platform allows caches on nodes. */
export function wipeController(base: Base, caches: Caches, { berthImage }: OperatorConfig): Controller | undefined {
  const { nodes, pools, pods, namespaces, cacheClaims } = caches;
  if (!cacheClaims) return undefined;
  const owned = { namespaces: namespaces.store, cacheClaims: cacheClaims.store };
  const stores = { nodes: nodes.store, pools: pools.store, pods: pods.store, ...owned };
  const deps = { reader: base.kube, stores, isCandidate, executor: planExecutorOf(base, caches), image: berthImage };
  const controller = newController(
    { name: "cachewipe", reconcile: newWipeReconciler(deps), resyncKeys: () => cachedNodeKeys(stores) },
    base,
  );
  feedWipeController(controller, { nodes, pools, pods, cacheClaims });
  return controller;
}
