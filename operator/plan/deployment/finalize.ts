/** The end of a deployment: pods, then nodes, then the object. Its billing ended at deletionTimestamp, by the API server's clock. */
import { gpuNodePools, modelDeployments } from "../../api/resources.ts";
import { fieldManagers, finalizers } from "../../api/keys.ts";
import { workloads } from "../../api/kubernetes.ts";
import type { ModelDeploymentStatus } from "../../api/modeldeployment.ts";
import { findCondition, mergeConditions, type WantedCondition } from "../../api/conditions.ts";
import type { KubeObject, Resource } from "../../ports.ts";
import type { Plan, Write } from "../plan.ts";
import { endAllIdle, endPod } from "./idle.ts";
import { podFacts } from "./podfacts.ts";
import { protectNamespace } from "./protection.ts";
import { currentRevision } from "./revisions.ts";
import { revisionLabelOf } from "./rollout.ts";
import { ownPool, uidOf, type Seen } from "./seen.ts";
import { drainOf } from "./size.ts";

type DeploymentPlan = Plan<ModelDeploymentStatus>;

export function planFinalize(seen: Seen): DeploymentPlan {
  const { deployment, workload } = seen;
  if (!deployment.metadata.finalizers?.includes(finalizers.deployment)) {
    return { steps: [], status: undefined, events: [], because: "the finalizer is off already" };
  }
  const drain = drainOf(seen, 0);
  const end = drain.overdue.map((pod) => endPod(pod, 0));
  if (workload || drain.remaining > 0) {
    const remove = workload && !workload.metadata.deletionTimestamp ? [removal(workloads, workload)] : [];
    const message =
      drain.remaining > 0 ? `${drain.remaining} pods finish their requests` : "the serving pods are being removed";
    return waiting(seen, [protectNamespace(seen), endAllIdle(seen), remove, end], message, drain.nextEndMs);
  }
  const pool = ownPool(seen);
  if (pool) {
    const remove = pool.metadata.deletionTimestamp ? [] : [removal(gpuNodePools, pool)];
    const words = findCondition(pool.status?.conditions, "Ready")?.message;
    const message = `the node pool is being released${words ? `: ${words}` : ""}`;
    return waiting(seen, [protectNamespace(seen), remove], message, undefined);
  }
  return {
    steps: [protectNamespace(seen), [dropFinalizer(seen)]].filter((step) => step.length > 0),
    status: undefined,
    events: [{ type: "Normal", reason: "Released", message: "all nodes are released and recorded" }],
    because: "everything is gone",
  };
}

/** Of exactly the object that was seen, not of a namesake. */
function removal(resource: Resource, { metadata }: KubeObject): Write {
  const { namespace, name, uid } = metadata;
  return { op: "delete", resource, namespace, name, uid, propagationPolicy: "Background" };
}

function dropFinalizer({ deployment }: Seen): Write {
  const rest = (deployment.metadata.finalizers ?? []).filter((name) => name !== finalizers.deployment);
  return {
    op: "patch",
    resource: modelDeployments,
    namespace: deployment.metadata.namespace,
    name: deployment.metadata.name,
    body: {
      metadata: { uid: uidOf(deployment), resourceVersion: deployment.metadata.resourceVersion, finalizers: rest },
    },
    manager: fieldManagers.operator,
  };
}

function waiting(
  seen: Seen,
  steps: readonly (readonly Write[])[],
  message: string,
  requeueAfterMs: number | undefined,
): DeploymentPlan {
  const generation = seen.deployment.metadata.generation ?? 0;
  const wanted: WantedCondition[] = ["CapacityReady", "Serving", "Reconciling", "Ready"].map((type) => ({
    type,
    status: type === "Reconciling" ? "True" : "False",
    reason: "Deleting",
    message,
  }));
  const facts = podFacts(seen, revisionLabelOf(currentRevision(seen)));
  const status: ModelDeploymentStatus = {
    ...seen.deployment.status,
    observedGeneration: generation,
    phase: "Deleting",
    replicas: facts.replicas,
    readyReplicas: facts.ready,
    updatedReplicas: facts.updated,
    conditions: mergeConditions(seen.deployment.status?.conditions, wanted, { now: seen.now, generation }),
  };
  const first = seen.deployment.status?.phase !== "Deleting";
  return {
    steps: steps.filter((step) => step.length > 0),
    status,
    events: first ? [{ type: "Normal", reason: "Deleting", message }] : [],
    because: message,
    ...(requeueAfterMs === undefined ? {} : { requeueAfterMs }),
  };
}
