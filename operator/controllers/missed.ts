/**
 * NodeClaims that were launched and gone while no process ran: nobody wrote their times down, so nothing is billed for them, but
 * Karpenter's events about them are still there for an hour. Looked at once a lead.
 */
import type { CapacityClaim } from "../api/capacityclaim.ts";
import type { CoreEvent, NodeClaim } from "../api/karpenter.ts";
import { nodeClaims } from "../api/karpenter.ts";
import { capacityClaims } from "../api/resources.ts";
import { isEvidence } from "../plan/metering/segment.ts";
import { launchesIn } from "../plan/pool/launches.ts";
import type { Launch } from "../plan/pool/launches.ts";
import type { Clock, KubeReader, Ledger, Log, Store } from "../ports.ts";
import { messageOf } from "../runtime/errors.ts";
import { readClosings } from "./closing.ts";
import { committedLines, readManifest, sealedKeys } from "./ledgerreads.ts";
import type { Unproven } from "./unproven.ts";

export interface MissedDeps {
  readonly kube: Pick<KubeReader, "list">;
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly log: Log;
  readonly unproven: Unproven;
  readonly stores: {
    readonly events: Pick<Store<CoreEvent>, "list">;
    readonly nodeClaims: Pick<Store<NodeClaim>, "list">;
    readonly claims: Pick<Store<CapacityClaim>, "list">;
  };
}

const retryMs = 60_000;
/** Seconds that lie between an event and the window of the claim that it is about, at most: the longest window. */
const longestWindowSeconds = 3_600;

/** Nothing waits for it, and what fails (a ledger that is away) is looked at again. */
export function startMissed(deps: MissedDeps): () => void {
  let cancel = (): void => undefined;
  let stopped = false;
  const look = (): void => {
    lookForMissed(deps).catch((error: unknown) => {
      deps.log.warn({ error: messageOf(error) }, "NodeClaims that came and went could not be looked for");
      if (!stopped) cancel = deps.clock.after(retryMs, look);
    });
  };
  look();
  return () => {
    stopped = true;
    cancel();
  };
}

/** Tells of each launch that no living object, no record and no sealed window knows. */
export async function lookForMissed({ kube, ledger, unproven, stores }: MissedDeps): Promise<void> {
  const launches = launchesIn(stores.events.list());
  const cached = [
    ...stores.nodeClaims.list().map(({ metadata }) => metadata.uid ?? ""),
    ...stores.claims.list().map(({ spec }) => spec.providerRef.uid),
  ];
  const strange = without(launches, cached);
  if (strange.length === 0) return;
  // Events may be ahead of the other caches. Objects first, the ledger after them: a record goes only when it is sealed.
  const [living, records] = await Promise.all([kube.list(nodeClaims, undefined), kube.list(capacityClaims, undefined)]);
  const known = [
    ...living.items.map(({ metadata }) => metadata.uid ?? ""),
    ...records.items.map(({ spec }) => spec.providerRef.uid),
  ];
  const gone = without(strange, known);
  for (const { uid, name, poolUID } of without(gone, await recordedIn(ledger, gone))) {
    const message = `NodeClaim ${name} of pool ${poolUID} was launched and gone while nobody could record it: nothing is billed for it`;
    unproven({ cause: "unseen", key: uid, message });
  }
}

function without(launches: readonly Launch[], uids: readonly string[]): readonly Launch[] {
  const known = new Set(uids);
  return launches.filter(({ uid }) => !known.has(uid));
}

/** Ids of the claims in every window since the first of these launches, and in closing objects: a claim has its NodeClaim's UID. */
async function recordedIn(ledger: Ledger, launches: readonly Launch[]): Promise<readonly string[]> {
  if (launches.length === 0) return [];
  const ids = (await readClosings(ledger)).flatMap(({ closing }) => closing.claims.map(({ id }) => id));
  const from = Math.min(...launches.map(({ toldAt }) => toldAt)) - longestWindowSeconds;
  for (const key of await sealedKeys(ledger, from, Infinity)) {
    const { manifest } = await readManifest(ledger, key);
    for await (const line of committedLines(ledger, manifest))
      if (isEvidence(line)) ids.push(...line.claims.map(({ id }) => id));
  }
  return ids;
}
