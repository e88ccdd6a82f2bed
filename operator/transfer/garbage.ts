/** Takes garbage out of a store as plan/store/garbage.ts decides it: fences first, then a new look, then the removals. */
import { MANIFEST, removedText } from "../plan/model/manifest.ts";
import { planFences, planRemovals, unjudgedModels, withFences } from "../plan/store/garbage.ts";
import type { Fence, GarbageClock, InUse, Removal, Unjudged } from "../plan/store/garbage.ts";
import type { ObjectStore } from "../ports.ts";
import { readInventory } from "./inventory.ts";

export interface Collection {
  readonly fences: readonly Fence[];
  readonly removals: readonly Removal[];
  readonly unjudged: readonly Unjudged[];
}

export interface CollectOptions extends GarbageClock {
  readonly inUse: InUse;
  /** Only below this folder (ending with '/'). */
  readonly below?: string;
  /** False: tell what would be done. */
  readonly act: boolean;
  readonly onRemoved?: (key: string) => void;
}

/** May be killed at any point and run again. Resolves with what was done, or would be. */
export async function collectGarbage(store: ObjectStore, options: CollectOptions): Promise<Collection> {
  const { inUse, below, act } = options;
  const inventory = await readInventory(store, below);
  const fences = planFences(inventory, inUse, options);
  const unjudged = unjudgedModels(inventory, inUse);
  if (!act) return { fences, removals: planRemovals(withFences(inventory, fences), inUse, options), unjudged };
  const stood: Fence[] = [];
  for (const fence of fences) if (await raise(store, fence)) stood.push(fence);
  const removals = planRemovals(await readInventory(store, below), inUse, options);
  for (const { folder, keys, uploads } of removals) {
    for (const key of keys) {
      await store.remove(key);
      options.onRemoved?.(key);
    }
    if (uploads > 0) await store.abortUploads(folder);
  }
  return { fences: stood, removals, unjudged };
}

/** False where an import completed the revision meanwhile: then it stays. */
async function raise(store: ObjectStore, fence: Fence): Promise<boolean> {
  const bytes = new TextEncoder().encode(removedText());
  const put = await store.put(fence.folder + MANIFEST, bytes, { ifAbsent: fence.do === "close" });
  return put === "written";
}
