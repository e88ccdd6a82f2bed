/** Annotation `berth.dev/last-claim` of a static Node: which claim it carries, or carried last. It stays after a release. */
import type { KubeObject } from "../ports.ts";
import { annotations } from "./keys.ts";

export interface LastClaim {
  /** Name of the CapacityClaim. */
  readonly claim: string;
  /** Claims of this node so far. */
  readonly sequence: number;
  readonly pool: string;
  /** True from claim to release. */
  readonly held: boolean;
}

/** The annotation's value; undefined where it is missing or was garbled by hand. */
export function lastClaimOf(node: KubeObject): LastClaim | undefined {
  const text = node.metadata.annotations?.[annotations.lastClaim];
  if (text === undefined) return undefined;
  try {
    const { claim, sequence, pool, held } = JSON.parse(text) as Partial<Record<keyof LastClaim, unknown>>;
    const wellFormed =
      typeof claim === "string" &&
      typeof pool === "string" &&
      Number.isSafeInteger(sequence) &&
      typeof held === "boolean";
    return wellFormed ? { claim, sequence: sequence as number, pool, held } : undefined;
  } catch {
    return undefined;
  }
}

export function lastClaimText({ claim, sequence, pool, held }: LastClaim): string {
  return JSON.stringify({ claim, sequence, pool, held });
}

/** Two pools that want the same node choose the same name, and the API server admits one of them. */
export function staticClaimName(nodeUID: string, sequence: number): string {
  return `${nodeUID}-${sequence}`;
}

/** Sequence number in the name of a static claim; 0 for any other name. */
export function sequenceOf(claimName: string): number {
  return Number(/-(\d+)$/.exec(claimName)?.[1] ?? 0);
}
