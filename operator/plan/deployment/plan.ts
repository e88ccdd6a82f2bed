/**
 * ModelDeployment: snapshot in, plan out. Order: finalizer, pool, template, workload and its companions, status.
 * Blocked means "buy nothing new", never "tear down".
 */
import { gpuNodePools, modelDeployments } from "../../api/resources.ts";
import { fieldManagers, finalizers } from "../../api/keys.ts";
import {
  controllerRevisions,
  networkPolicies,
  podDisruptionBudgets,
  services,
  workloads,
} from "../../api/kubernetes.ts";
import type { GPUNodePool } from "../../api/gpunodepool.ts";
import { persistentVolumeClaims } from "../../api/nodecache.ts";
import type { ModelDeployment, ModelDeploymentStatus } from "../../api/modeldeployment.ts";
import type { KubeObject } from "../../ports.ts";
import { canonicalJson } from "../identity.ts";
import type { Plan, Problem, Write } from "../plan.ts";
import { accountIsAllowed, beforeCapacity, firstProblem } from "./checks.ts";
import {
  desiredCacheClaim,
  desiredDisruptionBudget,
  desiredNetworkPolicy,
  desiredPool,
  desiredRevision,
  desiredService,
  desiredWorkload,
  resizedPool,
} from "./children.ts";
import { planFinalize } from "./finalize.ts";
import { endIdle, endPod } from "./idle.ts";
import { podFacts } from "./podfacts.ts";
import { protectNamespace } from "./protection.ts";
import { pruneRevisions } from "./revisions.ts";
import { revisionLabelOf, rolloutOf, type Renderer, type Rollout } from "./rollout.ts";
import { ownPool, type CurrentRevision, type Seen } from "./seen.ts";
import { sizeIsLogged, sizesOf, type Sizes } from "./size.ts";
import { statusOf, transitions } from "./status.ts";
import { renderPodTemplate } from "./template.ts";

export function planDeployment(seen: Seen, render: Renderer = renderPodTemplate): Plan<ModelDeploymentStatus> {
  const { deployment } = seen;
  if (deployment.metadata.deletionTimestamp) return planFinalize(seen);
  const blocked = firstProblem(beforeCapacity, seen);
  const settlingMs = blocked && settling(seen, blocked);
  if (settlingMs !== undefined) return settle(seen, settlingMs);
  const sizes = sizesOf(seen, blocked);
  const rollout = rolloutOf(seen, render);
  const facts = podFacts(seen, revisionLabelOf(rollout.revision));
  const status = statusOf({ seen, blocked, sizes, rollout, facts });
  const waits = [sizes.requeueAfterMs, facts.lookAgainMs].filter((ms) => ms !== undefined);
  return {
    steps: stepsOf(seen, blocked, sizes, rollout).filter((step) => step.length > 0),
    status,
    events: transitions(deployment.status?.conditions, status.conditions ?? []),
    because: blocked?.reason ?? sizes.holding?.reason ?? status.phase ?? "converging",
    ...(waits.length > 0 ? { requeueAfterMs: Math.min(...waits) } : {}),
  };
}

/** What is applied together arrives through several watches: what is missing in the first moment may only be late. */
const SETTLING_MS = 1_500;
const REFERENCES = new Set(["NodeTypeNotFound", "ModelNotFound"]);

/** How long to wait before a reference of a new deployment is called missing; undefined where it is to be said now. */
function settling({ deployment, now }: Seen, { reason }: Problem): number | undefined {
  const ageMs = now - Date.parse(deployment.metadata.creationTimestamp ?? "");
  const isNew = deployment.status === undefined && ageMs >= 0 && ageMs < SETTLING_MS;
  return isNew && REFERENCES.has(reason) ? SETTLING_MS - ageMs : undefined;
}

function settle(seen: Seen, requeueAfterMs: number): Plan<ModelDeploymentStatus> {
  const steps = isTerminating(seen) ? [] : [holdFinalizer(seen)].filter((step) => step.length > 0);
  return { steps, status: undefined, events: [], because: "what it names may be on its way", requeueAfterMs };
}

function stepsOf(seen: Seen, blocked: Problem | undefined, sizes: Sizes, rollout: Rollout): Write[][] {
  const end = sizes.overdue.map((pod) => endPod(pod, 0));
  // A terminating namespace takes nothing new; its deployments are deleted one by one and finalized then.
  if (isTerminating(seen)) return [end];
  return [
    holdFinalizer(seen),
    protectNamespace(seen),
    end,
    poolWrites(seen, blocked, sizes),
    ...servingWrites(seen, sizes, rollout),
  ];
}

