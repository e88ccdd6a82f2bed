/** Nodes that the platform already has. */
import type { CapacityClaim } from "../../../api/capacityclaim.ts";
import { labels } from "../../../api/keys.ts";
import { pods } from "../../../api/kubernetes.ts";
import type { Node, Pod } from "../../../api/kubernetes.ts";
import { lastClaimOf, sequenceOf, staticClaimName } from "../../../api/lastclaim.ts";
import type {
  CapacityObstacle,
  CapacityOffer,
  CapacityProvider,
  CapacityQuery,
  CapacityUnit,
  Clock,
  KubeReader,
  Store,
} from "../../../ports.ts";
import { mayUseCache } from "../../../api/nodecache.ts";
import { BY_FREE, BY_HOLDER, BY_LAST_POOL, BY_POOL } from "../../../api/poolindexes.ts";
import { healthOf } from "../node.ts";
import { proofOfLife } from "./proof.ts";
import { releaseTime, unitOfClaim, unitOfForgotten, unitOfLabel } from "./units.ts";

export interface StaticDeps {
  /** All nodes, with `nodeIndexes`, keeping manager `berth-claim` in managedFields. */
  readonly nodes: Store<Node>;
  /** With `claimIndexes`. */
  readonly claims: Store<CapacityClaim>;
  readonly reader: KubeReader;
  readonly clock: Clock;
}

/** How long a look at a node's foreign pods is good for; it only decides when to look again. */
const FOREIGN_PODS_TTL_MS = 10_000;

interface Look {
  readonly atMs: number;
  readonly foreign: readonly Pod[];
}

/** Node name → pool UID of whoever is about to claim it, in this process. */
type Reservations = Map<string, string>;

export function newStaticProvider(deps: StaticDeps): CapacityProvider {
  const reserved: Reservations = new Map();
  const looks = new Map<string, Look>();
  return {
    name: "static",
    observe: async (query) => ({ provider: "static", units: await observeUnits(deps, query) }),
    offers: (query, count) => findOffers({ deps, reserved, looks }, query, count),
    settle(poolUID) {
      for (const [node, holder] of reserved) if (holder === poolUID) reserved.delete(node);
    },
  };
}

async function observeUnits(deps: StaticDeps, query: CapacityQuery): Promise<readonly CapacityUnit[]> {
  const claims = deps.claims.byIndex(BY_POOL, query.poolUID);
  const open = claims.filter((claim) => !claim.status?.releasedAt);
  const ended = new Set(claims.filter((claim) => claim.status?.releasedAt).map((claim) => claim.metadata.name));
  const units = open.map((claim) => unitOfClaim(claim, deps.nodes.byUid(claim.spec.providerRef.uid), query));
  const known = new Set(units.map((unit) => unit.ref.uid));
  const labelled = deps.nodes
    .byIndex(BY_POOL, query.poolUID)
    .filter((node) => !known.has(node.metadata.uid ?? ""))
    .map((node) => unitOfLabel(node, query, ended));
  return Promise.all([...units, ...labelled, ...forgotten(deps, query)].map((unit) => withProof(deps, query, unit)));
}

/** Given back, not sealed yet, and without a record: somebody removed the claim by force. */
function forgotten(deps: StaticDeps, query: CapacityQuery): readonly CapacityUnit[] {
  if (!query.template) return [];
  const sealed = query.sealedThroughMs ?? -Infinity;
  return deps.nodes.byIndex(BY_LAST_POOL, query.poolUID).flatMap((node) => {
    const unit = unitOfForgotten(node);
    const owed = unit?.releasedAt && Date.parse(unit.releasedAt.time) > sealed;
    return unit && owed && !deps.claims.get(undefined, unit.claimName) ? [unit] : [];
  });
}

/** Nodes that died or vanished end at their last proof of life. */
async function withProof(deps: StaticDeps, query: CapacityQuery, unit: CapacityUnit): Promise<CapacityUnit> {
  const claim = deps.claims.get(undefined, unit.claimName);
  const vanished = unit.state === "ended" && unit.claimedAt && !unit.releasedAt && !claim?.status?.releasedAt;
  const dead = unit.state === "held" && query.now - (unit.unreadySince ?? query.now) >= query.nodeLostMs;
  if (!vanished && !dead) return unit;
  const proof = (await proofOfLife(deps.reader, unit.ref, claim)) ?? { ...(unit.claimedAt ?? never), estimated: true };
  return vanished ? { ...unit, releasedAt: proof } : { ...unit, proofOfLife: proof };
}

