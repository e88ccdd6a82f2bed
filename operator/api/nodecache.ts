/**
 * Whose models lie in a static node's cache: annotation `berth.dev/cache-owner`, written in the patch that claims the node and taken
 * off when the cache was wiped. Beside it the names of what belongs to a cache.
 */
import { z } from "zod";
import type { KubeObject, Resource } from "../ports.ts";
import { annotations } from "./keys.ts";
import type { OpaqueSpec } from "./kubernetes.ts";

const cacheOwner = z.object({
  namespace: z.string().min(1).max(63),
  namespaceUID: z.string().min(1).max(64),
  /** PersistentVolumeClaim in that namespace through which the folder is reached. */
  claimName: z.string().min(1).max(253),
});

export type CacheOwner = z.infer<typeof cacheOwner>;

/** `unreadable` where the annotation was garbled by hand: then nobody knows whose models those are. */
export function cacheOwnerOf(node: KubeObject): CacheOwner | "unreadable" | undefined {
  const text = node.metadata.annotations?.[annotations.cacheOwner];
  if (text === undefined) return undefined;
  try {
    return cacheOwner.parse(JSON.parse(text));
  } catch {
    return "unreadable";
  }
}

export function cacheOwnerText({ namespace, namespaceUID, claimName }: CacheOwner): string {
  return JSON.stringify({ namespace, namespaceUID, claimName });
}

/** True where the node's cache is nobody's, or this namespace's. */
export function mayUseCache(node: KubeObject, namespaceUID: string | undefined): boolean {
  const owner = cacheOwnerOf(node);
  return owner === undefined || (owner !== "unreadable" && owner.namespaceUID === namespaceUID);
}

/** Where pods see the whole of a node's cache: the step that fills it and the one that empties it. */
export const CACHE_ROOT = "/var/cache/berth";
/** User that fills caches and empties them: that of serving pods, as the vLLM image has it (Dockerfile: vllm, UID 2000, group 0). */
export const CACHE_USER = 2000;

/** One claim a namespace and node type; a NodeType's name leaves room for the prefix. */
export const cacheClaimName = (nodeType: string): string => `berth-cache-${nodeType}`.slice(0, 253);

export const persistentVolumeClaims: Resource<OpaqueSpec> = {
  group: "",
  version: "v1",
  plural: "persistentvolumeclaims",
  kind: "PersistentVolumeClaim",
  namespaced: true,
};
