/**
 * What is known of a pool's life, in whole seconds: desired sizes with account and tags, and one interval per claim. Made from
 * the cluster's objects or from a closing object; nothing below this file knows Kubernetes.
 */
import type { CapacityClaim } from "../../api/capacityclaim.ts";
import type { GPUNodePool } from "../../api/gpunodepool.ts";
import type { Closing } from "../../api/ledger.ts";
import type { ModelDeployment } from "../../api/modeldeployment.ts";
import { unfoldedSizes } from "../../api/sizelog.ts";
import { endOf } from "../../api/lastclaim.ts";
import { sizeSetAt, sizesUntilNow } from "../pool/sizelog.ts";
import { secondsOf } from "./windows.ts";

export interface SizeStep {
  readonly since: number;
  readonly size: number;
  readonly account: string;
  readonly tags: Readonly<Record<string, string>>;
}

/** What a claim's instants were read from, in words that name object and field. */
export interface ClaimSources {
  /** The provider's object, like `Node/gpu-1/<uid>`. */
  readonly object?: string;
  readonly claimedAt?: string;
  readonly readyAt?: string;
  readonly releasedAt?: string;
}

/** One node's time in a pool: [claimedAt, releasedAt), open while `releasedAt` is undefined. */
export interface ClaimInterval {
  readonly id: string;
  readonly claimedAt: number;
  readonly readyAt: number | undefined;
  readonly releasedAt: number | undefined;
  /** True where the instant is only the last (or first) proof of life. */
  readonly estimatedStart: boolean;
  readonly estimatedEnd: boolean;
  readonly sources?: ClaimSources;
}

export interface PoolHistory {
  readonly namespace: string;
  readonly namespaceUID?: string | undefined;
  readonly deploymentName: string;
  readonly deploymentUID: string;
  readonly poolUID: string;
  readonly sku: string;
  readonly gpus: number;
  /** Desired is 0 from here on: deletion of the deployment. undefined while it lives. */
  readonly endedAt: number | undefined;
  /** Sorted by time, one a second. */
  readonly steps: readonly SizeStep[];
  /** Sorted by start, then id. */
  readonly claims: readonly ClaimInterval[];
}

/** Objects as the caches hold them, and what is left of pools that are gone. */
export interface Facts {
  readonly pools: readonly GPUNodePool[];
  readonly claims: readonly CapacityClaim[];
  readonly deployments: readonly ModelDeployment[];
  readonly closings: readonly Closing[];
}

/**
 * One history per pool. A closing object outranks the objects of its pool: it was written when all was known, and the
 * objects vanish one by one after it. Claims whose pool is unknown have no desired size, so they are never billable.
 */
export function historiesOf(facts: Facts): PoolHistory[] {
  const claimsByPool = Map.groupBy(facts.claims, (claim) => claim.spec.poolUID);
  const deployments = new Map(facts.deployments.map((deployment) => [deployment.metadata.uid ?? "", deployment]));
  const histories = new Map<string, PoolHistory>();
  for (const closing of facts.closings) histories.set(closing.poolUID, historyOfClosing(closing));
  for (const pool of facts.pools) {
    const uid = pool.metadata.uid ?? "";
    if (histories.has(uid)) continue;
    const deployment = deployments.get(pool.spec.deploymentRef.uid);
    histories.set(uid, historyOfPool(pool, deployment, claimsByPool.get(uid) ?? []));
  }
  for (const [poolUID, claims] of claimsByPool) {
    if (!histories.has(poolUID)) for (const history of orphanHistories(claims)) histories.set(poolUID, history);
  }
  return [...histories.values()].sort((a, b) => order(a.poolUID, b.poolUID));
}

