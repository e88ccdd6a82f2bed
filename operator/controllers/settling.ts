/** Carries out what a sealed window allows: marks, deletions of claims, status of deployments, removal of closing objects. */
import type { ModelDeployment } from "../api/modeldeployment.ts";
import type { Life } from "../plan/metering/fold.ts";
import { meterSums } from "../plan/metering/segment.ts";
import type { MeterSum } from "../plan/metering/segment.ts";
import {
  addCounters,
  addOwed,
  departingFrom,
  isConsumed,
  meteringOf,
  nothingOwed,
  owesSince,
  settleClaim,
  settleDeployment,
  unsettledSince,
} from "../plan/metering/settle.ts";
import type { Departing, OwedSums } from "../plan/metering/settle.ts";
import { instantOfSeconds } from "../plan/metering/windows.ts";
import type { Write } from "../plan/plan.ts";
import type { KubeWriter } from "../ports.ts";
import { ConflictError } from "../runtime/errors.ts";
import { keptSeconds } from "./capacityseries.ts";
import { inTurns } from "./closing.ts";
import type { SeenFacts } from "./facts.ts";
import type { Histories } from "./histories.ts";
import type { SealerDeps } from "./sealer.ts";
import { readSealed, sealedKeys } from "./ledgerreads.ts";
import type { SealedWindow } from "./segments.ts";

/** Requests in flight: a window of thousands of claims must not crowd out the controllers. */
const width = 8;

interface Sealing {
  readonly facts: SeenFacts;
  readonly histories: Pick<Histories, "lifeOf">;
  /** Windows of this pass. */
  readonly sealed: readonly SealedWindow[];
  readonly sealedThrough: number | undefined;
  /** False: nothing moves. Marks, ends and closing objects lead to what waits, and by a deployment's mark its pool's sizes are forgotten. */
  readonly mayForget: boolean;
}

/** Idempotent: what was settled before costs no write. An object that changed meanwhile is settled with the next window. */
export async function settle(
  deps: Pick<SealerDeps, "kube" | "ledger" | "lastSeenAt" | "log" | "counters" | "register">,
  { facts, histories, sealed, sealedThrough, mayForget }: Sealing,
): Promise<void> {
  if (!mayForget) return;
  if (sealedThrough !== undefined) {
    const lifeOf = ({ metadata }: ModelDeployment) => histories.lifeOf(metadata.uid ?? "");
    const departing = unknownDeparting(deps, facts, sealedThrough);
    const owed = await sumsOwed(deps, { facts, lifeOf, sealed, sealedThrough, departing });
    for (const one of departing) countDeparting(deps, one, { owed: owed(one.uid), sealedThrough });
    const statuses = facts.deployments.map((deployment) => {
      const own = { life: lifeOf(deployment), owed: owed(deployment.metadata.uid ?? "") };
      const metering = meteringOf(deployment, { ...own, sealedThrough });
      if (metering) deps.counters?.settled(deployment, metering);
      return settleDeployment(deployment, metering);
    });
    const claims = facts.claims.map((claim) => settleClaim(claim, sealedThrough, deps.lastSeenAt?.(claim)));
    // In this order: a claim that is gone while its deployment says no more than before looks like one that was lost.
    for (const all of [statuses, claims]) {
      const due = all.filter((writes) => writes.length > 0);
      await inTurns(due, width, (writes) => carryOut(deps.kube, writes));
    }
  }
  const consumed = facts.stored.filter(({ closing }) => isConsumed(closing, sealedThrough));
  await inTurns(consumed, width, ({ key }) => deps.ledger.remove(key));
  if (facts.noted) await deps.register?.forget(facts.noted, new Set(consumed.map(({ closing }) => closing.poolUID)));
}

/** Those whose series this process does not show: it began after their status was written for the last time. */
function unknownDeparting(
  { counters }: Pick<SealerDeps, "counters">,
  facts: SeenFacts,
  sealedThrough: number,
): readonly Departing[] {
  if (!counters) return [];
  const oldest = sealedThrough - keptSeconds;
  return departingFrom(facts).filter(({ uid, through }) => through >= oldest && !counters.knows(uid));
}

