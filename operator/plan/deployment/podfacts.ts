/** What the pods themselves say: how many serve, how many run the newest template, and what keeps the others from serving. */
import type { ContainerStatus, Pod } from "../../api/kubernetes.ts";
import { isLiving } from "./size.ts";
import { REVISION_LABEL } from "./template.ts";

export interface PodFacts {
  readonly replicas: number;
  readonly ready: number;
  readonly updated: number;
  readonly updatedReady: number;
  /** First failure in the kubelet's or scheduler's own words. */
  readonly failure?: { readonly reason: string; readonly message: string };
}

export function podFacts(pods: readonly Pod[], revision: number | undefined): PodFacts {
  const living = pods.filter(isLiving);
  const staying = living.filter((pod) => !pod.metadata.deletionTimestamp);
  const isUpdated = (pod: Pod): boolean => pod.metadata.labels?.[REVISION_LABEL] === String(revision);
  const failure = staying.map(failureOf).find((found) => found !== undefined);
  return {
    replicas: living.length,
    ready: staying.filter(isReady).length,
    updated: staying.filter(isUpdated).length,
    updatedReady: staying.filter((pod) => isUpdated(pod) && isReady(pod)).length,
    ...(failure ? { failure } : {}),
  };
}

function isReady(pod: Pod): boolean {
  return (
    pod.status?.conditions?.some((condition) => condition.type === "Ready" && condition.status === "True") ?? false
  );
}

/** Waiting reasons that do not pass by themselves soon. */
const FAILING = new Set([
  "CrashLoopBackOff",
  "ImagePullBackOff",
  "ErrImagePull",
  "InvalidImageName",
  "CreateContainerConfigError",
  "CreateContainerError",
  "RunContainerError",
]);

function failureOf(pod: Pod): PodFacts["failure"] {
  const name = pod.metadata.name;
  const containers = [...(pod.status?.initContainerStatuses ?? []), ...(pod.status?.containerStatuses ?? [])];
  for (const container of containers) {
    const words = containerFailure(container);
    if (words) return { reason: "PodFailing", message: `pod ${name}, container ${container.name}: ${words}` };
  }
  const scheduled = pod.status?.conditions?.find((condition) => condition.type === "PodScheduled");
  if (scheduled?.status === "False" && scheduled.reason === "Unschedulable") {
    return {
      reason: "PodUnschedulable",
      message: `pod ${name} waits for its node: ${scheduled.message ?? "unschedulable"}`,
    };
  }
  return undefined;
}

function containerFailure({ state, lastState, restartCount = 0 }: ContainerStatus): string | undefined {
  const waiting = state?.waiting;
  if (waiting?.reason && FAILING.has(waiting.reason)) {
    const last = lastState?.terminated;
    const ended = last
      ? ` (last exit code ${last.exitCode ?? "unknown"}${last.message ? `: ${last.message.trim().slice(-1024)}` : ""})`
      : "";
    return `${waiting.reason}${waiting.message ? `: ${waiting.message}` : ""}${ended}`;
  }
  const ended = state?.terminated;
  if (ended && ended.exitCode !== 0)
    return `ended with exit code ${ended.exitCode ?? "unknown"}${ended.reason ? ` (${ended.reason})` : ""}, ${restartCount} restarts`;
  return undefined;
}
