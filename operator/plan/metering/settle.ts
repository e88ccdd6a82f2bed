/** What follows from a sealed window: claims that are marked or dropped, deployments' metering status, closings that are consumed. */
import { capacityClaims, modelDeployments } from "../../api/resources.ts";
import type { CapacityClaim } from "../../api/capacityclaim.ts";
import { fieldManagers, finalizers } from "../../api/keys.ts";
import type { Closing } from "../../api/ledger.ts";
import type { CapacityCounters, DeploymentMetering, ModelDeployment } from "../../api/modeldeployment.ts";
import { sealedEndOf } from "../../api/lastclaim.ts";
import type { Write } from "../plan.ts";
import { lifeOf } from "./fold.ts";
import type { Life } from "./fold.ts";
import { historiesOf } from "./history.ts";
import type { Facts } from "./history.ts";
import { instantOfSeconds, secondsOf } from "./windows.ts";

/**
 * Writes that are owed to one claim once everything before `sealedThrough` (seconds) is sealed: none where it is marked already,
 * one while it is open, and the two that let it go when its last second is sealed. They run in order. One that the ledger closed goes
 * with its node: without a record the node would look like one that was never recorded. `claim` is what was sealed: what became known
 * of it meanwhile is late.
 */
export function settleClaim(claim: CapacityClaim, sealedThrough: number, lastSeenAt: string | undefined): Write[] {
  const { name, uid, resourceVersion, finalizers: held = [] } = claim.metadata;
  const { claimedAt, readyAt, releasedAt, sealedThrough: marked, unreadyThrough } = claim.status ?? {};
  const target = { resource: capacityClaims, name } as const;
  if (!claimedAt || secondsOf(claimedAt.time) >= sealedThrough || sealedEndOf(claim)) return [];
  if (releasedAt && secondsOf(releasedAt.time) <= sealedThrough) {
    const rest = held.filter((finalizer) => finalizer !== finalizers.metering);
    const release: Write = {
      op: "patch",
      ...target,
      body: { metadata: { resourceVersion, finalizers: rest } },
      manager: fieldManagers.operator,
    };
    return [...(rest.length < held.length ? [release] : []), { op: "delete", ...target, ...(uid ? { uid } : {}) }];
  }
  const through = instantOfSeconds(sealedThrough);
  if (marked === through) return [];
  const status = {
    sealedThrough: through,
    ...(!readyAt && { unreadyThrough: through }),
    // What came late was made good by what is sealed now.
    ...(readyAt && unreadyThrough !== undefined && { unreadyThrough: null }),
    ...(lastSeenAt !== undefined && { lastSeenAt }),
  };
  return [{ op: "patch", ...target, body: { status }, manager: fieldManagers.status, subresource: "status" }];
}

/**
 * From which second on windows must be added up to bring a deployment's status to date; undefined where it has no life yet.
 * `life` is that of its pools. A status without counters is of an older build and is added up anew.
 */
export function unsettledSince(deployment: ModelDeployment, life: Life | undefined): number | undefined {
  const settled = settledBefore(deployment);
  return settled ? secondsOf(settled.sealedThrough) : life?.start;
}

function settledBefore({ status }: ModelDeployment): (DeploymentMetering & { sealedThrough: string }) | undefined {
  const { sealedThrough, counters } = status?.metering ?? {};
  return sealedThrough === undefined || !counters ? undefined : { ...status?.metering, sealedThrough };
}

/** What one sealed window adds to a deployment under one SKU. */
export interface WindowSum {
  readonly sku: string;
  readonly billableNodeSeconds: number;
  readonly claimedNodeSeconds: number;
  readonly readyNodeSeconds: number;
}

/** What sealed windows add to one deployment, in as few numbers as that takes: months of them may be owed after a restore. */
export interface OwedSums {
  /** Signed. */
  readonly nodeSeconds: number;
  readonly counters: readonly CapacityCounters[];
}

export const nothingOwed: OwedSums = { nodeSeconds: 0, counters: [] };

export function addOwed({ nodeSeconds, counters }: OwedSums, sum: WindowSum): OwedSums {
  return { nodeSeconds: nodeSeconds + sum.billableNodeSeconds, counters: countUp(counters, sum) };
}

/** From which begin of a window (seconds) on it owes sums to its status; undefined where it owes none. */
export function owesSince(deployment: ModelDeployment, life: Life | undefined): number | undefined {
  if (deployment.metadata.deletionTimestamp || !life) return undefined;
  const settled = settledBefore(deployment);
  return settled ? secondsOf(settled.sealedThrough) : -Infinity;
}