function countDeparting(
  deps: Pick<SealerDeps, "counters">,
  { uid, namespace, name, counters }: Departing,
  { owed, sealedThrough }: { readonly owed: OwedSums; readonly sealedThrough: number },
): void {
  const now = addCounters(counters, owed.counters);
  const metadata = { uid, namespace, name };
  deps.counters?.settled({ metadata }, { sealedThrough: instantOfSeconds(sealedThrough), counters: now });
}

/** What is owed to deployments by UID: of every sealed window that the status or the series of each does not contain yet. */
async function sumsOwed(
  deps: Pick<SealerDeps, "ledger">,
  at: Omit<Sealing, "histories" | "mayForget"> & {
    readonly sealedThrough: number;
    readonly lifeOf: (deployment: ModelDeployment) => Life | undefined;
    readonly departing: readonly Departing[];
  },
): Promise<(deploymentUID: string) => OwedSums> {
  const { facts, lifeOf, sealedThrough, departing } = at;
  const sealed = at.sealed.filter(({ window }) => window.start < sealedThrough);
  const since = new Map(departing.map(({ uid, through }) => [uid, through]));
  for (const deployment of facts.deployments) {
    const from = owesSince(deployment, lifeOf(deployment));
    if (from !== undefined) since.set(deployment.metadata.uid ?? "", from);
  }
  const owed = new Map<string, OwedSums>();
  const add = (start: number, meters: readonly MeterSum[]): void => {
    for (const meter of meters) {
      const { deploymentUID } = meter;
      if (start >= (since.get(deploymentUID) ?? Infinity))
        owed.set(deploymentUID, addOwed(owed.get(deploymentUID) ?? nothingOwed, meter));
    }
  };
  for (const key of await unsummedKeys(deps, at, sealed)) {
    const { window, records } = await readSealed(deps.ledger, key);
    add(window.start, meterSums(records));
  }
  for (const { window, meters } of sealed) add(window.start, meters);
  return (deploymentUID) => owed.get(deploymentUID) ?? nothingOwed;
}

/** Manifests of windows before those of this pass that somebody owes. */
async function unsummedKeys(
  { ledger }: Pick<SealerDeps, "ledger">,
  { facts, lifeOf, departing, sealedThrough }: Parameters<typeof sumsOwed>[1],
  sealed: readonly SealedWindow[],
): Promise<readonly string[]> {
  const living = facts.deployments.filter(({ metadata }) => !metadata.deletionTimestamp);
  const starts = [
    ...living.flatMap((deployment) => unsettledSince(deployment, lifeOf(deployment)) ?? []),
    ...departing.map(({ through }) => through),
  ];
  const since = starts.reduce((a, b) => Math.min(a, b), Infinity);
  const oldest = sealed.reduce((least, { window }) => Math.min(least, window.start), sealedThrough);
  // A window that holds `since` may begin up to a window's length before it.
  return since < oldest ? sealedKeys(ledger, since - 3600, oldest) : [];
}

async function carryOut(kube: Pick<KubeWriter, "mergePatch" | "remove">, writes: readonly Write[]): Promise<void> {
  try {
    for (const write of writes) await carryOutOne(kube, write);
  } catch (error) {
    if (!(error instanceof ConflictError)) throw error;
  }
}

async function carryOutOne(kube: Pick<KubeWriter, "mergePatch" | "remove">, write: Write): Promise<void> {
  if (write.op === "patch") {
    const { resource, namespace, name, body, manager, subresource } = write;
    await kube.mergePatch(resource, namespace, name, body, { manager, ...(subresource ? { subresource } : {}) });
  } else if (write.op === "delete") {
    await kube.remove(write.resource, write.namespace, write.name, write.uid ? { uid: write.uid } : {});
  } else throw new TypeError(`settling does not ${write.op}`);
}
