/**
 * How long a replica took to start, phase by phase, from the times that scheduler and kubelet wrote to the pod: nothing
 * is measured by Berth's own clock.
 */
import type { ContainerStatus, Pod } from "../../api/kubernetes.ts";

/**
 * In order, each from the end of the one before: `schedule` from the pod's creation until it has a node, `fetch` until
 * the model's files are there (pull of Berth's image included), `start` until the engine's container runs (pull of its
 * image included), `ready` until it answers: weights, KV cache, compilation.
 */
export const startupPhases = ["schedule", "fetch", "start", "ready"] as const;
export type StartupPhase = (typeof startupPhases)[number];

export interface Startup {
  readonly podUID: string;
  readonly podName: string;
  readonly nodeName: string;
  /** Epoch milliseconds. */
  readonly readyAt: number;
  /** Whole seconds, as the API server keeps times. */
  readonly seconds: Readonly<Record<StartupPhase, number>>;
}

/** undefined while the pod is on its way, where a time is missing, and where a container had to be started again. */
export function startupOf(pod: Pod): Startup | undefined {
  const { initContainerStatuses = [], containerStatuses = [] } = pod.status ?? {};
  const { uid, name, deletionTimestamp, creationTimestamp } = pod.metadata;
  const nodeName = pod.spec?.nodeName;
  const [fetch] = initContainerStatuses;
  const [engine] = containerStatuses;
  if (uid === undefined || nodeName === undefined || deletionTimestamp || !fetch || !engine) return undefined;
  if (restarted(fetch) || restarted(engine)) return undefined;
  const times = [
    creationTimestamp,
    trueSince(pod, "PodScheduled"),
    fetch.state?.terminated?.finishedAt,
    engine.state?.running?.startedAt,
    trueSince(pod, "Ready"),
  ].map((time) => Date.parse(time ?? ""));
  const [created = NaN, scheduled = NaN, fetched = NaN, started = NaN, readyAt = NaN] = times;
  if (times.some(Number.isNaN)) return undefined;
  const seconds = {
    schedule: secondsBetween(created, scheduled),
    fetch: secondsBetween(scheduled, fetched),
    start: secondsBetween(fetched, started),
    ready: secondsBetween(started, readyAt),
  };
  return { podUID: uid, podName: name, nodeName, readyAt, seconds };
}

/** One line for people. */
export function startupText({ podName, nodeName, seconds }: Startup): string {
  const total = startupPhases.reduce((sum, phase) => sum + seconds[phase], 0);
  const parts = startupPhases.map((phase) => `${phase} ${seconds[phase]} s`);
  return `pod ${podName} on node ${nodeName} answers ${total} s after it was made: ${parts.join(", ")}`;
}

function restarted({ restartCount }: ContainerStatus): boolean {
  return (restartCount ?? 0) > 0;
}

function trueSince(pod: Pod, type: string): string | undefined {
  const condition = pod.status?.conditions?.find((entry) => entry.type === type);
  return condition?.status === "True" ? condition.lastTransitionTime : undefined;
}

/** Times come from several machines' clocks: a second that goes backwards counts as none. */
function secondsBetween(from: number, to: number): number {
  return Math.max(0, Math.round((to - from) / 1000));
}
