/** What is left of a pool that goes: all that its unsealed windows still need, as canonical bytes. */
import type { CapacityClaim } from "../../api/capacityclaim.ts";
import type { GPUNodePool } from "../../api/gpunodepool.ts";
import { CLOSING_SCHEMA } from "../../api/ledger.ts";
import type { Closing } from "../../api/ledger.ts";
import type { ModelDeployment } from "../../api/modeldeployment.ts";
import { canonicalBytes } from "./canonical.ts";
import { historyOfPool } from "./history.ts";
import { instantOfSeconds } from "./windows.ts";

export interface ClosingInput {
  /** undefined where it is gone already: the pool's own deletion then ends the wish. */
  readonly deployment: ModelDeployment | undefined;
  readonly pool: GPUNodePool;
  /** Every claim of the pool that still exists; those that never began are left out. */
  readonly claims: readonly CapacityClaim[];
  /** UID of the namespace kube-system. */
  readonly clusterId: string;
}

export const CLOSING_PREFIX = "closing/";

export function closingKey(deploymentUID: string, poolUID: string): string {
  return `${CLOSING_PREFIX}${deploymentUID}/${poolUID}.json`;
}

/** undefined for a key of another form. */
export function poolOfClosing(key: string): string | undefined {
  return /^closing\/[^/]+\/([^/]+)\.json$/.exec(key)?.[1];
}

/** Why a closing object is none that belongs under this key, in words that follow it; undefined where it is one. */
export function misplacedClosing(key: string, closing: Closing): string | undefined {
  const right = closingKey(closing.deploymentUID, closing.poolUID);
  return key === right ? undefined : `has what belongs at ${right}`;
}

/** The closing object of a pool whose claims are all released; the same input gives the same bytes. */
export function closingOf({ deployment, pool, claims, clusterId }: ClosingInput): Closing {
  const history = historyOfPool(pool, deployment, claims);
  const at = (seconds: number | undefined) => (seconds === undefined ? undefined : instantOfSeconds(seconds));
  const { namespace, namespaceUID, deploymentName, deploymentUID, poolUID, sku, gpus } = history;
  const marks = new Map(claims.map(({ metadata, status }) => [metadata.name, status]));
  return {
    schema: CLOSING_SCHEMA,
    cluster: clusterId,
    ...{ namespace, namespaceUID, deploymentName, deploymentUID, poolUID, sku, gpus },
    endedAt: at(history.endedAt),
    steps: history.steps.map((step) => ({ ...step, since: instantOfSeconds(step.since) })),
    claims: history.claims.map((claim) => ({
      id: claim.id,
      claimedAt: instantOfSeconds(claim.claimedAt),
      readyAt: at(claim.readyAt),
      releasedAt: at(claim.releasedAt),
      ...(claim.sources && { sources: { ...claim.sources } }),
      sealedThrough: marks.get(claim.id)?.sealedThrough,
      unreadyThrough: marks.get(claim.id)?.unreadyThrough,
      ...(claim.estimatedStart ? { estimatedStart: true } : {}),
      ...(claim.estimatedEnd ? { estimatedEnd: true } : {}),
    })),
    counted: countedIn(deployment),
  };
}

function countedIn(deployment: ModelDeployment | undefined): Closing["counted"] {
  const { sealedThrough, counters } = deployment?.status?.metering ?? {};
  return sealedThrough === undefined || !counters ? undefined : { through: sealedThrough, counters: [...counters] };
}

export function closingBody(input: ClosingInput): Uint8Array {
  return canonicalBytes(closingOf(input));
}
