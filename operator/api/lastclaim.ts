/**
 * What outlives a claim's record: annotation `berth.dev/last-claim` of a static Node (which claim it carries, or carried last; it
 * stays after a release), `berth.dev/claim-times` of a CapacityClaim (its times; a restore from backup drops the status) and
 * `berth.dev/sealed-end` of one that an older state of etcd opened again (the end that the ledger knows).
 */
import { z } from "zod";
import type { KubeObject } from "../ports.ts";
import type { CapacityClaim, CapacityClaimStatus, ClaimEvidence } from "./capacityclaim.ts";
import { annotations } from "./keys.ts";

const instant = z
  .string()
  .max(32)
  .refine((text) => !Number.isNaN(Date.parse(text)));
const evidence = z.object({ time: instant, evidence: z.string().min(1).max(512), estimated: z.boolean().optional() });
const times = z.object({
  claimedAt: evidence.optional(),
  readyAt: evidence.optional(),
  releasedAt: evidence.optional(),
});
const lastClaim = z.object({
  claim: z.string(),
  sequence: z.int(),
  pool: z.string(),
  held: z.boolean(),
  notBefore: instant.optional(),
  times: times.optional(),
});

/** Those of a claim's status that are written once. */
export type ClaimTimes = Pick<CapacityClaimStatus, "claimedAt" | "readyAt" | "releasedAt">;

export interface LastClaim {
  /** Name of the CapacityClaim. */
  readonly claim: string;
  /** Claims of this node so far. */
  readonly sequence: number;
  readonly pool: string;
  /** True from claim to release. */
  readonly held: boolean;
  /** End of the claim before this one: servers' clocks may differ, and claims of one node never overlap. */
  readonly notBefore?: string;
  /** After a release: the claim's times; without `releasedAt` it is the time of this very annotation. */
  readonly times?: ClaimTimes;
}

/** The annotation's value; undefined where it is missing or was garbled by hand. */
export function lastClaimOf(node: KubeObject): LastClaim | undefined {
  const parsed = lastClaim.safeParse(annotationOf(node, annotations.lastClaim));
  if (!parsed.success) return undefined;
  const { claim, sequence, pool, held, notBefore, times: kept } = parsed.data;
  const end = notBefore === undefined ? {} : { notBefore };
  return { claim, sequence, pool, held, ...end, ...(kept === undefined ? {} : { times: kept }) };
}

export function lastClaimText({ claim, sequence, pool, held, notBefore, times: kept }: LastClaim): string {
  return JSON.stringify({ claim, sequence, pool, held, notBefore, times: kept });
}

/** Times that a CapacityClaim's annotation repeats; undefined where it is missing or was garbled by hand. */
export function claimTimesOf(claim: KubeObject): ClaimTimes | undefined {
  const parsed = times.safeParse(annotationOf(claim, annotations.claimTimes));
  return parsed.success ? parsed.data : undefined;
}

export function claimTimesText({ claimedAt, readyAt, releasedAt }: ClaimTimes): string {
  return JSON.stringify({ claimedAt, readyAt, releasedAt });
}

/** The end by which the ledger closed a claim that was opened again; undefined for all others. */
export function sealedEndOf(claim: KubeObject): ClaimEvidence | undefined {
  const parsed = evidence.safeParse(annotationOf(claim, annotations.sealedEnd));
  return parsed.success ? parsed.data : undefined;
}

/** When the claim ended, for everything that counts: what is sealed goes before what the provider says of it since. */
export function endOf(claim: Pick<CapacityClaim, "metadata" | "status">): ClaimEvidence | undefined {
  return sealedEndOf(claim) ?? claim.status?.releasedAt;
}

function annotationOf(object: KubeObject, annotation: string): unknown {
  const text = object.metadata.annotations?.[annotation];
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Two pools that want the same node choose the same name, and the API server admits one of them. */
export function staticClaimName(nodeUID: string, sequence: number): string {
  return `${nodeUID}-${sequence}`;
}

/** Sequence number in the name of a static claim; 0 for any other name. */
export function sequenceOf(claimName: string): number {
  return Number(/-(\d+)$/.exec(claimName)?.[1] ?? 0);
}