/** A live pool; `deployment` is undefined where it is gone already. */
export function historyOfPool(
  pool: GPUNodePool,
  deployment: ModelDeployment | undefined,
  claims: readonly CapacityClaim[],
): PoolHistory {
  // The earlier of the two: a pool that was deleted by hand ended then, whatever becomes of its deployment.
  const deletedAt = [deployment?.metadata.deletionTimestamp, pool.metadata.deletionTimestamp]
    .filter((time) => time !== undefined)
    .sort()[0];
  return {
    namespace: pool.metadata.namespace ?? "",
    namespaceUID: pool.spec.deploymentRef.namespaceUID,
    deploymentName: pool.spec.deploymentRef.name,
    deploymentUID: pool.spec.deploymentRef.uid,
    poolUID: pool.metadata.uid ?? "",
    sku: pool.spec.template.sku,
    gpus: pool.spec.template.gpu.count,
    endedAt: deletedAt === undefined ? undefined : secondsOf(deletedAt),
    steps: sizeSteps(
      // A size counts from when it was written: its step may be missing in the log, where the API server went away in between or where the log is full.
      unfoldedSizes(sizesUntilNow(pool.status?.sizeLog ?? [], pool.spec, sizeSetAt(pool))).map((step) => ({
        ...step,
        tags: step.tags ?? {},
        since: secondsOf(step.since),
      })),
    ),
    claims: intervals(claims),
  };
}

function historyOfClosing(closing: Closing): PoolHistory {
  const at = (instant: string | undefined) => (instant === undefined ? undefined : secondsOf(instant));
  const claims = closing.claims.map((claim) => ({
    id: claim.id,
    claimedAt: secondsOf(claim.claimedAt),
    readyAt: at(claim.readyAt),
    releasedAt: at(claim.releasedAt),
    estimatedStart: claim.estimatedStart === true,
    estimatedEnd: claim.estimatedEnd === true,
    ...(claim.sources && { sources: claim.sources }),
  }));
  const { namespace, namespaceUID, deploymentName, deploymentUID, poolUID, sku, gpus } = closing;
  const steps = sizeSteps(closing.steps.map((step) => ({ ...step, since: secondsOf(step.since) })));
  const endedAt = at(closing.endedAt);
  const of = { namespace, namespaceUID, deploymentName, deploymentUID, poolUID, sku, gpus };
  return { ...of, endedAt, steps, claims: sorted(claims) };
}

function orphanHistories(claims: readonly CapacityClaim[]): PoolHistory[] {
  const held = intervals(claims);
  const [first] = claims;
  const [earliest] = held;
  if (!first || !earliest) return [];
  const { namespace, namespaceUID, deploymentName, deploymentUID, poolUID, sku, gpus } = first.spec;
  const of = { namespace, namespaceUID, deploymentName, deploymentUID, poolUID, sku, gpus };
  return [{ ...of, endedAt: earliest.claimedAt, steps: [], claims: held }];
}

/** Claims that were only intended (no `claimedAt`) are not there yet. Times never run backwards within a claim. */
function intervals(claims: readonly CapacityClaim[]): ClaimInterval[] {
  return sorted(
    claims.flatMap((claim) => {
      const { metadata, spec, status } = claim;
      const releasedAt = endOf(claim);
      if (!status?.claimedAt) return [];
      const claimedAt = secondsOf(status.claimedAt.time);
      const later = (instant: string) => Math.max(claimedAt, secondsOf(instant));
      return {
        id: metadata.name,
        claimedAt,
        readyAt: status.readyAt && later(status.readyAt.time),
        releasedAt: releasedAt && later(releasedAt.time),
        estimatedStart: status.claimedAt.estimated === true,
        estimatedEnd: releasedAt?.estimated === true,
        sources: {
          object: `${spec.providerRef.kind}/${spec.providerRef.name}/${spec.providerRef.uid}`,
          claimedAt: status.claimedAt.evidence,
          ...(status.readyAt && { readyAt: status.readyAt.evidence }),
          ...(releasedAt && { releasedAt: releasedAt.evidence }),
        },
      };
    }),
  );
}

function sorted(claims: readonly ClaimInterval[]): ClaimInterval[] {
  return [...claims].sort((a, b) => a.claimedAt - b.claimedAt || order(a.id, b.id));
}

/** Sorted by time; several changes within one second collapse to the last, a step back in time counts from its predecessor. */
function sizeSteps(log: readonly SizeStep[]): SizeStep[] {
  const steps: SizeStep[] = [];
  for (const { since, size, account, tags } of log) {
    const last = steps.at(-1);
    const step = { since: Math.max(since, last?.since ?? since), size, account, tags };
    if (last?.since === step.since) steps.pop();
    steps.push(step);
  }
  return steps;
}

export function order(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
