// What kwok plays for the kubelets: the life of nodes and pods that carry no real containers.
// A pod's part is chosen, in this order, by its annotation `test.berth.dev/play`, by the environment variable
// BERTH_TEST_PLAY of one of its containers, or by its namespace's name ending in `-play-<part>`, so that a test can
// make the pods of an unchanged deployment fail. See PodPlay for the parts.
import { stringify } from "yaml";

/**
 * - `ready` (default): running and ready at once; pods of Jobs then succeed.
 * - `slow`: running, ready after `test.berth.dev/ready-after` (a Go duration, 5s when missing; a namespace may end in `-play-slow-20s`).
 * - `never-ready`: running, never ready.
 * - `crash-loop`, `init-crash-loop`, `image-pull`: waiting with the kubelet's reason for that.
 * - `fail`: ends in phase Failed.
 * - `manual`: left alone, a test writes the status itself. Deleted pods go nevertheless.
 */
export type PodPlay =
  "ready" | "slow" | "never-ready" | "crash-loop" | "init-crash-loop" | "image-pull" | "fail" | "manual";

export const playAnnotation = "test.berth.dev/play";
export const readyAfterAnnotation = "test.berth.dev/ready-after";
/** How long a deleted pod takes to go (a Go duration); a namespace's name may hold `-drain-<duration>` instead. */
export const deleteAfterAnnotation = "test.berth.dev/delete-after";
export const completeAfterAnnotation = "test.berth.dev/complete-after";

const annotation = (name: string): string => `.metadata.annotations["${name}"]`;

const podPlay = [
  `(${annotation(playAnnotation)})`,
  `([.spec.containers[] | (.env // [])[] | select(.name == "BERTH_TEST_PLAY") | .value][0])`,
  `(.metadata.namespace | capture("-play-(?<part>[a-z]+(-[a-z]+)*)(-[0-9]+m?s)?$") | .part)`,
  `"ready"`,
].join(" // ");
const nodePlay = `(${annotation(playAnnotation)}) // "ready"`;
const readyAfter = `(${annotation(readyAfterAnnotation)}) // (.metadata.namespace // "" | capture("-play-slow-(?<time>[0-9]+m?s)$") | .time)`;
const deleteAfter = `(${annotation(deleteAfterAnnotation)}) // (.metadata.namespace | capture("-drain-(?<time>[0-9]+m?s)") | .time)`;
const readyStatus = `.status.conditions[]? | select(.type == "Ready") | .status`;

interface Match {
  readonly key: string;
  readonly operator: "In" | "NotIn" | "Exists" | "DoesNotExist";
  readonly values?: readonly string[];
}

interface StageSpec {
  readonly name: string;
  readonly kind: "Node" | "Pod";
  readonly match: readonly Match[];
  readonly delay?: { readonly expression: string; readonly defaultMs: number };
  readonly status?: string;
}

function stage({ name, kind, match, delay, status }: StageSpec): object {
  return {
    apiVersion: "kwok.x-k8s.io/v1alpha1",
    kind: "Stage",
    metadata: { name },
    spec: {
      resourceRef: { apiGroup: "v1", kind },
      selector: { matchExpressions: match },
      ...(delay && {
        delay: { durationMilliseconds: delay.defaultMs, durationFrom: { expressionFrom: delay.expression } },
      }),
      next: status
        ? { patches: [{ subresource: "status", root: "status", type: "strategic", template: status }] }
        : { delete: true },
    },
  };
}

const alive: Match = { key: ".metadata.deletionTimestamp", operator: "DoesNotExist" };
const plays = (...values: PodPlay[]): Match => ({ key: podPlay, operator: "In", values });
const unless = (key: string, ...values: string[]): Match => ({ key, operator: "NotIn", values });
const unfinished = unless(".status.phase", "Succeeded", "Failed");
const podDelay = (expression: string, defaultMs: number) => ({ expression, defaultMs });

interface PodStatus {
  readonly phase: string;
  readonly initialized?: boolean;
  readonly ready?: boolean;
  readonly container: string;
  readonly initContainer?: string;
}

