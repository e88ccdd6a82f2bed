/** What a readiness probe wants to know, as data; serving it over HTTP is not done here. */
import type { Reflector, ReflectorHealth } from "./reflector.ts";

export interface Readiness {
  readonly ready: boolean;
  /** One line per thing that is not ready, for the body of the probe. */
  readonly problems: readonly string[];
  readonly caches: readonly ReflectorHealth[];
}

/**
 * Ready means: every cache has its first list, and each watch gave a sign of life within `staleAfterMs` (default 5 min;
 * the server sends bookmarks every minute). Resources that are not served count as ready.
 */
export function readinessOf(reflectors: readonly Pick<Reflector, "health">[], staleAfterMs = 300_000): Readiness {
  const caches = reflectors.map((reflector) => reflector.health());
  const problems = caches.flatMap((cache) => {
    if (!cache.synced) return [`${cache.name}: first list pending`];
    if (cache.absent || cache.lastEventAgeMs === undefined || cache.lastEventAgeMs <= staleAfterMs) return [];
    return [`${cache.name}: no sign of life for ${Math.round(cache.lastEventAgeMs / 1000)} s`];
  });
  return { ready: problems.length === 0, problems, caches };
}
