/**
 * ModelDeployment: snapshot in, plan out. Order: finalizer, pool, template, workload and its companions, status.
 * Blocked means "buy nothing new", never "tear down".
 */
import { fieldManagers, finalizers, labels } from "../../api/keys.ts";
import { gpuNodePools } from "../../api/gpunodepool.ts";
import {
  controllerRevisions,
  namespaces,
  networkPolicies,
  podDisruptionBudgets,
  services,
  workloads,
} from "../../api/kubernetes.ts";
import { modelDeployments, type ModelDeploymentStatus } from "../../api/modeldeployment.ts";
import { canonicalJson } from "../identity.ts";
import type { Plan, Problem, Write } from "../plan.ts";
import { accountIsAllowed, beforeCapacity, firstProblem } from "./checks.ts";
import {
  desiredDisruptionBudget,
  desiredNetworkPolicy,
  desiredPool,
  desiredRevision,
  desiredService,
  desiredWorkload,
  resizedPool,
} from "./children.ts";
import { endNow, planFinalize } from "./finalize.ts";
import { rolloutOf, type Renderer, type Rollout } from "./rollout.ts";
import { ownPool, type Seen } from "./seen.ts";
import { sizeIsLogged, sizesOf, type Sizes } from "./size.ts";
import { statusOf, transitions } from "./status.ts";
import { renderPodTemplate } from "./template.ts";

export function planDeployment(seen: Seen, render: Renderer = renderPodTemplate): Plan<ModelDeploymentStatus> {
  const { deployment } = seen;
  if (deployment.metadata.deletionTimestamp) return planFinalize(seen);
  const blocked = firstProblem(beforeCapacity, seen);
  const sizes = sizesOf(seen, blocked);
  const rollout = rolloutOf(seen, render);
  const status = statusOf({ seen, blocked, sizes, rollout });
  const steps = [
    holdFinalizer(seen),
    protectNamespace(seen),
    poolWrites(seen, blocked, sizes),
    ...servingWrites(seen, sizes, rollout),
  ];
  return {
    steps: steps.filter((step) => step.length > 0),
    status,
    events: transitions(deployment.status?.conditions, status.conditions ?? []),
    because: blocked?.reason ?? sizes.holding?.reason ?? status.phase ?? "converging",
    ...(sizes.requeueAfterMs === undefined ? {} : { requeueAfterMs: sizes.requeueAfterMs }),
  };
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

/** The label lets an admission policy refuse the namespace's deletion while a protected deployment lives in it. */
function protectNamespace({ deployment, namespace, othersProtected }: Seen): Write[] {
  const labelled = namespace?.metadata.labels?.[labels.deletionProtected] === "true";
  const wanted = deployment.spec.deletionProtection || othersProtected;
  if (!namespace || labelled === wanted) return [];
  const body = { metadata: { labels: { [labels.deletionProtected]: wanted ? "true" : null } } };
  return [{ op: "patch", resource: namespaces, name: namespace.metadata.name, body, manager: fieldManagers.operator }];
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
      object: desiredPool(deployment, nodeType, sizes.poolSize),
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
  if (wishes(wanted) === wishes(pool) || !sizeIsLogged(seen)) return [];
  return [
    {
      op: "apply",
      resource: gpuNodePools,
      object: { ...wanted, metadata: { ...wanted.metadata, uid: pool.metadata.uid } },
      manager: fieldManagers.size,
      force: true,
    },
  ];
}

function servingWrites(seen: Seen, sizes: Sizes, { revision, isNew }: Rollout): Write[][] {
  const { deployment, workload } = seen;
  const pool = ownPool(seen);
  const end = sizes.overdue.map(endNow);
  if (!revision || !pool) return [end];
  // Pods follow nodes: before the first one is there, a workload would only stand in the scheduler's way.
  if (!workload && (pool.status?.claimed ?? 0) === 0) return [end];
  const pin: Write[] = isNew
    ? [
        {
          op: "create",
          resource: controllerRevisions,
          object: desiredRevision(deployment, revision.number, revision.pinned),
          manager: fieldManagers.operator,
        },
      ]
    : [];
  const child = (resource: Write["resource"], object: ReturnType<typeof desiredService>, force = true): Write => ({
    op: "apply",
    resource,
    object,
    manager: fieldManagers.operator,
    force,
  });
  return [
    pin,
    [
      // The Service has the deployment's own name, which a tenant may have given away: never by force.
      child(services, desiredService(deployment), false),
      child(podDisruptionBudgets, desiredDisruptionBudget(deployment)),
      child(networkPolicies, desiredNetworkPolicy(deployment, seen.settings)),
    ],
    [child(workloads, desiredWorkload(deployment, revision, sizes.workloadReplicas))],
    end,
  ];
}
