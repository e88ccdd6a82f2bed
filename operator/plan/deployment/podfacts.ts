/** What the pods themselves say: how many serve, how many run the newest template, and what keeps the others from serving. */
import type { FetchState } from "../../api/fetches.ts";
import type { ContainerStatus, EndedContainer, Pod } from "../../api/kubernetes.ts";
import { crashWords, endingOf } from "./crashwords.ts";
import { signatureRefusal } from "./fetchwords.ts";
import { explainEnding, explainFailure, type FailureContext } from "../engine/failures.ts";
import type { Seen } from "./seen.ts";
import { byCost } from "../sizing/proposal.ts";
import { isLiving } from "./size.ts";
import { REVISION_LABEL } from "./template.ts";

type ModelRef = Seen["deployment"]["spec"]["model"];

export interface Fetching {
  readonly podName: string;
  readonly state?: FetchState;
}

export interface PodFacts {
  /** Pods that exist and have not ended, those on their way out included. */
  readonly replicas: number;
  /** Of those, pods that nobody has asked to end. */
  readonly staying: number;
  readonly ready: number;
  readonly updated: number;
  readonly updatedReady: number;
  /** First failure in the kubelet's or scheduler's own words. */
  readonly failure?: { readonly reason: string; readonly message: string };
  /** Pods whose init step runs, with how far it says to be, by name. */
  readonly fetching: readonly Fetching[];
  /** A pod that waits for a node may become a failure after this time. */
  readonly lookAgainMs?: number;
}

/** A pod finds its node within this time, or something is wrong: node labels and GPUs reach the scheduler a little late. */
const PLACEMENT_PATIENCE_MS = 30_000;

/** `revision`: value of REVISION_LABEL on the newest pods. */
export function podFacts(
  seen: Pick<Seen, "pods" | "now" | "deployment" | "model" | "nodeTypes" | "fetches">,
  revision?: string,
): PodFacts {
  const { pods, now } = seen;
  const context = failureContext(seen);
  const living = pods.filter(isLiving);
  const staying = living
    .filter((pod) => !pod.metadata.deletionTimestamp)
    .sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
  const isUpdated = (pod: Pod): boolean => revision !== undefined && pod.metadata.labels?.[REVISION_LABEL] === revision;
  const waiting = staying.map((pod) => waitOf(pod, now)).filter((wait) => wait !== undefined);
  // A successor waits for the GPUs of the pod that it replaces: that is no failure.
  const unplaced = staying.length === living.length ? waiting.find(({ leftMs }) => leftMs <= 0) : undefined;
  const failure =
    staying
      .map((pod) => containersFailure(pod, context, seen.deployment.spec.model))
      .find((found) => found !== undefined) ?? unplaced?.failure;
  const pending = waiting.map(({ leftMs }) => leftMs).filter((ms) => ms > 0);
  return {
    replicas: living.length,
    staying: staying.length,
    ready: staying.filter(isReady).length,
    updated: staying.filter(isUpdated).length,
    updatedReady: staying.filter((pod) => isUpdated(pod) && isReady(pod)).length,
    fetching: staying.filter(isFetching).map((pod) => fetchingOf(pod, seen.fetches)),
    ...(failure ? { failure } : {}),
    ...(pending.length > 0 ? { lookAgainMs: Math.min(...pending) } : {}),
  };
}

function isFetching({ status }: Pod): boolean {
  return status?.initContainerStatuses?.some(({ state }) => state?.running !== undefined) ?? false;
}

