// Which node belongs to which pool, seen from outside: a watch on the Nodes, whose own record of the last claim (time of
// its field manager, written by the API server) and whose label are read, and nothing that Berth says about it.
import { annotations, fieldManagers, labels } from "../../operator/api/keys.ts";
import { apiPath } from "../cluster/client.ts";
import type { KubeObject } from "../cluster/client.ts";
import type { Cluster } from "../cluster/cluster.ts";

/** One node's time in one pool; seconds since the epoch by the API server's clock, and by ours for comparison. */
export interface Held {
  readonly node: string;
  readonly pool: string;
  readonly from: number;
  to?: number;
  readonly seenFrom: number;
  seenTo?: number;
  /** Where the node died: its last sign of life, which is later learnt to be the end. */
  endedAt?: number;
}

export interface ClaimWatch {
  readonly held: readonly Held[];
  /** The node's last claim ended at this second: when it is released, nobody lives there any more. */
  endAt(node: string, second: number): void;
  stop(): void;
}

export function watchClaims(cluster: Cluster): ClaimWatch {
  const held: Held[] = [];
  const ended = new AbortController();
  void follow(cluster, held, ended.signal);
  return {
    held,
    endAt(node, second) {
      const last = held.findLast((entry) => entry.node === node);
      if (last) Object.assign(last, { endedAt: second, to: second });
    },
    stop: () => ended.abort(),
  };
}

/** The API server is restarted on the way: list and watch again until told to stop. */
async function follow({ admin }: Cluster, held: Held[], signal: AbortSignal): Promise<void> {
  const path = apiPath("v1", "nodes");
  while (!signal.aborted) {
    try {
      const list = await admin.list<KubeObject>(path);
      for (const node of list.items) note(held, node);
      const version = list.metadata?.resourceVersion ?? "";
      for await (const { type, object } of admin.watch<KubeObject>(`${path}?resourceVersion=${version}`, signal)) {
        if (type !== "ERROR" && type !== "DELETED") note(held, object);
        if (type === "ERROR") break;
      }
    } catch {
      // Tried again below.
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

function note(held: Held[], node: KubeObject): void {
  const { name = "" } = node.metadata;
  const pool = node.metadata.labels?.[labels.pool];
  const open = held.find((entry) => entry.node === name && entry.to === undefined);
  if (open?.pool === pool) return;
  const at = claimTime(node);
  const now = Math.floor(Date.now() / 1000);
  if (open) Object.assign(open, { to: open.endedAt ?? at ?? now, seenTo: now });
  const claimed = node.metadata.annotations?.[annotations.lastClaim] !== undefined;
  const known = held.some((entry) => entry.node === name && entry.from === at);
  if (pool !== undefined && claimed && at !== undefined && !known)
    held.push({ node: name, pool, from: at, seenFrom: now });
}

function claimTime({ metadata }: KubeObject): number | undefined {
  const entry = metadata.managedFields?.find(
    ({ manager, subresource }) => manager === fieldManagers.claim && !subresource,
  );
  return entry?.time === undefined ? undefined : Date.parse(entry.time) / 1000;
}
