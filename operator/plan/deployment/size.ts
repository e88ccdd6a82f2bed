/** How many nodes and pods a deployment should have at this instant: growth at once, shrinking only behind its pods. */
import type { SizeLogEntry } from "../../api/gpunodepool.ts";
import type { Pod } from "../../api/kubernetes.ts";
import { canonicalJson } from "../identity.ts";
import type { Problem } from "../plan.ts";
import { accountIsAllowed, nodeTypeIsEnabled, quotaHolds } from "./checks.ts";
import { ownPool, type Seen } from "./seen.ts";

export interface Sizes {
  /** Nodes that the pool should ask for now. */
  readonly poolSize: number;
  /** Pods that the workload should ask for now. */
  readonly workloadReplicas: number;
  /** Why the pool is not at the wanted size yet; undefined when it is. */
  readonly holding?: Problem;
  /** Pods whose drain has outlasted its grace. */
  readonly overdue: readonly Pod[];
  readonly requeueAfterMs?: number;
}

/** Nodes that the user wants, whatever stands in the way. */
export function wantedNodes({ deployment }: Seen): number {
  return deployment.spec.suspend ? 0 : deployment.spec.replicas;
}

/** `blocked` is the first of the checks before money that fails: it stops growth, not what is there. */
export function sizesOf(seen: Seen, blocked: Problem | undefined): Sizes {
  const want = wantedNodes(seen);
  const have = ownPool(seen)?.spec.size ?? 0;
  if (ownPool(seen)?.metadata.deletionTimestamp) return poolLost(seen);
  if (want < have) return shrink(seen, want, have);
  const holding = want > have ? (blocked ?? growthProblem(seen, want)) : ownPool(seen) && accountIsAllowed(seen);
  return {
    poolSize: holding ? have : want,
    workloadReplicas: holding ? have : want,
    overdue: [],
    ...(holding ? { holding } : {}),
  };
}

function growthProblem(seen: Seen, want: number): Problem | undefined {
  const { nodeType, deployment } = seen;
  if (!nodeType)
    return {
      reason: "NodeTypeNotFound",
      message: `node type ${deployment.spec.nodeType} does not exist: no new node of it is claimed`,
    };
  return nodeTypeIsEnabled(seen) ?? quotaHolds(seen, want);
}

function shrink(seen: Seen, want: number, have: number): Sizes {
  const { deployment, now, replicasSetAt, settings } = seen;
  const calmAt = (replicasSetAt ?? 0) + settings.shrinkStabilizationMs;
  if (!deployment.spec.suspend && now < calmAt) {
    const seconds = Math.ceil((calmAt - now) / 1000);
    const message = `${have - want} of ${have} nodes are given back after the stabilization time of ${settings.shrinkStabilizationMs / 1000} s`;
    return {
      poolSize: have,
      workloadReplicas: have,
      holding: { reason: "ShrinkStabilizing", message },
      overdue: [],
      requeueAfterMs: seconds * 1000,
    };
  }
  const drain = drainOf(seen, want);
  if (drain.remaining === 0) return { poolSize: want, workloadReplicas: want, overdue: [] };
  const message = `${drain.remaining} pods finish their requests before their nodes are given back; they are ended after ${settings.drainGraceMs / 1000} s`;
  return {
    poolSize: have,
    workloadReplicas: want,
    holding: { reason: "Draining", message },
    overdue: drain.overdue,
    requeueAfterMs: drain.requeueAfterMs,
  };
}

/** An administrator deleted the pool by hand: its pods drain, and a new pool follows when it is gone. */
function poolLost(seen: Seen): Sizes {
  const { overdue, requeueAfterMs } = drainOf(seen, 0);
  const message = "the pool was deleted by hand: its nodes are released, then a new pool is made";
  return {
    poolSize: ownPool(seen)?.spec.size ?? 0,
    workloadReplicas: 0,
    holding: { reason: "PoolBeingDeleted", message },
    overdue,
    requeueAfterMs,
  };
}

/** Pods beyond `keep`, those of them that outlasted the grace, and when the next one will. */
export function drainOf(
  seen: Seen,
  keep: number,
): { remaining: number; overdue: readonly Pod[]; requeueAfterMs?: number } {
  const living = seen.pods.filter(isLiving);
  const deadlines = living.flatMap((pod) => {
    const asked = deletionAskedAt(pod);
    return asked === undefined ? [] : [{ pod, at: asked + seen.settings.drainGraceMs }];
  });
  const overdue = deadlines.filter(({ at }) => at <= seen.now).map(({ pod }) => pod);
  const next = deadlines.map(({ at }) => at - seen.now).filter((ms) => ms > 0);
  return {
    remaining: Math.max(0, living.length - keep),
    overdue,
    ...(next.length > 0 ? { requeueAfterMs: Math.min(...next) } : {}),
  };
}

export function isLiving(pod: Pod): boolean {
  return pod.status?.phase !== "Succeeded" && pod.status?.phase !== "Failed";
}

/** A pod's deletionTimestamp lies in the future by its grace period; this is when the deletion was asked for. */
function deletionAskedAt(pod: Pod): number | undefined {
  const { deletionTimestamp, deletionGracePeriodSeconds } = pod.metadata;
  return deletionTimestamp ? Date.parse(deletionTimestamp) - (deletionGracePeriodSeconds ?? 0) * 1000 : undefined;
}

/** True when the size log already holds what the pool asks for: only then may the pool ask for something else. */
export function sizeIsLogged(seen: Seen): boolean {
  const pool = ownPool(seen);
  const last: SizeLogEntry | undefined = pool?.status?.sizeLog?.at(-1);
  if (!pool || !last) return false;
  const { size, account, tags } = pool.spec;
  return last.size === size && last.account === account && canonicalJson(last.tags ?? {}) === canonicalJson(tags);
}