/** Template of a pod's status. `container` and `initContainer` are the lines of one container's status after its name. */
function podStatus({ phase, initialized = true, ready = false, container, initContainer }: PodStatus): string {
  const flag = (value: boolean): string => (value ? '"True"' : '"False"');
  const unready = ready ? "" : "\n  reason: ContainersNotReady";
  return `
{{ $now := Now }}
conditions:
- type: Initialized
  status: ${flag(initialized)}
  lastTransitionTime: {{ $now | Quote }}
- type: ContainersReady
  status: ${flag(ready)}
  lastTransitionTime: {{ $now | Quote }}${unready}
- type: Ready
  status: ${flag(ready)}
  lastTransitionTime: {{ $now | Quote }}${unready}
{{ if .spec.initContainers }}
initContainerStatuses:
{{ range .spec.initContainers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  imageID: ""
${initContainer ?? completedContainer}
{{ end }}
{{ end }}
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  imageID: ""
${container}
{{ end }}
hostIP: {{ NodeIPWith .spec.nodeName | Quote }}
podIP: {{ PodIPWith .spec.nodeName ( or .spec.hostNetwork false ) ( or .metadata.uid "" ) ( or .metadata.name "" ) ( or .metadata.namespace "" ) | Quote }}
startTime: {{ .metadata.creationTimestamp | Quote }}
phase: ${phase}
`;
}

const terminated = (exitCode: number, reason: string): string => `terminated:
      exitCode: ${String(exitCode)}
      reason: ${reason}
      startedAt: {{ $now | Quote }}
      finishedAt: {{ $now | Quote }}`;

const completedContainer = `  ready: true
  started: false
  restartCount: 0
  state:
    ${terminated(0, "Completed")}`;

const runningContainer = (ready: boolean): string => `  ready: ${String(ready)}
  started: ${String(ready)}
  restartCount: 0
  state:
    running:
      startedAt: {{ $now | Quote }}`;

const waitingContainer = (reason: string, message: string): string => `  ready: false
  started: false
  restartCount: 0
  state:
    waiting:
      reason: ${reason}
      message: ${message}`;

const crashingContainer = `  ready: false
  started: false
  restartCount: 3
  state:
    waiting:
      reason: CrashLoopBackOff
      message: back-off 40s restarting failed container
  lastState:
    ${terminated(1, "Error")}`;

const endedContainer = (exitCode: number, reason: string): string => `  ready: false
  started: false
  restartCount: 0
  state:
    ${terminated(exitCode, reason)}`;

const firstWaiting = (list: string): string => `.status.${list}[0]?.state.waiting.reason`;
const ownerKind = ".metadata.ownerReferences[]?.kind";

