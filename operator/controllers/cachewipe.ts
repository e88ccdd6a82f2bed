/**
 * Empties the caches of free static nodes that pools of other namespaces or node types need: which changes wake which node, what is read into the
 * snapshot, and the plan carried out. Runs only where the platform allows caches.
 */
import type { GPUNodePool } from "../api/gpunodepool.ts";
import { labels } from "../api/keys.ts";
import { nodes, pods } from "../api/kubernetes.ts";
import type { Namespace, Node, OpaqueSpec, Pod } from "../api/kubernetes.ts";
import { findCondition } from "../api/conditions.ts";
import { cacheOwnerOf, cacheUserOf, mayUseCache, persistentVolumeClaims } from "../api/nodecache.ts";
import type { CacheOwner } from "../api/nodecache.ts";
import { BY_FREE, BY_HUNGRY } from "../api/poolindexes.ts";
import { planWipe, wipePodName } from "../plan/pool/wipe.ts";
import type { WipePod, WipeSnapshot } from "../plan/pool/wipe.ts";
import type { KubeReader, Log, ObjectMeta, Outcome, Store } from "../ports.ts";
import { feedController } from "../runtime/controller.ts";
import type { Controller } from "../runtime/controller.ts";
import type { Reflector } from "../runtime/reflector.ts";
import type { PlanExecutor } from "./apply.ts";

export interface WipeDeps {
  readonly reader: KubeReader;
  readonly stores: {
    /** With `nodeIndexes`. */
    readonly nodes: Store<Node>;
    /** With `poolIndexes`. */
    readonly pools: Store<GPUNodePool>;
    /** Berth's own, slim. */
    readonly pods: Store<Pod>;
    readonly namespaces: Store<Namespace>;
    /** Berth's own. */
    readonly cacheClaims: Store<OpaqueSpec>;
  };
  /** Whether a free node may be claimed for the pool's type, its pods and its cache aside (the static provider's rule). */
  readonly isCandidate: (node: Node, pool: Pick<GPUNodePool["spec"], "template">) => boolean;
  readonly executor: PlanExecutor;
  /** Image of Berth. */
  readonly image: string;
}

/** Ready's reasons of a pool that looked for nodes and found too few. */
const SHORT = new Set(["OutOfStock", "ForeignPods"]);

/** `reconcile(name)` of a Node. */
export function newWipeReconciler(deps: WipeDeps): (key: string, log: Log) => Promise<Outcome> {
  return async function reconcile(key, log) {
    const seen = await observe(deps, key);
    if (!seen) return {};
    const plan = planWipe(seen);
    if (plan.steps.length > 0) log.info({ because: plan.because, node: key }, "planned");
    await deps.executor.write(plan.steps);
    deps.executor.emit(seen.node, nodes, plan);
    return plan.requeueAfterMs === undefined ? {} : { requeueAfterMs: plan.requeueAfterMs };
  };
}

async function observe(deps: WipeDeps, name: string): Promise<WipeSnapshot | undefined> {
  const { stores } = deps;
  const node = stores.nodes.get(undefined, name);
  const owner = node && cacheOwnerOf(node);
  if (!owner || owner === "unreadable") return undefined;
  const claimant = claimantOf(deps, node);
  const pod = await podOf(deps, node, owner.namespace);
  return Object.freeze({
    node,
    owner,
    namespaceUID: stores.namespaces.get(undefined, owner.namespace)?.metadata.uid,
    claimUID: await claimUIDOf(deps, owner, pod !== undefined),
    isWanted: claimant !== undefined,
    image: deps.image,
    gpuResource: claimant?.spec.template.gpu.resourceName ?? "nvidia.com/gpu",
    pod,
  });
}

/** Read whole and fresh where the cache has one: on its outcome hangs who may come onto the node. */
async function podOf({ stores, reader }: WipeDeps, node: Node, namespace: string): Promise<WipePod | undefined> {
  const name = wipePodName(node);
  if (!stores.pods.get(namespace, name)) return undefined;
  const { items } = await reader.list(pods, namespace, { fieldSelector: `metadata.name=${name}` });
  return items[0] as WipePod | undefined;
}

/** After the pod was read, fresh as well: a claim that is there now, under a name that one claim has at a time, is the one that the pod had. */
async function claimUIDOf(
  { stores, reader }: WipeDeps,
  owner: CacheOwner,
  isFresh: boolean,
): Promise<string | undefined> {
  const { namespace, claimName } = owner;
  if (!isFresh) return stores.cacheClaims.get(namespace, claimName)?.metadata.uid;
  const fieldSelector = `metadata.name=${claimName}`;
  const { items } = await reader.list(persistentVolumeClaims, namespace, { fieldSelector });
  return items[0]?.metadata.uid;
}

/** The pool that needs this very node: it is among the first so many with foreign models as the pool lacks nodes. */
function claimantOf({ stores, isCandidate }: WipeDeps, node: Node): GPUNodePool | undefined {
  return stores.pools.byIndex(BY_HUNGRY, "yes").find((pool) => {
    const { size, template } = pool.spec;
    if (!SHORT.has(findCondition(pool.status?.conditions, "Ready")?.reason ?? "")) return false;
    const user = cacheUserOf(pool.spec);
    const others = stores.nodes
      .byIndex(BY_FREE, "yes")
      .filter((other) => !mayUseCache(other, user) && isCandidate(other, { template }))
      .map(({ metadata }) => metadata.name)
      .sort();
    return others.slice(0, size - (pool.status?.claimed ?? 0)).includes(node.metadata.name);
  });
}

/** Names of the nodes whose models came through the claim. */
function nodesOf(nodeStore: Store<Node>, { namespace, name }: ObjectMeta): string[] {
  const isThrough = (owner: ReturnType<typeof cacheOwnerOf>): boolean =>
    owner !== undefined && owner !== "unreadable" && owner.namespace === namespace && owner.claimName === name;
  return nodeStore.list().flatMap((node) => (isThrough(cacheOwnerOf(node)) ? [node.metadata.name] : []));
}

/** Names of the free nodes that hold somebody's models. */
export function cachedNodeKeys({ nodes: all }: Pick<WipeDeps["stores"], "nodes">): string[] {
  const free = all.byIndex(BY_FREE, "yes");
  return free.filter((node) => cacheOwnerOf(node) !== undefined).map(({ metadata }) => metadata.name);
}

export function feedWipeController(
  controller: Pick<Controller, "add">,
  from: {
    readonly nodes: Reflector<Node>;
    readonly pools: Reflector<GPUNodePool>;
    readonly pods: Reflector<Pod>;
    readonly cacheClaims: Reflector<OpaqueSpec>;
  },
): void {
  const stores = { nodes: from.nodes.store };
  feedController(from.nodes, controller, ({ object, type }) =>
    type !== "deleted" && cacheOwnerOf(object) !== undefined ? [object.metadata.name] : [],
  );
  feedController(from.pools, controller, ({ object }) =>
    object.spec.template.provider.static ? cachedNodeKeys(stores) : [],
  );
  feedController(from.pods, controller, ({ object }) => {
    const uid = object.metadata.labels?.[labels.cacheWipe];
    const node = uid === undefined ? undefined : stores.nodes.byUid(uid);
    return node ? [node.metadata.name] : [];
  });
  feedController(from.cacheClaims, controller, ({ object, type }) =>
    type === "added" ? nodesOf(stores.nodes, object.metadata) : [],
  );
}
