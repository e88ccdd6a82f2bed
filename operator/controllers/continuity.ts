/** Before anything is sealed: does the cluster still know what the ledger knows? Once a start, and when a claim's mark is behind. */
import type { CapacityClaim } from "../api/capacityclaim.ts";
import { annotations, fieldManagers } from "../api/keys.ts";
import { capacityClaims, modelDeployments } from "../api/resources.ts";
import { forgottenClaims, isSuspicious, newSightings, reopenedClaims } from "../plan/metering/continuity.ts";
import type { Behind, Sightings } from "../plan/metering/continuity.ts";
import { isEvidence } from "../plan/metering/segment.ts";
import { secondsOf, startOfManifestKey } from "../plan/metering/windows.ts";
import type { KubeWriter, Ledger, ManifestSigner } from "../ports.ts";
import { readClosings } from "./closing.ts";
import type { MeteredObjects } from "./facts.ts";
import type { HeadKeeper } from "./clusterhead.ts";
import { isAnnounced, isSigned } from "./headcheck.ts";
import { committedLines, newHead, readManifest, readSealed, sealedKeys } from "./ledgerreads.ts";
import type { Head } from "./ledgerreads.ts";
import type { Unproven } from "./unproven.ts";

/** The longest window. */
const longestWindowSeconds = 3_600;

export interface ContinuityDeps {
  readonly ledger: Ledger;
  readonly kube: Pick<KubeWriter, "mergePatch">;
  readonly unproven: Unproven;
  /** Says how old the cluster's own state is; without one every state may be an older one. */
  readonly headKeeper?: Pick<HeadKeeper, "read">;
  /** As the sealer's (sealer.ts). */
  readonly signer?: () => Promise<ManifestSigner>;
  /** End of the newest window that this process knows to be sealed (milliseconds since the epoch). */
  readonly sealedThroughMs: () => number | undefined;
}

/**
 * The same objects, claims that an older state opened again with the end that the ledger knows; that end is written first. Claims are
 * closed only in a cluster that keeps an older head than the ledger has, or none: one that keeps the newest was not set back, whatever
 * lies in the ledger. Nor is one known to be where a later window may be anybody's: sealing stops there, and it is looked again.
 */
export function newContinuity(deps: ContinuityDeps): (objects: MeteredObjects) => Promise<MeteredObjects> {
  const findHead = newHead(deps.ledger);
  let looked = false;
  return async (objects) => {
    const sealed = (deps.sealedThroughMs() ?? 0) / 1000;
    if (looked && !objects.claims.some((claim) => isSuspicious(claim, sealed))) return objects;
    const head = await findHead();
    if (!head) return objects;
    const setBack = await behind(deps, head);
    if (setBack === "unknown") return objects;
    const claims = setBack ? await closeReopened(deps, objects.claims, setBack) : objects.claims;
    if (!looked) await tellForgotten(deps, objects, head);
    looked = true;
    return { ...objects, claims };
  };
}

/** undefined where the cluster keeps the ledger's head: nothing was set back. Unknown where a later window may be anybody's. */
async function behind(
  { ledger, headKeeper, signer }: ContinuityDeps,
  head: Head,
): Promise<Behind | "unknown" | undefined> {
  if (!headKeeper) return { head, windows: (await sealedKeys(ledger, 0, Infinity)).length };
  const kept = await headKeeper.read();
  if (!kept) return { head, windows: undefined };
  if (kept.key >= head.key) return undefined;
  const later = (await ledger.list("v1/", { startAfter: kept.key })).filter(
    (key) => startOfManifestKey(key) !== undefined,
  );
  const secret = await signer?.();
  for (const key of later) {
    const { sha256 } = await readManifest(ledger, key);
    const isOurs = isAnnounced(kept, { key, sha256 }) || (secret && (await isSigned(ledger, key, secret)));
    if (!isOurs) return "unknown";
  }
  return { head, windows: later.length };
}

/** Windows from the newest to the one that a claim was last marked with; lines of the shards that can have them. */
async function sight(ledger: Ledger, claims: readonly CapacityClaim[]): Promise<Sightings["found"]> {
  const sightings = newSightings(claims);
  const begins = claims.map(({ status }) => secondsOf(status?.sealedThrough ?? status?.claimedAt?.time ?? ""));
  // A window that holds a begin may itself begin up to a window's length before it.
  const from = begins.reduce((least, at) => Math.min(least, at), Infinity) - longestWindowSeconds;
  for (const key of (await sealedKeys(ledger, from, Infinity)).toReversed()) {
    const left = claims.filter(({ metadata }) => sightings.missing.has(metadata.name));
    if (left.length === 0) break;
    const { manifest } = await readManifest(ledger, key);
    const [uid, ...others] = new Set(left.map(({ spec }) => spec.deploymentUID));
    for await (const line of committedLines(ledger, manifest, others.length === 0 ? uid : undefined))
      if (isEvidence(line)) sightings.add(line, key);
    sightings.decide(secondsOf(manifest.windowStart));
  }
  sightings.decide(-Infinity);
  return sightings.found;
}

async function closeReopened(
  deps: ContinuityDeps,
  claims: readonly CapacityClaim[],
  setBack: Behind,
): Promise<readonly CapacityClaim[]> {
  const { head } = setBack;
  const suspicious = claims.filter((claim) => isSuspicious(claim, head.end));
  if (suspicious.length === 0) return claims;
  const { kube, unproven } = deps;
  const closed = new Map<string, CapacityClaim>();
  for (const { claim, releasedAt } of reopenedClaims(suspicious, await sight(deps.ledger, suspicious), setBack)) {
    const { name } = claim.metadata;
    const body = { metadata: { annotations: { [annotations.sealedEnd]: JSON.stringify(releasedAt) } } };
    const marked = await kube.mergePatch(capacityClaims, undefined, name, body, { manager: fieldManagers.operator });
    closed.set(name, marked);
    // Its status has an end, which is written once; what counts is the one that the ledger knows.
    if (marked.status?.releasedAt) continue;
    const options = { manager: fieldManagers.status, subresource: "status" } as const;
    closed.set(name, await kube.mergePatch(capacityClaims, undefined, name, { status: { releasedAt } }, options));
    const message = `claim ${name} was over when the ledger was sealed through ${head.key} and is open again: the cluster's state is older than the ledger's, and nothing is billed for the time between`;
    unproven({ cause: "restored", key: name, message, about: claim, resource: capacityClaims });
  }
  return claims.map((claim) => closed.get(claim.metadata.name) ?? claim);
}

async function tellForgotten({ ledger, unproven }: ContinuityDeps, objects: MeteredObjects, { key }: Head) {
  const { window, records } = await readSealed(ledger, key);
  // Adjustments to earlier windows stand in the same segments, and say nothing of this one's end.
  const last = { key, records: records.filter(({ windowStart }) => secondsOf(windowStart) === window.start) };
  const live = objects.claims.map(({ metadata }) => metadata.name);
  if (forgottenClaims(new Set(live), last).length === 0) return;
  const closed = (await readClosings(ledger)).flatMap(({ closing }) => closing.claims.map(({ id }) => id));
  for (const { id, namespace, deploymentName, deploymentUID } of forgottenClaims(new Set([...live, ...closed]), last)) {
    const about = objects.deployments.find(({ metadata }) => metadata.uid === deploymentUID);
    const message = `claim ${id} of ${namespace}/${deploymentName} was held when ${last.key} was sealed and is gone without an end: nothing is billed for it since`;
    unproven({ cause: "claim", key: id, message, ...(about && { about, resource: modelDeployments }) });
  }
}