const never = { time: "1970-01-01T00:00:00Z", evidence: "nothing is known of this node" };

interface Search {
  readonly deps: StaticDeps;
  readonly reserved: Reservations;
  readonly looks: Map<string, Look>;
}

/** Free nodes of the type in the order of their names, each reserved before anything is awaited for it. */
async function findOffers(
  search: Search,
  query: CapacityQuery,
  count: number,
): Promise<{ offers: readonly CapacityOffer[]; obstacle?: CapacityObstacle }> {
  const { reserved } = search;
  const offers: CapacityOffer[] = [];
  const occupied: string[] = [];
  for (const node of candidates(search, query)) {
    if (offers.length >= count) break;
    const { name } = node.metadata;
    if (reserved.has(name)) continue;
    reserved.set(name, query.poolUID);
    const foreign = await foreignPods(search, query, node);
    if (foreign.length > 0) {
      reserved.delete(name);
      occupied.push(`node ${name} runs ${listed(foreign)}`);
    } else offers.push(offerOf(search, query, node));
  }
  if (offers.length >= count) return { offers };
  return { offers, obstacle: occupied.length > 0 ? foreignObstacle(occupied) : outOfStock(search, query) };
}

/** Those first that a claim of this pool names already. Each is looked at only when it is asked for. */
function* candidates(search: Search, query: CapacityQuery): Generator<Node> {
  const { deps } = search;
  const own = deps.claims.byIndex(BY_POOL, query.poolUID).filter(({ status }) => !status?.releasedAt);
  const recorded = new Set(own.map(({ spec }) => spec.providerRef.uid));
  const isRecorded = ({ metadata }: Node): boolean => recorded.has(metadata.uid ?? "");
  const free = deps.nodes.byIndex(BY_FREE, "yes");
  for (const group of [free.filter(isRecorded), free.filter((node) => !isRecorded(node))]) {
    for (const node of byName(group, ({ metadata }) => search.reserved.has(metadata.name))) {
      const mine = holders(deps, node).every((claim) => claim.spec.poolUID === query.poolUID);
      if (mine && mayUseCache(node, query) && isCandidate(node, query)) yield node;
    }
  }
}

/** In the order of names, without sorting a thousand nodes for the one or two that are taken of them. */
function* byName(nodes: readonly Node[], skip: (node: Node) => boolean): Generator<Node> {
  for (let last = ""; ;) {
    let next: Node | undefined;
    for (const node of nodes) {
      const { name } = node.metadata;
      if (name > last && (!next || name < next.metadata.name) && !skip(node)) next = node;
    }
    if (!next) return;
    last = next.metadata.name;
    yield next;
  }
}

function holders({ claims }: StaticDeps, node: Node): readonly CapacityClaim[] {
  return claims.byIndex(BY_HOLDER, node.metadata.uid ?? "").filter(({ status }) => !status?.releasedAt);
}

/** One more than any claim of the node that is known: its annotation may have been erased by hand. */
function nextSequence({ claims }: StaticDeps, node: Node): number {
  const recorded = claims.byIndex(BY_HOLDER, node.metadata.uid ?? "").map(({ metadata }) => sequenceOf(metadata.name));
  return Math.max(lastClaimOf(node)?.sequence ?? 0, ...recorded) + 1;
}

/** Latest end of any claim of the node that is known. */
function lastEnd({ claims }: StaticDeps, node: Node): string | undefined {
  const recorded = claims.byIndex(BY_HOLDER, node.metadata.uid ?? "").map(({ status }) => status?.releasedAt?.time);
  return [releaseTime(node), ...recorded]
    .filter((time) => time !== undefined)
    .sort((a, b) => Date.parse(a) - Date.parse(b))
    .at(-1);
}

/** A node of the type: its labels match; whether it can be had is another question. */
function matches(node: Node, { template }: Pick<CapacityQuery, "template">): boolean {
  const selector = Object.entries(template?.provider.static?.nodeSelector ?? {});
  return selector.length > 0 && selector.every(([key, value]) => node.metadata.labels?.[key] === value);
}

/** Taints by which Kubernetes itself says that the node is coming, going or unwell; their removal is a write to the node, too. */
const IN_TRANSITION = /^node\.(cloudprovider\.)?kubernetes\.io\//;

