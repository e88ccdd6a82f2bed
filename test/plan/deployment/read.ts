/** Reads plans the way tests speak of them. */
import type { GPUNodePool } from "../../../operator/api/gpunodepool.ts";
import type { Workload } from "../../../operator/api/kubernetes.ts";
import type { ModelDeploymentStatus } from "../../../operator/api/modeldeployment.ts";
import { describeWrite, type Plan, type Write } from "../../../operator/plan/plan.ts";
import type { Seen } from "../../../operator/plan/deployment/seen.ts";
import { holds } from "../../../operator/runtime/compare.ts";

export type DeploymentPlan = Plan<ModelDeploymentStatus>;

export function writes(plan: DeploymentPlan): readonly Write[] {
  return plan.steps.flat();
}

export function described(plan: DeploymentPlan): string[] {
  return writes(plan).map(describeWrite);
}

export function conditionOf(plan: DeploymentPlan, type: string): string | undefined {
  const found = plan.status?.conditions?.find((condition) => condition.type === type);
  return found && `${found.status} ${found.reason}`;
}

export function messageOf(plan: DeploymentPlan, type = "Ready"): string {
  return plan.status?.conditions?.find((condition) => condition.type === type)?.message ?? "";
}

/** Size that the plan writes to the pool; undefined when it does not write it. */
export function writtenSize(plan: DeploymentPlan): number | undefined {
  return applied<GPUNodePool>(plan, "GPUNodePool")?.spec.size;
}

export function writtenWorkload(plan: DeploymentPlan): Workload | undefined {
  return applied<Workload>(plan, "Deployment");
}

export function applied<T>(plan: DeploymentPlan, kind: string): T | undefined {
  const write = writes(plan).find((one) => (one.op === "apply" || one.op === "create") && one.resource.kind === kind);
  return write && "object" in write ? (write.object as unknown as T) : undefined;
}

/** Writes that would change something: an apply of what is there already is never sent. Companions are taken for current. */
export function effective(plan: DeploymentPlan, seen: Seen): string[] {
  const companions = new Set(["Service", "PodDisruptionBudget", "NetworkPolicy"]);
  return writes(plan)
    .filter((write) => {
      if (write.op !== "apply") return true;
      if (companions.has(write.resource.kind)) return false;
      const live = write.resource.kind === "GPUNodePool" ? seen.pool : seen.workload;
      return !live || !holds({ ...write.object }, live);
    })
    .map(describeWrite);
}
