/** Controller of NodeTypes: keeps their status, at most one write per type in a few seconds however many pools converge. */
import { nodeTypes } from "../api/resources.ts";
import type { GPUNodePool } from "../api/gpunodepool.ts";
import { labels } from "../api/keys.ts";
import type { Node } from "../api/kubernetes.ts";
import type { NodeType } from "../api/nodetype.ts";
import { BY_FREE, BY_NODE_TYPE } from "../api/poolindexes.ts";
import { nodeTypeStatus } from "../plan/nodetype.ts";
import type { NodeTypeSnapshot } from "../plan/nodetype.ts";
import type { CapacityQuery, Clock, Log, Outcome, Store } from "../ports.ts";
import { feedController } from "../runtime/controller.ts";
import type { Controller } from "../runtime/controller.ts";
import type { Reflector } from "../runtime/reflector.ts";
import type { PlanExecutor } from "./apply.ts";

export interface NodeTypeDeps {
  readonly clock: Clock;
  readonly stores: {
    readonly nodeTypes: Store<NodeType>;
    /** With `poolIndexes`. */
    readonly pools: Store<GPUNodePool>;
    /** With `nodeIndexes`. */
    readonly nodes: Store<Node>;
  };
  readonly karpenterInstalled: () => boolean;
  /** Whether a free node may be claimed for the type, its pods aside (the static provider's rule). */
  readonly isCandidate: (node: Node, query: Pick<CapacityQuery, "template">) => boolean;
  readonly executor: PlanExecutor;
}

/** Changes of pools and nodes are gathered for so long before the type's status is looked at. */
const GATHER_MS = 3_000;

/** `reconcile(name)` of a NodeType. */
export function newNodeTypeReconciler(deps: NodeTypeDeps): (key: string, log: Log) => Promise<Outcome> {
  const writtenAtMs = new Map<string, number>();
  return async function reconcile(key) {
    const nodeType = deps.stores.nodeTypes.get(undefined, key);
    if (!nodeType) {
      writtenAtMs.delete(key);
      return {};
    }
    const sinceMs = deps.clock.monotonicMs() - (writtenAtMs.get(key) ?? Number.NEGATIVE_INFINITY);
    const current = nodeType.status?.observedGeneration === nodeType.metadata.generation;
    if (current && sinceMs < GATHER_MS) return { requeueAfterMs: Math.ceil(GATHER_MS - sinceMs) };
    const wrote = await deps.executor.status(nodeTypes, nodeType, nodeTypeStatus(observe(deps, nodeType)));
    if (wrote) writtenAtMs.set(key, deps.clock.monotonicMs());
    return {};
  };
}

function observe(
  { clock, stores, isCandidate, karpenterInstalled }: NodeTypeDeps,
  nodeType: NodeType,
): NodeTypeSnapshot {
  const { gpu, provider } = nodeType.spec;
  const template = { gpu, provider };
  const selector = Object.entries(provider.static?.nodeSelector ?? {});
  const matches = (node: Node): boolean => selector.every(([key, value]) => node.metadata.labels?.[key] === value);
  const nodes = provider.static && {
    matching: stores.nodes.list().filter(matches).length,
    free: stores.nodes.byIndex(BY_FREE, "yes").filter((node) => isCandidate(node, { template })).length,
  };
  return Object.freeze({
    now: clock.now(),
    nodeType,
    pools: stores.pools.byIndex(BY_NODE_TYPE, nodeType.metadata.name),
    ...(nodes && { nodes }),
    providerInstalled: provider.static !== undefined || karpenterInstalled(),
  });
}

export interface NodeTypeWatches {
  readonly nodeTypes: Reflector<NodeType>;
  readonly pools: Reflector<GPUNodePool>;
  readonly nodes: Reflector<Node>;
}

/** Connects the caches with the controller's queue. Call it before the reflectors start. */
export function feedNodeTypeController(controller: Pick<Controller, "add">, watches: NodeTypeWatches): void {
  const gathered = () => ({ delayMs: GATHER_MS });
  feedController(watches.nodeTypes, controller, ({ object, old }) =>
    old &&
    old.metadata.generation === object.metadata.generation &&
    old.metadata.deletionTimestamp === object.metadata.deletionTimestamp &&
    sameStatus(old, object)
      ? []
      : [object.metadata.name],
  );
  feedController(watches.pools, controller, ({ object }) => [object.spec.nodeType], gathered);
  feedController(
    watches.nodes,
    controller,
    ({ object, old, type }) => (type === "updated" && old && sameUse(old, object) ? [] : typesOf(watches, object, old)),
    gathered,
  );
}

function typesOf({ nodeTypes: types }: NodeTypeWatches, ...nodes: readonly (Node | undefined)[]): string[] {
  return types.store
    .list()
    .filter(({ spec }) => {
      const selector = Object.entries(spec.provider.static?.nodeSelector ?? {});
      const matches = (node: Node | undefined): boolean =>
        node !== undefined &&
        selector.length > 0 &&
        selector.every(([key, value]) => node.metadata.labels?.[key] === value);
      return nodes.some(matches);
    })
    .map(({ metadata }) => metadata.name);
}

/** Nothing that stock is counted from differs. */
function sameUse(a: Node, b: Node): boolean {
  const facts = ({ metadata, spec, status }: Node): string =>
    JSON.stringify([
      metadata.labels,
      metadata.labels?.[labels.pool],
      spec?.taints,
      spec?.unschedulable,
      status?.allocatable,
      status?.conditions?.find(({ type }) => type === "Ready")?.status,
    ]);
  return facts(a) === facts(b);
}

function sameStatus(a: NodeType, b: NodeType): boolean {
  return JSON.stringify(a.status) === JSON.stringify(b.status);
}
