/**
 * Pools as they were last seen before they vanished. Memory of this process only: it makes the books exact where a pool is
 * removed by force while Berth runs; nothing relies on it.
 */
import type { GPUNodePool } from "../api/gpunodepool.ts";

export interface Graves {
  bury(pool: GPUNodePool): void;
  of(uid: string): GPUNodePool | undefined;
  forget(uid: string | undefined): void;
}

export function newGraves(): Graves {
  const graves = new Map<string, GPUNodePool>();
  return {
    bury: (pool) => void graves.set(pool.metadata.uid ?? "", pool),
    of: (uid) => graves.get(uid),
    forget: (uid) => void graves.delete(uid ?? ""),
  };
}
