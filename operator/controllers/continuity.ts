/** Before anything is sealed: does the cluster still know what the ledger knows? Once a start, and when a claim's mark is behind. */
import type { CapacityClaim } from "../api/capacityclaim.ts";
import { annotations, fieldManagers } from "../api/keys.ts";
import { capacityClaims, modelDeployments } from "../api/resources.ts";
import { forgottenClaims, isSuspicious, reopenedClaims } from "../plan/metering/continuity.ts";
import type { LastWindow } from "../plan/metering/continuity.ts";
import { secondsOf } from "../plan/metering/windows.ts";
import type { KubeWriter, Ledger } from "../ports.ts";
import { readClosings } from "./closing.ts";
import type { MeteredObjects } from "./facts.ts";
import { newHead, readSealed } from "./ledgerreads.ts";
import type { Unproven } from "./unproven.ts";

export interface ContinuityDeps {
  readonly ledger: Ledger;
  readonly kube: Pick<KubeWriter, "mergePatch">;
  readonly unproven: Unproven;
  /** End of the newest window that this process knows to be sealed (milliseconds since the epoch). */
  readonly sealedThroughMs: () => number | undefined;
}

/** The same objects, claims that an older state opened again with the end that the ledger knows; that end is written first. */
export function newContinuity(deps: ContinuityDeps): (objects: MeteredObjects) => Promise<MeteredObjects> {
  const findHead = newHead(deps.ledger);
  let looked = false;
  return async (objects) => {
    const sealedMs = deps.sealedThroughMs() ?? 0;
    if (looked && !objects.claims.some((claim) => isSuspicious(claim, sealedMs / 1000))) return objects;
    const head = await findHead();
    if (!head) return objects;
    const { window, records } = await readSealed(deps.ledger, head.key);
    // Adjustments to earlier windows stand in the same segments, and say nothing of this one's end.
    const own = records.filter(({ windowStart }) => secondsOf(windowStart) === window.start);
    const last = { key: head.key, window, records: own };
    const claims = await closeReopened(deps, objects, last);
    await tellForgotten(deps, objects, last);
    looked = true;
    return { ...objects, claims };
  };
}

async function closeReopened(
  { kube, unproven }: ContinuityDeps,
  { claims }: MeteredObjects,
  last: LastWindow,
): Promise<readonly CapacityClaim[]> {
  const closed = new Map<string, CapacityClaim>();
  for (const { claim, releasedAt } of reopenedClaims(claims, last)) {
    const { name } = claim.metadata;
    const body = { metadata: { annotations: { [annotations.sealedEnd]: JSON.stringify(releasedAt) } } };
    const marked = await kube.mergePatch(capacityClaims, undefined, name, body, { manager: fieldManagers.operator });
    closed.set(name, marked);
    // Its status has an end, which is written once; what counts is the one that the ledger knows.
    if (marked.status?.releasedAt) continue;
    const options = { manager: fieldManagers.status, subresource: "status" } as const;
    closed.set(name, await kube.mergePatch(capacityClaims, undefined, name, { status: { releasedAt } }, options));
    const message = `claim ${name} was over when the ledger was sealed through ${last.key} and is open again: the cluster's state is older than the ledger's, and nothing is billed for the time between`;
    unproven({ cause: "restored", key: name, message, about: claim, resource: capacityClaims });
  }
  return claims.map((claim) => closed.get(claim.metadata.name) ?? claim);
}

async function tellForgotten({ ledger, unproven }: ContinuityDeps, objects: MeteredObjects, last: LastWindow) {
  const live = objects.claims.map(({ metadata }) => metadata.name);
  if (forgottenClaims(new Set(live), last).length === 0) return;
  const closed = (await readClosings(ledger)).flatMap(({ closing }) => closing.claims.map(({ id }) => id));
  for (const { id, namespace, deploymentName, deploymentUID } of forgottenClaims(new Set([...live, ...closed]), last)) {
    const about = objects.deployments.find(({ metadata }) => metadata.uid === deploymentUID);
    const message = `claim ${id} of ${namespace}/${deploymentName} was held when ${last.key} was sealed and is gone without an end: nothing is billed for it since`;
    unproven({ cause: "claim", key: id, message, ...(about && { about, resource: modelDeployments }) });
  }
}