export interface Settlement {
  /** Over all of its pools (fold.ts: lifeOf). */
  readonly life: Life | undefined;
  /** Of every sealed window from owesSince() on. */
  readonly owed: OwedSums;
  readonly sealedThrough: number;
}

/**
 * The deployment's metering status at `sealedThrough`; undefined where it has no life yet, or goes. What is owed begins
 * where the status ends, so doing it twice adds nothing twice.
 */
export function meteringOf(deployment: ModelDeployment, at: Settlement): DeploymentMetering | undefined {
  const { life } = at;
  const from = unsettledSince(deployment, life);
  if (deployment.metadata.deletionTimestamp || !life || from === undefined || life.start >= at.sealedThrough)
    return undefined;
  const settled = settledBefore(deployment);
  if (settled && from >= at.sealedThrough) return settled;
  const { since = instantOfSeconds(life.start), nodeSeconds = 0, counters = [] } = settled ?? {};
  return {
    since,
    sealedThrough: instantOfSeconds(at.sealedThrough),
    nodeSeconds: nodeSeconds + at.owed.nodeSeconds,
    counters: addCounters(counters, at.owed.counters),
  };
}

/** A deployment that goes or is gone, and what its series had reached at `through` (seconds), when that was last written down. */
export interface Departing {
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  readonly through: number;
  readonly counters: readonly CapacityCounters[];
}

/** Their status is not written any more, and then it goes; a closing object repeats it. */
export function departingFrom({ deployments, closings }: Pick<Facts, "deployments" | "closings">): Departing[] {
  const here = new Set(deployments.map(({ metadata }) => metadata.uid));
  const going = deployments
    .filter(({ metadata }) => metadata.deletionTimestamp)
    .flatMap((deployment): Departing[] => {
      const { uid = "", namespace = "", name } = deployment.metadata;
      const { sealedThrough, counters = [] } = settledBefore(deployment) ?? {};
      return sealedThrough === undefined ? [] : [{ uid, namespace, name, through: secondsOf(sealedThrough), counters }];
    });
  const gone = new Map<string, Departing>();
  for (const { deploymentUID: uid, deploymentName: name, namespace, counted } of closings) {
    if (!counted || here.has(uid)) continue;
    const through = secondsOf(counted.through);
    if (through > (gone.get(uid)?.through ?? -Infinity))
      gone.set(uid, { uid, namespace, name, through, counters: counted.counters });
  }
  return [...going, ...gone.values()];
}

/** Counters with one more window; a window in which adjustments took back more than came counts as nothing. */
export function countUp(counters: readonly CapacityCounters[], sum: WindowSum): CapacityCounters[] {
  const { sku } = sum;
  const known = counters.find((one) => one.sku === sku) ?? { sku, billable: 0, claimed: 0, ready: 0 };
  const next = {
    sku,
    billable: known.billable + Math.max(0, sum.billableNodeSeconds),
    claimed: known.claimed + Math.max(0, sum.claimedNodeSeconds),
    ready: known.ready + Math.max(0, sum.readyNodeSeconds),
  };
  return [...counters.filter((one) => one.sku !== sku), next];
}

export function addCounters(
  counters: readonly CapacityCounters[],
  added: readonly CapacityCounters[],
): CapacityCounters[] {
  return added.reduce<CapacityCounters[]>(
    (known, { sku, billable, claimed, ready }) =>
      countUp(known, { sku, billableNodeSeconds: billable, claimedNodeSeconds: claimed, readyNodeSeconds: ready }),
    [...counters],
  );
}

/** `metering` as a patch of the status; none where it is what the status says. */
export function settleDeployment(deployment: ModelDeployment, metering: DeploymentMetering | undefined): Write[] {
  const { metadata, status } = deployment;
  if (!metering || (settledBefore(deployment) && status?.metering?.sealedThrough === metering.sealedThrough)) return [];
  const { name, namespace } = metadata;
  const target = { resource: modelDeployments, name, ...(namespace === undefined ? {} : { namespace }) };
  return [
    { op: "patch", ...target, body: { status: { metering } }, manager: fieldManagers.status, subresource: "status" },
  ];
}

/** True once every second of the pool that left this object behind is sealed. */
export function isConsumed(closing: Closing, sealedThrough: number | undefined): boolean {
  const life = lifeOf(historiesOf({ pools: [], claims: [], deployments: [], closings: [closing] }));
  return !life || (sealedThrough !== undefined && life.end !== undefined && life.end <= sealedThrough);
}