function fetchingOf({ metadata: { name, uid = "" } }: Pod, fetches: Seen["fetches"]): Fetching {
  const state = fetches[uid];
  return state ? { podName: name, state } : { podName: name };
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

/** Node types beside the present one that the matrix allows for what is wanted, the cheapest first, for the words about a failure. */
function failureContext({
  deployment,
  model,
  nodeTypes,
}: Pick<Seen, "deployment" | "model" | "nodeTypes">): FailureContext {
  const { nodeType, contextLength = 0 } = deployment.spec;
  const others = (model?.status?.nodeSupport ?? []).filter(
    (row) =>
      row.nodeType !== nodeType &&
      row.quantizations.some(({ allowed, maxContextLength }) => allowed && maxContextLength >= contextLength),
  );
  const names = new Set(others.map((row) => row.nodeType));
  const types = nodeTypes.filter(({ metadata }) => names.has(metadata.name)).toSorted(byCost);
  return { contextLength, otherNodeTypes: types.map(({ metadata }) => metadata.name) };
}

function containersFailure(pod: Pod, context: FailureContext, model: ModelRef): PodFacts["failure"] {
  const { initContainerStatuses = [], containerStatuses = [] } = pod.status ?? {};
  // The engine's server exits with 0 after its engine has died (vLLM 0.32.0): that it ended at all is the failure.
  const failed =
    (isServer: boolean): IsFailure =>
    (end) =>
      isServer || end.exitCode !== 0;
  const steps = initContainerStatuses.map((container) => ({ container, isFailure: failed(false) }));
  const servers = containerStatuses.map((container) => ({ container, isFailure: failed(true) }));
  for (const { container, isFailure } of [...steps, ...servers]) {
    const words = containerFailure(container, isFailure, context);
    if (words) {
      const refused = initContainerStatuses.includes(container) && signatureRefusal(container);
      if (refused)
        return {
          reason: "SignatureInvalid",
          message: `pod ${pod.metadata.name} refuses ${model.kind} ${model.name}: ${refused}`,
        };
      return { reason: "PodFailing", message: `pod ${pod.metadata.name}, container ${container.name}: ${words}` };
    }
  }
  return undefined;
}

interface Wait {
  readonly leftMs: number;
  readonly failure: NonNullable<PodFacts["failure"]>;
}

function waitOf(pod: Pod, now: number): Wait | undefined {
  const scheduled = pod.status?.conditions?.find((condition) => condition.type === "PodScheduled");
  if (scheduled?.status !== "False" || scheduled.reason !== "Unschedulable") return undefined;
  const since = Date.parse(scheduled.lastTransitionTime ?? pod.metadata.creationTimestamp ?? "");
  const words = scheduled.message ?? "unschedulable";
  return {
    leftMs: Number.isNaN(since) ? 0 : since + PLACEMENT_PATIENCE_MS - now,
    failure: { reason: "PodUnschedulable", message: `pod ${pod.metadata.name} waits for its node: ${words}` },
  };
}

type IsFailure = (end: EndedContainer) => boolean;

function containerFailure(
  { state, lastState, ready, restartCount = 0 }: ContainerStatus,
  isFailure: IsFailure,
  context: FailureContext,
): string | undefined {
  const waiting = state?.waiting;
  const last = lastState?.terminated;
  const restarts = `restarts: ${restartCount}`;
  if (waiting?.reason && FAILING.has(waiting.reason)) {
    // What the kubelet adds to a crash loop is only how long it waits.
    if (last) return `${endOf(last, context)}; ${waiting.reason}, ${restarts}`;
    return `${waiting.reason}${waiting.message ? `: ${waiting.message}` : ""}`;
  }
  const ended = state?.terminated;
  if (ended && isFailure(ended)) return `${endOf(ended, context)}; ${restarts}`;
  // Between two crashes it runs for a while: still the same failure until it answers.
  if (!ended && !ready && last && isFailure(last)) return `${endOf(last, context)}; started again, ${restarts}`;
  return undefined;
}

/** What to change, where the failure is a known one, before the program's own words. */
function endOf({ exitCode, reason, message }: EndedContainer, context: FailureContext): string {
  const own = crashWords(message) ?? (isSignal(exitCode) ? undefined : lastLine(message));
  const known = explainFailure(message ?? "", context) ?? explainEnding(reason);
  const words = known ? `${known.message}${own ? ` (${own})` : ""}` : own;
  return `${endingOf(exitCode, reason)}${words ? `: ${words}` : ""}`;
}

/** Ended from outside: the last line of the log says nothing about why. */
function isSignal(exitCode: number | undefined): boolean {
  return exitCode !== undefined && exitCode > 128;
}

function lastLine(message: string | undefined): string | undefined {
  const lines = (message ?? "").split(/\r?\n/).map((line) => line.trim());
  return lines.findLast((line) => line !== "")?.slice(0, 300);
}
