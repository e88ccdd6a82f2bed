/** Names and hashes that Berth chooses: deterministic, short enough, carried by UIDs where names could be crafted. Pure. */
import { createHash } from "node:crypto";
import { PREFIX_NODEPOOL } from "../api/keys.ts";

/** JSON with sorted keys and without undefined: equal values give equal text on any machine. */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    inner !== null && typeof inner === "object" && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}

/** First 10 hex digits of SHA-256 over the canonical JSON: tells templates apart, proves nothing. */
export function shortHash(value: unknown): string {
  return createHash("sha256").update(canonicalJson(value)).digest("hex").slice(0, 10);
}

export function nodePoolName(poolUID: string): string {
  return `${PREFIX_NODEPOOL}${poolUID}`;
}

/** Name of the ControllerRevision that pins the n-th rendered template of a deployment. */
export function revisionName(deploymentUID: string, revision: number): string {
  return `berth-${deploymentUID}-${revision}`;
}

/** Name of the workload and its companions: readable, and told apart from anything a tenant makes by the UID's head. */
export function workloadName(deploymentName: string, deploymentUID: string): string {
  return `${deploymentName}-${deploymentUID.slice(0, 8)}`;
}
