/**
 * Knows when a controller has looked at every object since it started. After an outage the objects lag behind the cluster until
 * then, and an hour that is sealed too early would miss what happened meanwhile.
 */

export interface FirstLook {
  /** Wraps a reconcile; failed ones count too, since one broken pool must not hold up everybody's hours. */
  watch<Rest extends unknown[], T>(
    reconcile: (key: string, ...rest: Rest) => Promise<T>,
  ): (key: string, ...rest: Rest) => Promise<T>;
  /** True once every key of `keys()` was reconciled, and from then on. */
  done(): boolean;
}

/** `keys` lists the keys that there are now. */
export function newFirstLook(keys: () => readonly string[]): FirstLook {
  const seen = new Set<string>();
  let complete = false;
  return {
    watch:
      (reconcile) =>
      async (key, ...rest) => {
        try {
          return await reconcile(key, ...rest);
        } finally {
          if (!complete) seen.add(key);
        }
      },
    done() {
      if (!complete && keys().every((key) => seen.has(key))) {
        complete = true;
        seen.clear();
      }
      return complete;
    },
  };
}
