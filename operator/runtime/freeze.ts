/** Deep freezing of parsed JSON: shared objects of the cache must not be changed by whoever reads them. */

/** Freezes plain JSON in place, children first, and returns it. Frozen parts are taken to be frozen throughout. */
export function deepFreeze<T>(value: T): T {
  if (typeof value !== "object" || value === null || Object.isFrozen(value)) return value;
  for (const child of Object.values(value)) deepFreeze(child);
  return Object.freeze(value);
}