function podStages(): object[] {
  const pod = (name: string, match: Match[], status: string, delay?: StageSpec["delay"]): object =>
    stage({ name, kind: "Pod", match: [alive, unfinished, ...match], status, delay });
  const idle = waitingContainer("PodInitializing", "waiting for init containers");
  const pull = waitingContainer("ImagePullBackOff", "Back-off pulling image {{ .image | Quote }}");
  const running = podStatus({ phase: "Running", ready: true, container: runningContainer(true) });
  const loading = podStatus({ phase: "Running", container: runningContainer(false) });
  const isLoading: Match = { key: ".status.containerStatuses[0]?.state.running", operator: "Exists" };
  const notLoading: Match = { ...isLoading, operator: "DoesNotExist" };
  return [
    pod("pod-ready", [plays("ready"), unless(readyStatus, "True")], running),
    pod("pod-loading", [plays("slow"), notLoading], loading),
    pod("pod-loaded", [plays("slow"), isLoading, unless(readyStatus, "True")], running, podDelay(readyAfter, 5000)),
    pod("pod-never-ready-starts", [plays("never-ready"), notLoading], loading),
    pod("pod-never-ready", [plays("never-ready"), isLoading, unless(readyStatus, "False")], loading),
    pod(
      "pod-crashes",
      [plays("crash-loop"), unless(firstWaiting("containerStatuses"), "CrashLoopBackOff")],
      podStatus({ phase: "Running", container: crashingContainer }),
    ),
    pod(
      "pod-init-crashes",
      [plays("init-crash-loop"), unless(firstWaiting("initContainerStatuses"), "CrashLoopBackOff")],
      podStatus({ phase: "Pending", initialized: false, container: idle, initContainer: crashingContainer }),
    ),
    pod(
      "pod-image-pull",
      [plays("image-pull"), unless(firstWaiting("containerStatuses"), "ImagePullBackOff")],
      podStatus({ phase: "Pending", initialized: false, container: pull, initContainer: pull }),
    ),
    pod("pod-fails", [plays("fail")], podStatus({ phase: "Failed", container: endedContainer(1, "Error") })),
    pod(
      "pod-completes",
      [
        plays("ready"),
        { key: readyStatus, operator: "In", values: ["True"] },
        { key: ownerKind, operator: "In", values: ["Job"] },
      ],
      podStatus({ phase: "Succeeded", container: endedContainer(0, "Completed") }),
      podDelay(annotation(completeAfterAnnotation), 0),
    ),
    stage({
      name: "pod-goes",
      kind: "Pod",
      match: [{ key: ".metadata.deletionTimestamp", operator: "Exists" }],
      delay: podDelay(deleteAfter, 0),
    }),
  ];
}

function nodeStatus(ready: boolean): string {
  const reason = ready ? "KubeletReady" : "KubeletNotReady";
  const message = ready ? "kubelet is posting ready status" : "container runtime network not ready";
  return `
{{ $now := Now }}
conditions:
- type: Ready
  status: "${ready ? "True" : "False"}"
  reason: ${reason}
  message: ${message}
  lastHeartbeatTime: {{ $now | Quote }}
  lastTransitionTime: {{ $now | Quote }}
{{ range tuple "MemoryPressure" "DiskPressure" "PIDPressure" "NetworkUnavailable" }}
- type: {{ . }}
  status: "False"
  reason: NoProblem
  message: no problem seen
  lastHeartbeatTime: {{ $now | Quote }}
  lastTransitionTime: {{ $now | Quote }}
{{ end }}
addresses:
- type: InternalIP
  address: {{ NodeIP | Quote }}
- type: Hostname
  address: {{ .metadata.name | Quote }}
{{ with .status.allocatable }}
allocatable:
{{ YAML . 1 }}
capacity:
{{ YAML . 1 }}
{{ end }}
nodeInfo:
  architecture: {{ index (or .metadata.labels dict) "kubernetes.io/arch" | default "amd64" }}
  bootID: ""
  containerRuntimeVersion: containerd://2.1.0
  kernelVersion: 6.12.0
  kubeProxyVersion: ""
  kubeletVersion: v1.36.3
  machineID: ""
  operatingSystem: linux
  osImage: kwok
  systemUUID: ""
phase: Running
`;
}

function nodeStages(): object[] {
  const delay = { expression: annotation(readyAfterAnnotation), defaultMs: 0 };
  const notReady: Match = { key: nodePlay, operator: "In", values: ["not-ready"] };
  return [
    stage({
      name: "node-ready",
      kind: "Node",
      match: [alive, unless(nodePlay, "not-ready"), unless(readyStatus, "True")],
      delay,
      status: nodeStatus(true),
    }),
    stage({
      name: "node-not-ready",
      kind: "Node",
      match: [alive, notReady, unless(readyStatus, "False")],
      status: nodeStatus(false),
    }),
  ];
}

/** kwok's configuration file: its own options and every stage, as YAML documents. */
export function kwokConfiguration(): string {
  const options = {
    apiVersion: "config.kwok.x-k8s.io/v1alpha1",
    kind: "KwokConfiguration",
    options: { podPlayStageParallelism: 16, nodePlayStageParallelism: 8, nodeLeaseParallelism: 8 },
  };
  return [options, ...nodeStages(), ...podStages()].map((document) => stringify(document)).join("---\n");
}
