/** What follows from a sealed window: claims that are marked or dropped, deployments' metering status, closings that are consumed. */
import { capacityClaims, modelDeployments } from "../../api/resources.ts";
import type { CapacityClaim } from "../../api/capacityclaim.ts";
import { fieldManagers, finalizers } from "../../api/keys.ts";
import type { Closing } from "../../api/ledger.ts";
import type { ModelDeployment } from "../../api/modeldeployment.ts";
import type { Write } from "../plan.ts";
import { lifeOf } from "./fold.ts";
import { historiesOf } from "./history.ts";
import type { PoolHistory } from "./history.ts";
import { instantOfSeconds, secondsOf } from "./windows.ts";

/**
 * Writes that are owed to one claim once everything before `sealedThrough` (seconds) is sealed: none where it is marked already,
 * one while it is open, and the two that let it go when its last second is sealed. They run in order.
 */
export function settleClaim(claim: CapacityClaim, sealedThrough: number, lastSeenAt: string | undefined): Write[] {
  const { name, uid, resourceVersion, finalizers: held = [] } = claim.metadata;
  const { claimedAt, releasedAt, sealedThrough: marked } = claim.status ?? {};
  const target = { resource: capacityClaims, name } as const;
  if (!claimedAt || secondsOf(claimedAt.time) >= sealedThrough) return [];
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
  const status = { sealedThrough: through, ...(lastSeenAt === undefined ? {} : { lastSeenAt }) };
  return [{ op: "patch", ...target, body: { status }, manager: fieldManagers.status, subresource: "status" }];
}

/**
 * From which second on windows must be added up to bring a deployment's status to date; undefined where it has no life yet.
 * `own` are the histories of its pools.
 */
export function unsettledSince(deployment: ModelDeployment, own: readonly PoolHistory[]): number | undefined {
  const { sealedThrough } = deployment.status?.metering ?? {};
  return sealedThrough === undefined ? lifeOf(own)?.start : secondsOf(sealedThrough);
}

/**
 * The deployment's metering status at `sealedThrough`, as a patch; none where it is up to date, has no life yet, or goes.
 * `sums` are its own of every window that begins after what the status already says, so doing it twice adds nothing twice.
 */
export function settleDeployment(
  deployment: ModelDeployment,
  at: {
    /** Histories of its pools. */
    readonly own: readonly PoolHistory[];
    /** Its sums of each sealed window, by the window's begin in seconds. */
    readonly sums: readonly { readonly start: number; readonly billableNodeSeconds: number }[];
    readonly sealedThrough: number;
  },
): Write[] {
  const { metadata, status } = deployment;
  const life = lifeOf(at.own);
  const from = unsettledSince(deployment, at.own);
  if (metadata.deletionTimestamp || !life || from === undefined || life.start >= at.sealedThrough) return [];
  if (status?.metering?.sealedThrough !== undefined && from >= at.sealedThrough) return [];
  const { since = instantOfSeconds(life.start), nodeSeconds = 0, sealedThrough } = status?.metering ?? {};
  const added = at.sums
    .filter(({ start }) => sealedThrough === undefined || start >= from)
    .reduce((sum, { billableNodeSeconds }) => sum + billableNodeSeconds, 0);
  const metering = {
    since,
    sealedThrough: instantOfSeconds(at.sealedThrough),
    nodeSeconds: (sealedThrough === undefined ? 0 : nodeSeconds) + added,
  };
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
