/** Which pools an event concerns: the watches of the pool controller. */
import type { CapacityClaim } from "../api/capacityclaim.ts";
import type { GPUNodePool } from "../api/gpunodepool.ts";
import { nodePoolOf } from "../api/karpenter.ts";
import type { CoreEvent, NodeClaim, NodePool } from "../api/karpenter.ts";
import { annotations, labels, taints } from "../api/keys.ts";
import { sealedEndOf } from "../api/lastclaim.ts";
import { BY_HOLDER, BY_HUNGRY } from "../api/poolindexes.ts";
import type { Node, Pod } from "../api/kubernetes.ts";
import type { KubeObject, Store } from "../ports.ts";
import { feedController } from "../runtime/controller.ts";
import type { Controller } from "../runtime/controller.ts";
import type { Reflector } from "../runtime/reflector.ts";
import type { Change } from "../runtime/store.ts";
import { keyOf } from "../runtime/store.ts";

const SWEPT = "uid:";

/** Pool UID in the key of a vanished pool; undefined for the key of a pool. */
export function sweptUID(key: string): string | undefined {
  return key.startsWith(SWEPT) ? key.slice(SWEPT.length) : undefined;
}

export interface PoolWatches {
  readonly pools: Reflector<GPUNodePool>;
  readonly claims: Reflector<CapacityClaim>;
  readonly nodes: Reflector<Node>;
  readonly pods: Reflector<Pod>;
  readonly nodePools: Reflector<NodePool>;
  readonly nodeClaims: Reflector<NodeClaim>;
  readonly events: Reflector<CoreEvent>;
}

/** Connects the caches with the controller's queue. Call it before the reflectors start. */
export function feedPoolController(controller: Pick<Controller, "add">, watches: PoolWatches): void {
  const pools = watches.pools.store;
  const of = (...uids: readonly (string | undefined)[]): string[] => keysOf(pools, uids);
  feedController(watches.pools, controller, ({ type, object }) =>
    type === "deleted" ? of(object.metadata.uid) : [keyOf(object)],
  );
  feedController(watches.claims, controller, ({ object }) => of(object.spec.poolUID));
  feedController(watches.nodes, controller, (change) => nodeKeys(watches, change));
  feedController(watches.pods, controller, (change) =>
    bindingChanged(change) ? of(labelOf(change.object, labels.poolUID)) : [],
  );
  feedController(watches.nodePools, controller, ({ object }) => of(labelOf(object, labels.poolUID)));
  feedController(watches.nodeClaims, controller, ({ object }) => of(labelOf(object, labels.pool)));
  feedController(watches.events, controller, ({ type, object }) =>
    type === "deleted" ? [] : of(nodePoolOf(object.involvedObject?.name ?? "")),
  );
}

function keysOf(pools: Store<GPUNodePool>, uids: readonly (string | undefined)[]): string[] {
  const known = new Set(uids.filter((uid) => uid !== undefined && uid !== ""));
  return [...known].map((uid) => {
    const pool = pools.byUid(uid ?? "");
    return pool ? keyOf(pool) : `${SWEPT}${uid}`;
  });
}

function nodeKeys(watches: PoolWatches, { type, object, old }: Change<Node>): string[] {
  const pools = watches.pools.store;
  const holders = watches.claims.store.byIndex(BY_HOLDER, object.metadata.uid ?? "");
  const concerned = [
    labelOf(object, labels.pool),
    old && labelOf(old, labels.pool),
    ...holders.filter((claim) => !claim.status?.releasedAt || sealedEndOf(claim)).map(({ spec }) => spec.poolUID),
  ];
  const freed = type !== "deleted" && usable(object) && !(old && usable(old) && sameOffer(old, object));
  const hungry = freed ? pools.byIndex(BY_HUNGRY, "yes").map(keyOf) : [];
  return [...keysOf(pools, concerned), ...hungry];
}

function labelOf({ metadata }: KubeObject, label: string): string | undefined {
  return metadata.labels?.[label];
}

/** A static pool might take it, as far as the node itself tells. */
function usable({ metadata, spec, status }: Node): boolean {
  const dedicated = (spec?.taints ?? []).some((taint) => taint.key === taints.dedicated);
  const ready = status?.conditions?.some(({ type, status: value }) => type === "Ready" && value === "True") ?? false;
  return ready && !dedicated && !spec?.unschedulable && metadata.labels?.[labels.pool] === undefined;
}

function sameOffer(a: Node, b: Node): boolean {
  const facts = ({ metadata, spec, status }: Node): string =>
    JSON.stringify([
      metadata.labels,
      metadata.annotations?.[annotations.cacheOwner],
      spec?.taints,
      status?.allocatable,
    ]);
  return facts(a) === facts(b);
}

/** Readiness of a pod says nothing to its pool; where it is and whether it still is does. */
function bindingChanged({ type, object, old }: Change<Pod>): boolean {
  if (type !== "updated" || !old) return true;
  return old.spec?.nodeName !== object.spec?.nodeName || old.status?.phase !== object.status?.phase;
}
