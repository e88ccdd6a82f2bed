/** Conditions: setting one without losing its transition time, and Ready computed from the others. Pure. */
import type { Condition } from "./schema.ts";

export type ConditionStatus = Condition["status"];

/** A condition as a plan states it; times and generation are added by `mergeConditions`. */
export interface WantedCondition {
  readonly type: string;
  readonly status: ConditionStatus;
  readonly reason: string;
  readonly message: string;
}

export function findCondition(conditions: readonly Condition[] | undefined, type: string): Condition | undefined {
  return conditions?.find((c) => c.type === type);
}

export function isTrue(conditions: readonly Condition[] | undefined, type: string): boolean {
  return findCondition(conditions, type)?.status === "True";
}

/**
 * The full list to write: `wanted` in its order, each keeping `lastTransitionTime` of the current one unless its status flips.
 * Conditions that are not wanted any more disappear.
 */
export function mergeConditions(
  current: readonly Condition[] | undefined,
  wanted: readonly WantedCondition[],
  at: { readonly now: number; readonly generation: number },
): Condition[] {
  return wanted.map((want) => {
    const before = findCondition(current, want.type);
    const lastTransitionTime = before && before.status === want.status ? before.lastTransitionTime : instantOf(at.now);
    return { ...want, lastTransitionTime, observedGeneration: at.generation };
  });
}

/** RFC 3339 with seconds, as the API server writes times. */
export function instantOf(epochMs: number): string {
  return new Date(Math.floor(epochMs / 1000) * 1000).toISOString().replace(".000Z", "Z");
}
