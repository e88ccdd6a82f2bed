/** The end of a deployment: pods, then nodes, then the object. Its billing ended at deletionTimestamp, by the API server's clock. */
import { fieldManagers, finalizers } from "../../api/keys.ts";
import { gpuNodePools } from "../../api/gpunodepool.ts";
import { pods, workloads } from "../../api/kubernetes.ts";
import { modelDeployments, type ModelDeploymentStatus } from "../../api/modeldeployment.ts";
import { mergeConditions, type WantedCondition } from "../../api/conditions.ts";
import type { Plan, Write } from "../plan.ts";
import { ownPool, uidOf, type Seen } from "./seen.ts";
import { drainOf, isLiving } from "./size.ts";

type DeploymentPlan = Plan<ModelDeploymentStatus>;

export function planFinalize(seen: Seen): DeploymentPlan {
  const { deployment, workload } = seen;
  if (!deployment.metadata.finalizers?.includes(finalizers.deployment)) {
    return { steps: [], status: undefined, events: [], because: "the finalizer is off already" };
  }
  const living = seen.pods.filter(isLiving).length;
  const drain = drainOf(seen, 0);
  if (workload || living > 0) {
    const remove: Write[] =
      workload && !workload.metadata.deletionTimestamp
        ? [
            {
              op: "delete",
              resource: workloads,
              namespace: workload.metadata.namespace,
              name: workload.metadata.name,
              uid: workload.metadata.uid,
              propagationPolicy: "Background",
            },
          ]
        : [];
    const end: Write[] = drain.overdue.map((pod) => endNow(pod));
    return waiting(seen, [remove, end], `${living} pods finish their requests`, drain.requeueAfterMs);
  }
  const pool = ownPool(seen);
  if (pool) {
    const remove: Write[] = pool.metadata.deletionTimestamp
      ? []
      : [
          {
            op: "delete",
            resource: gpuNodePools,
            namespace: pool.metadata.namespace,
            name: pool.metadata.name,
            uid: pool.metadata.uid,
          },
        ];
    const words = pool.status?.conditions?.find((condition) => condition.type === "Ready")?.message;
    return waiting(seen, [remove], `the node pool is being released${words ? `: ${words}` : ""}`, undefined);
  }
  return {
    steps: [[dropFinalizer(seen)]],
    status: undefined,
    events: [{ type: "Normal", reason: "Released", message: "all nodes are released and recorded" }],
    because: "everything is gone",
  };
}

export function endNow(pod: Seen["pods"][number]): Write {
  return {
    op: "delete",
    resource: pods,
    namespace: pod.metadata.namespace,
    name: pod.metadata.name,
    uid: pod.metadata.uid,
    gracePeriodSeconds: 0,
  };
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
  const status: ModelDeploymentStatus = {
    ...seen.deployment.status,
    observedGeneration: generation,
    phase: "Deleting",
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
