/** What of a pool's history cannot be proven any more: it is told to people, and nobody pays for it. */
import type { PoolSnapshot } from "./snapshot.ts";

export interface LostHistory {
  readonly cause: "sizes" | "pool";
  readonly message: string;
}

/**
 * `sizes`: nodes were held before the first size that is on record, so the pool's status was lost (a restore from backup drops
 * it). `pool`: the pool itself went while nobody looked, and its nodes were held beyond what is sealed.
 */
export function lostHistory(seen: PoolSnapshot): LostHistory | undefined {
  const begun = seen.claims.flatMap(({ status }) => (status?.claimedAt ? [status] : []));
  if (!seen.pool) {
    if (seen.grave || begun.length === 0) return undefined;
    const message = `pool ${seen.poolUID} was removed by force while Berth did not run: how many of its ${begun.length} nodes were wanted since the last sealed window is unknown, and nothing is billed for them`;
    return { cause: "pool", message };
  }
  const log = seen.pool.status?.sizeLog ?? [];
  const first = log[0]?.since ?? seen.sizeSince;
  if (first === undefined || log.length > 1) return undefined;
  const sealed = seen.sealedThrough === undefined ? -Infinity : Date.parse(seen.sealedThrough);
  const earliest = Math.min(...begun.map(({ claimedAt }) => Date.parse(claimedAt?.time ?? "")));
  if (!(Math.max(earliest, sealed) < Date.parse(first))) return undefined;
  const message = `nodes were held before the first desired size on record (${first}): the pool's status was lost, and what was wanted before is not billed`;
  return { cause: "sizes", message };
}
