/**
 * Servers that are to go and have not started: they hold no request, so they get no drain. A kubelet cannot shorten the
 * grace of a pod that is already on its way out (1.36: SyncTerminatingPod ignores its context, kubernetes#113606), and vLLM
 * 0.32.0 does not end at SIGTERM while it loads. So Berth deletes them itself, before the workload is lowered.
 */
import { pods, type Pod } from "../../api/kubernetes.ts";
import type { Write } from "../plan.ts";
import { revisionLabelOf, type Rollout } from "./rollout.ts";
import type { Seen } from "./seen.ts";
import { isLiving } from "./size.ts";
import { REVISION_LABEL } from "./template.ts";

/** A kubelet gives no less. */
const IDLE_GRACE_SECONDS = 2;

/** Those beyond the replicas that the workload is about to have, and those of a template that is about to be replaced. */
export function endIdle(seen: Seen, replicas: number, { revision }: Rollout): Write[] {
  const { workload } = seen;
  if (!workload) return [];
  const idle = idlePods(seen);
  const label = revisionLabelOf(revision);
  const isFormer = ({ metadata }: Pod): boolean => metadata.labels?.[REVISION_LABEL] !== label;
  const former = label === undefined ? [] : idle.filter(isFormer);
  const surplus = Math.max(0, (workload.spec?.replicas ?? 0) - replicas - former.length);
  const others = idle.filter((pod) => !former.includes(pod)).slice(0, surplus);
  return [...former, ...others].map((pod) => endPod(pod, IDLE_GRACE_SECONDS));
}

export function endAllIdle(seen: Seen): Write[] {
  return idlePods(seen).map((pod) => endPod(pod, IDLE_GRACE_SECONDS));
}

/** Nobody asked them to end, and they have not passed their startup probe since their container's last start. */
function idlePods(seen: Seen): Pod[] {
  return seen.pods
    .filter((pod) => isLiving(pod) && !pod.metadata.deletionTimestamp && isStarting(pod))
    .sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
}

function isStarting({ status }: Pod): boolean {
  return status?.containerStatuses?.some(({ started }) => started === false) ?? false;
}

/** Of exactly the pod that was seen, not of a namesake. */
export function endPod(pod: Pod, gracePeriodSeconds: number): Write {
  return {
    op: "delete",
    resource: pods,
    namespace: pod.metadata.namespace,
    name: pod.metadata.name,
    uid: pod.metadata.uid,
    gracePeriodSeconds,
  };
}
