// What should be billed, counted second by second from what was observed: by the rules of docs/metering.md, with none of
// Berth's own arithmetic.

/** A node in a pool: seconds since the epoch, half-open; no end while it is held. */
export interface Held {
  readonly pool: string;
  readonly start: number;
  readonly end: number | undefined;
}

/** A size that was written to a pool. */
export interface Wanted {
  readonly since: number;
  readonly size: number;
}

export interface PoolSeen {
  readonly uid: string;
  readonly deployment: string;
  /** In the order of writing; the last of a second counts. */
  readonly sizes: readonly Wanted[];
  readonly deletedAt: number | undefined;
}

export interface Seen {
  readonly held: readonly Held[];
  readonly pools: readonly PoolSeen[];
  /** Deployment UID → second of its deletion. */
  readonly deletions: ReadonlyMap<string, number>;
}

export interface Seconds {
  readonly claimed: number;
  readonly desired: number;
  readonly billable: number;
}

function wantedAt({ sizes }: PoolSeen, second: number): number {
  return sizes.findLast(({ since }) => since <= second)?.size ?? 0;
}

/** Node-seconds of one deployment up to `until`. */
export function countSeconds(seen: Seen, deployment: string, until: number): Seconds {
  const pools = seen.pools.filter((pool) => pool.deployment === deployment);
  const own = new Set(pools.map(({ uid }) => uid));
  const held = seen.held.filter(({ pool }) => own.has(pool));
  const begins = [...held.map(({ start }) => start), ...pools.flatMap(({ sizes }) => sizes.map(({ since }) => since))];
  const sum = { claimed: 0, desired: 0, billable: 0 };
  for (let second = Math.min(until, ...begins); second < until; second += 1) {
    const claimed = held.filter(({ start, end = Infinity }) => start <= second && second < end).length;
    const living = pools.filter(({ deletedAt = Infinity }) => second < (seen.deletions.get(deployment) ?? deletedAt));
    const desired = living.reduce((nodes, pool) => nodes + wantedAt(pool, second), 0);
    sum.claimed += claimed;
    sum.desired += desired;
    sum.billable += Math.min(claimed, desired);
  }
  return sum;
}
