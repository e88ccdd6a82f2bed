/**
 * Carries the answers of our own writes from the client to the caches, so that a reconcile reads what the one before it
 * wrote without waiting for the watch. Only plumbing: which object wins is decided by the store.
 */
import type { KubeObject, Resource } from "../ports.ts";

/** A cache that wants to hear of writes. */
export interface WriteSink {
  written(object: KubeObject): void;
  removed(uid: string): void;
}

export interface WriteFeed {
  /** An object as the server stored it. */
  written(resource: Resource, object: KubeObject): void;
  /** An object that is gone for good. */
  removed(resource: Resource, uid: string): void;
  /** The returned function ends the subscription. */
  subscribe(resource: Resource, sink: WriteSink): () => void;
}

/** One feed connects one client with all caches of a process. */
export function newWriteFeed(): WriteFeed {
  const sinks = new Map<string, Set<WriteSink>>();
  const keyOf = (resource: Resource): string => `${resource.plural}.${resource.group}`;
  const sinksOf = (resource: Resource): ReadonlySet<WriteSink> => sinks.get(keyOf(resource)) ?? new Set();
  return {
    written(resource, object) {
      for (const sink of sinksOf(resource)) sink.written(object);
    },
    removed(resource, uid) {
      for (const sink of sinksOf(resource)) sink.removed(uid);
    },
    subscribe(resource, sink) {
      const key = keyOf(resource);
      const mine = sinks.get(key) ?? new Set();
      sinks.set(key, mine.add(sink));
      return () => void mine.delete(sink);
    },
  };
}
