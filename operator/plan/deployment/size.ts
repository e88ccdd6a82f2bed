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
  const { nextEndMs, overdue } = drainOf(seen, 0);
  const { lookAgainMs, ...target } = targetOf(seen, blocked);
  const waits = [nextEndMs, lookAgainMs].filter((ms) => ms !== undefined);
  return { ...target, overdue, ...(waits.length > 0 ? { requeueAfterMs: Math.min(...waits) } : {}) };
}

interface Target extends Pick<Sizes, "poolSize" | "workloadReplicas" | "holding"> {
  readonly lookAgainMs?: number;
}

function targetOf(seen: Seen, blocked: Problem | undefined): Target {
  const want = wantedNodes(seen);
  const pool = ownPool(seen);
  const have = pool?.spec.size ?? 0;
  if (pool?.metadata.deletionTimestamp) {
    const message = "the pool was deleted by hand: its nodes are released, then a new pool is made";
    return { poolSize: have, workloadReplicas: 0, holding: { reason: "PoolBeingDeleted", message } };
  }
  if (want < have) return shrink(seen, want, have);
  const holding = want > have ? (blocked ?? growthProblem(seen, want)) : pool && accountIsAllowed(seen);
  const size = holding ? have : want;
  // The pool takes a new wish only when its log holds the former one; until then a further pod would find no node.
  const isTaken = size === have || !pool || sizeIsLogged(seen);
  return { poolSize: size, workloadReplicas: isTaken ? size : have, ...(holding ? { holding } : {}) };
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

function shrink(seen: Seen, want: number, have: number): Target {
  const { deployment, now, replicasSetAt, settings } = seen;
  const calmAt = (replicasSetAt ?? 0) + settings.shrinkStabilizationMs;
  if (!deployment.spec.suspend && now < calmAt) {
    const message = `${have - want} of ${have} nodes are given back after the stabilization time of ${settings.shrinkStabilizationMs / 1000} s`;
    const holding = { reason: "ShrinkStabilizing", message };
    return { poolSize: have, workloadReplicas: have, holding, lookAgainMs: calmAt - now };
  }
  const { remaining } = drainOf(seen, want);
  if (remaining === 0) return { poolSize: want, workloadReplicas: want };
  const message = `${remaining} pods finish their requests before their nodes are given back; they are ended after ${settings.drainGraceMs / 1000} s`;
  return { poolSize: have, workloadReplicas: want, holding: { reason: "Draining", message } };
}

/** Pods beyond `keep`, those whose drain has outlasted its grace, and when the next one's will. */
export function drainOf(
  seen: Seen,
  keep: number,
): { remaining: number; overdue: readonly Pod[]; nextEndMs: number | undefined } {
  const living = seen.pods.filter((pod) => isLiving(pod) && !wasForced(pod));
  const deadlines = living.flatMap((pod) => {
    const asked = deletionAskedAt(pod);
    return asked === undefined ? [] : [{ pod, at: asked + seen.settings.drainGraceMs }];
  });
  const next = deadlines.map(({ at }) => at - seen.now).filter((ms) => ms > 0);
  return {
    remaining: Math.max(0, living.length - keep),
    overdue: deadlines.filter(({ at }) => at <= seen.now).map(({ pod }) => pod),
    nextEndMs: next.length > 0 ? Math.min(...next) : undefined,
  };
}

export function isLiving(pod: Pod): boolean {
  return pod.status?.phase !== "Succeeded" && pod.status?.phase !== "Failed";
}

/** Deleted with grace 0 and still there: only somebody's finalizer keeps the record, and nobody is billed for that. */
function wasForced({ metadata }: Pod): boolean {
  return metadata.deletionTimestamp !== undefined && metadata.deletionGracePeriodSeconds === 0;
}

/** A pod's deletionTimestamp lies in the future by its grace period; this is when the deletion was asked for. */
function deletionAskedAt({ metadata }: Pod): number | undefined {
  const { deletionTimestamp, deletionGracePeriodSeconds } = metadata;
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
