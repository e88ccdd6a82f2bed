// Watches the cluster beside Berth and writes down when nodes came and went and which sizes were wanted, by the evidence
// that docs/metering.md names. Whatever must never be seen, not even for a moment, is a complaint.
import { apiPath } from "../cluster/client.ts";
import type { KubeObject } from "../cluster/client.ts";
import type { Cluster } from "../cluster/cluster.ts";
import { eventually } from "../cluster/eventually.ts";
import type { Held, PoolSeen, Seen, Wanted } from "./count.ts";
import { API, POOL_LABEL } from "./stage.ts";

const paths = {
  nodes: "/api/v1/nodes",
  nodeClaims: apiPath("karpenter.sh/v1", "nodeclaims"),
  nodePools: apiPath("karpenter.sh/v1", "nodepools"),
  pools: apiPath(API, "gpunodepools"),
  deployments: apiPath(API, "modeldeployments"),
  claims: apiPath(API, "capacityclaims"),
} as const;
type Kind = keyof typeof paths;

/** A change of a static node's owner, for comparison with the audit log. */
export interface Handover {
  readonly node: string;
  readonly second: number;
}

export interface Observer {
  /** Returns when everything that the API server holds now has been seen. */
  catchUp(): Promise<void>;
  seen(): Seen;
  readonly handovers: readonly Handover[];
  /** Deployment UID → name. */
  readonly names: ReadonlyMap<string, string>;
  readonly complaints: readonly string[];
  stop(): void;
}

const secondOf = (instant: string): number => Math.floor(Date.parse(instant) / 1000);
const uidOf = ({ metadata }: KubeObject): string => metadata.uid ?? "";
const writtenBy = (object: KubeObject, manager: string): number | undefined => {
  const time = object.metadata.managedFields?.find((entry) => entry.manager === manager)?.time;
  return time === undefined ? undefined : secondOf(time);
};

interface OpenPool {
  deployment: string;
  sizes: Wanted[];
  deletedAt: number | undefined;
}

class Notes {
  readonly live = new Map<string, string>();
  readonly handovers: Handover[] = [];
  readonly names = new Map<string, string>();
  readonly deletions = new Map<string, number>();
  readonly complaints: string[] = [];
  readonly #static: { node: string; pool: string; start: number; end: number | undefined }[] = [];
  readonly #bought = new Map<string, Held>();
  readonly #pools = new Map<string, OpenPool>();
  readonly #ordersByPool = new Map<string, string>();
  readonly #openClaims = new Map<string, string>();

  take(kind: Kind, type: string, object: KubeObject): void {
    const uid = uidOf(object);
    if (type === "DELETED") this.live.delete(`${kind}/${uid}`);
    else this.live.set(`${kind}/${uid}`, object.metadata.resourceVersion ?? "");
    this[kind](object, type === "DELETED");
  }

  nodes(node: KubeObject, gone: boolean): void {
    const { name = "", labels = {} } = node.metadata;
    if (labels["karpenter.sh/nodepool"] !== undefined) return;
    const open = this.#static.find((entry) => entry.node === name && entry.end === undefined);
    const pool = gone ? undefined : labels[POOL_LABEL];
    if (open?.pool === pool) return;
    const second = writtenBy(node, "berth-claim");
    if (second === undefined || gone) return void this.complaints.push(`node ${name} changed hands without evidence`);
    this.handovers.push({ node: name, second });
    if (open && pool) this.complaints.push(`node ${name} went from pool ${open.pool} to ${pool} in one write`);
    if (open) open.end = second;
    if (pool) this.#static.push({ node: name, pool, start: second, end: undefined });
  }

  nodeClaims(claim: KubeObject): void {
    const pool = claim.metadata.labels?.[POOL_LABEL];
    const conditions = (claim.status?.["conditions"] ?? []) as Record<string, string>[];
    const at = (wanted: string): number | undefined => {
      const found = conditions.find((one) => one["type"] === wanted && one["status"] === "True");
      return found?.["lastTransitionTime"] === undefined ? undefined : secondOf(found["lastTransitionTime"]);
    };
    const start = at("Launched");
    if (pool === undefined || start === undefined) return;
    const { deletionTimestamp, finalizers = [] } = claim.metadata;
    const withoutInstance = deletionTimestamp !== undefined && finalizers.every((one) => one.startsWith("berth.dev/"));
    const end = at("InstanceTerminating") ?? (withoutInstance ? secondOf(deletionTimestamp) : undefined);
    this.#bought.set(uidOf(claim), { pool, start, end: deletionTimestamp === undefined ? undefined : end });
  }

