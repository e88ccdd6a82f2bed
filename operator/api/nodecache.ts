/**
 * Whose models lie in a static node's cache: annotation `berth.dev/cache-owner`, written in the patch that claims the node and taken
 * off when the cache was wiped. Beside it the names of what belongs to a cache.
 */
import { z } from "zod";
import type { KubeObject, Resource } from "../ports.ts";
import type { GPUNodePool } from "./gpunodepool.ts";
import { annotations } from "./keys.ts";
import type { OpaqueSpec } from "./kubernetes.ts";

const cacheOwner = z.object({
  namespace: z.string().min(1).max(63),
  namespaceUID: z.string().min(1).max(64),
  /** PersistentVolumeClaim in that namespace through which the folder is reached. */
  claimName: z.string().min(1).max(253),
  /** UID of that claim, noted once it is there: one that is made anew under its name may be another volume. */
  claimUID: z.string().min(1).max(64).optional(),
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

export function cacheOwnerText({ namespace, namespaceUID, claimName, claimUID }: CacheOwner): string {
  return JSON.stringify({ namespace, namespaceUID, claimName, claimUID });
}

/** Whose models would come onto a node. */
export interface CacheUser {
  readonly namespaceUID?: string;
  /** Claim through which its pods would reach the node's cache; undefined: they would not. */
  readonly cacheClaim?: string;
}

export function cacheUserOf({ deploymentRef, nodeType, template }: GPUNodePool["spec"]): CacheUser {
  const { namespaceUID } = deploymentRef;
  return {
    ...(namespaceUID !== undefined && { namespaceUID }),
    ...(template.cache && { cacheClaim: cacheClaimName(nodeType) }),
  };
}

/**
 * True where the node's cache is nobody's, or this namespace's through the same claim: the node notes one claim, and through that one
 * alone it is emptied.
 */
export function mayUseCache(node: KubeObject, { namespaceUID, cacheClaim }: CacheUser): boolean {
  const owner = cacheOwnerOf(node);
  if (owner === undefined) return true;
  if (owner === "unreadable" || owner.namespaceUID !== namespaceUID) return false;
  return cacheClaim === undefined || cacheClaim === owner.claimName;
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