/** Whether a free node of the cache may be claimed now, its pods aside. */
export function isCandidate(node: Node, query: Pick<CapacityQuery, "template">): boolean {
  return (
    matches(node, query) &&
    !node.metadata.deletionTimestamp &&
    !node.spec?.unschedulable &&
    !(node.spec?.taints ?? []).some(({ key }) => IN_TRANSITION.test(key)) &&
    healthOf(node, query.template?.gpu).ready
  );
}

function offerOf({ deps }: Search, query: CapacityQuery, node: Node): CapacityOffer {
  const { name, uid = "" } = node.metadata;
  const own = holders(deps, node).find((claim) => claim.spec.poolUID === query.poolUID);
  const sequence = own ? sequenceOf(own.metadata.name) : nextSequence(deps, node);
  const notBefore = lastEnd(deps, node);
  return {
    claimName: own?.metadata.name ?? staticClaimName(uid, sequence),
    sequence,
    recorded: own !== undefined,
    ...(notBefore !== undefined && { notBefore }),
    ref: { provider: "static", kind: "Node", name, uid },
    object: node,
  };
}

/** Pods that hold the node's resources and would stay: not those of DaemonSets, not static ones, not finished ones. */
async function foreignPods(search: Search, { poolUID }: CapacityQuery, node: Node): Promise<readonly string[]> {
  // The pool's own may still be there, where its claim ended and the node did not.
  const others = (await residentPods(search, node)).filter(
    ({ metadata }) => metadata.labels?.[labels.poolUID] !== poolUID,
  );
  return others.map(({ metadata }) => `${metadata.namespace}/${metadata.name}`);
}

async function residentPods({ deps, looks }: Search, node: Node): Promise<readonly Pod[]> {
  const { name } = node.metadata;
  const last = looks.get(name);
  if (last && deps.clock.now() - last.atMs < FOREIGN_PODS_TTL_MS) return last.foreign;
  const { items } = await deps.reader.list(pods, undefined, { fieldSelector: `spec.nodeName=${name}` });
  const foreign = items.filter(isForeign);
  if (foreign.length > 0) looks.set(name, { atMs: deps.clock.now(), foreign });
  else looks.delete(name);
  return foreign;
}

/** Mirror pods carry the annotation of the static pod that they show; their owner is the Node. */
function isForeign({ metadata, status }: Pod): boolean {
  const finished = status?.phase === "Succeeded" || status?.phase === "Failed";
  const mirror = metadata.annotations?.["kubernetes.io/config.mirror"] !== undefined;
  const owners = metadata.ownerReferences ?? [];
  return !finished && !mirror && !owners.some(({ kind }) => kind === "DaemonSet" || kind === "Node");
}

function listed(names: readonly string[]): string {
  const shown = names.slice(0, 3).join(", ");
  return names.length > 3 ? `${shown} and ${names.length - 3} more pods` : `pod ${shown}`;
}

function foreignObstacle(occupied: readonly string[]): CapacityObstacle {
  const more = occupied.length > 3 ? `; ${occupied.length - 3} more nodes` : "";
  const message = `the free nodes run pods of others, which have to leave first: ${occupied.slice(0, 3).join("; ")}${more}`;
  return { reason: "ForeignPods", message };
}

function outOfStock({ deps, reserved }: Search, query: CapacityQuery): CapacityObstacle {
  const all = deps.nodes.list().filter((node) => matches(node, query));
  const free = deps.nodes.byIndex(BY_FREE, "yes").filter((node) => matches(node, query));
  const cordoned = free.filter((node) => node.spec?.unschedulable);
  const unwell = free.filter((node) => !node.spec?.unschedulable && !isCandidate(node, query));
  const cached = free.filter((node) => isCandidate(node, query) && !mayUseCache(node, query));
  const facts = [
    `${all.length} nodes match the node type`,
    `${all.length - free.length} are claimed`,
    ...(unwell.length > 0 ? [`${unwell.length} are not ready with all GPUs (${names(unwell)})`] : []),
    ...(cached.length > 0
      ? [`${cached.length} keep models of another namespace or node type until they are wiped (${names(cached)})`]
      : []),
    ...(cordoned.length > 0 ? [`${cordoned.length} are cordoned (${names(cordoned)})`] : []),
    ...(reserved.size > 0 && free.length > unwell.length + cordoned.length + cached.length
      ? ["the others are being claimed"]
      : []),
  ];
  return { reason: "OutOfStock", message: `no free node: ${facts.join(", ")}` };
}

function names(list: readonly Node[]): string {
  const sorted = list.map((node) => node.metadata.name).sort();
  return sorted.length > 3 ? `${sorted.slice(0, 3).join(", ")} …` : sorted.join(", ");
}