  nodePools(order: KubeObject): void {
    const pool = order.metadata.labels?.["berth.dev/pool-uid"] ?? "";
    const first = this.#ordersByPool.get(pool) ?? uidOf(order);
    if (first !== uidOf(order)) this.complaints.push(`pool ${pool} ordered twice`);
    this.#ordersByPool.set(pool, first);
  }

  pools(pool: KubeObject): void {
    const spec = pool.spec as { size: number; deploymentRef: { uid: string } };
    const since = writtenBy(pool, "berth-size");
    const known: OpenPool = this.#pools.get(uidOf(pool)) ?? {
      deployment: spec.deploymentRef.uid,
      sizes: [],
      deletedAt: undefined,
    };
    const twin = [...this.#pools].some(
      ([uid, { deployment }]) => deployment === known.deployment && uid !== uidOf(pool),
    );
    if (twin) this.complaints.push(`deployment ${known.deployment} has two pools`);
    this.#pools.set(uidOf(pool), known);
    if (pool.metadata.deletionTimestamp) known.deletedAt = secondOf(pool.metadata.deletionTimestamp);
    if (since === undefined) return void this.complaints.push(`pool ${uidOf(pool)} has a size that nobody wrote`);
    const last = known.sizes.at(-1);
    if (last?.size !== spec.size || last.since !== since) known.sizes.push({ since, size: spec.size });
  }

  deployments(deployment: KubeObject): void {
    const { name = "", deletionTimestamp } = deployment.metadata;
    this.names.set(uidOf(deployment), name);
    if (deletionTimestamp !== undefined) this.deletions.set(uidOf(deployment), secondOf(deletionTimestamp));
  }

  /** One node is on record for one pool at a time. */
  claims(claim: KubeObject, gone: boolean): void {
    const { uid = "" } = (claim.spec as { providerRef?: { uid?: string } }).providerRef ?? {};
    const { name = "" } = claim.metadata;
    const { claimedAt, releasedAt } = (claim.status ?? {}) as { claimedAt?: object; releasedAt?: object };
    const holder = this.#openClaims.get(uid);
    if (claimedAt && !releasedAt && !gone) {
      if (holder !== undefined && holder !== name) this.complaints.push(`claims ${holder} and ${name} overlap`);
      this.#openClaims.set(uid, name);
    } else if (holder === name) this.#openClaims.delete(uid);
    if (gone && claimedAt && !releasedAt) this.complaints.push(`claim ${name} was removed while its node was held`);
  }

  seen(): Seen {
    const held = [...this.#static, ...this.#bought.values()];
    const pools = [...this.#pools].map(([uid, pool]): PoolSeen => ({ uid, ...pool }));
    return { held, pools, deletions: this.deletions };
  }
}

/** Begins to observe; nothing of Berth's may be there yet. Every later version of every object is seen. */
export async function observe(cluster: Cluster): Promise<Observer> {
  const notes = new Notes();
  const stop = new AbortController();
  const follow = async (kind: Kind, resourceVersion: string): Promise<void> => {
    try {
      const from = `${paths[kind]}?resourceVersion=${resourceVersion}&timeoutSeconds=86400`;
      for await (const { type, object } of cluster.admin.watch(from, stop.signal)) notes.take(kind, type, object);
    } catch (error) {
      if (!stop.signal.aborted) notes.complaints.push(`the observer's watch broke: ${String(error)}`);
    }
    if (!stop.signal.aborted) notes.complaints.push(`the observer's watch of ${kind} ended`);
  };
  for (const kind of Object.keys(paths) as Kind[]) {
    const { items, metadata } = await cluster.admin.list(paths[kind]);
    for (const object of items) notes.take(kind, "ADDED", object);
    void follow(kind, metadata.resourceVersion);
  }
  return {
    handovers: notes.handovers,
    names: notes.names,
    complaints: notes.complaints,
    seen: () => notes.seen(),
    catchUp: () => catchUp(cluster, notes),
    stop: () => stop.abort(),
  };
}

/** Node heartbeats aside, the observer's newest versions are those of a fresh list. */
async function catchUp(cluster: Cluster, notes: Notes): Promise<void> {
  await eventually(
    async () => {
      const wanted = new Map<string, string>();
      for (const kind of Object.keys(paths) as Kind[])
        for (const object of (await cluster.admin.list(paths[kind])).items)
          wanted.set(`${kind}/${uidOf(object)}`, object.metadata.resourceVersion ?? "");
      return wanted.size === notes.live.size && [...wanted].every(([key, version]) => notes.live.get(key) === version);
    },
    { what: "the observer has seen everything", logDir: cluster.logDir },
  );
}