function isTerminating({ namespace }: Seen): boolean {
  return namespace?.metadata.deletionTimestamp !== undefined || namespace?.status?.phase === "Terminating";
}

/** Before money: a node bought without it could outlive its owner. */
function holdFinalizer({ deployment }: Seen): Write[] {
  const held = deployment.metadata.finalizers ?? [];
  if (held.includes(finalizers.deployment)) return [];
  const body = {
    metadata: { resourceVersion: deployment.metadata.resourceVersion, finalizers: [...held, finalizers.deployment] },
  };
  return [
    {
      op: "patch",
      resource: modelDeployments,
      namespace: deployment.metadata.namespace,
      name: deployment.metadata.name,
      body,
      manager: fieldManagers.operator,
    },
  ];
}

function poolWrites(seen: Seen, blocked: Problem | undefined, sizes: Sizes): Write[] {
  const { deployment, nodeType } = seen;
  const pool = ownPool(seen);
  if (pool) return pool.metadata.deletionTimestamp ? [] : resizeWrites(seen, sizes);
  if (blocked || sizes.holding || !nodeType || sizes.poolSize === 0) return [];
  return [
    {
      op: "apply",
      resource: gpuNodePools,
      object: desiredPool(deployment, nodeType, sizes.poolSize, seen.namespace?.metadata.uid),
      manager: fieldManagers.size,
      force: true,
    },
  ];
}

/** A new wish only after the pool's log holds the former one: a size that was acted on must never be lost. */
function resizeWrites(seen: Seen, sizes: Sizes): Write[] {
  const pool = ownPool(seen);
  if (!pool) return [];
  const wanted = resizedPool(seen.deployment, pool, sizes.poolSize, accountIsAllowed(seen) === undefined);
  const wishes = ({ spec }: typeof pool): string => canonicalJson([spec.size, spec.account, spec.tags]);
  // After a restore from backup nobody says since when the size is wanted: it counts from when it is written again.
  const undated = !pool.metadata.managedFields?.some(({ manager }) => manager === fieldManagers.size);
  if (!undated && (wishes(wanted) === wishes(pool) || !sizeIsLogged(seen))) return [];
  return [
    {
      op: "apply",
      resource: gpuNodePools,
      object: { ...wanted, metadata: { ...wanted.metadata, uid: pool.metadata.uid } },
      manager: fieldManagers.size,
      force: true,
      ...(undated && { always: true }),
    },
  ];
}

function servingWrites(seen: Seen, sizes: Sizes, rollout: Rollout): Write[][] {
  const { revision, isNew } = rollout;
  const { deployment, workload } = seen;
  const pool = ownPool(seen);
  if (!revision || !pool) return [];
  // Pods follow nodes: before the first one is there, a workload would only stand in the scheduler's way.
  if (!workload && (pool.status?.claimed ?? 0) === 0) return [];
  return [
    isNew ? [pin(deployment, revision)] : [],
    [
      // The Service has the deployment's own name, which a tenant may have given away: force only restores our own.
      child(services, desiredService(deployment), isOurs(seen.service, deployment)),
      child(podDisruptionBudgets, desiredDisruptionBudget(deployment)),
      child(networkPolicies, desiredNetworkPolicy(deployment, seen.settings)),
      ...cacheClaim(seen, pool),
    ],
    endIdle(seen, sizes.workloadReplicas, rollout),
    [child(workloads, desiredWorkload(deployment, revision, sizes.workloadReplicas))],
    pruneRevisions(seen, revision.number),
  ];
}

function cacheClaim({ deployment, settings }: Seen, pool: GPUNodePool): Write[] {
  if (!settings.nodeCaches) return [];
  const claim = desiredCacheClaim(deployment, pool);
  return claim ? [child(persistentVolumeClaims, claim)] : [];
}

function isOurs(object: KubeObject | undefined, deployment: ModelDeployment): boolean {
  return object?.metadata.ownerReferences?.some(({ uid }) => uid === deployment.metadata.uid) ?? false;
}

function pin(deployment: ModelDeployment, { number, pinned }: CurrentRevision): Write {
  const object = desiredRevision(deployment, number, pinned);
  return { op: "create", resource: controllerRevisions, object, manager: fieldManagers.operator };
}

function child(resource: Write["resource"], object: KubeObject, force = true): Write {
  return { op: "apply", resource, object, manager: fieldManagers.operator, force };
}
