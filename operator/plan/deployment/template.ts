/** The serving pod's template: rendered once for a set of spec fields and a model revision, then pinned. */
import { STORE_AUDIENCE, labels, MANAGED_BY, taints } from "../../api/keys.ts";
import type { GPUNodePool } from "../../api/gpunodepool.ts";
import type { ModelStatus } from "../../api/model.ts";
import type { NodeTypeSpec } from "../../api/nodetype.ts";
import { MODEL_PATH, SERVING_PORT, engineEnv } from "../engine/args.ts";
import { LOGGING_FILE, LOGGING_FOLDER, engineLogging } from "../engine/logging.ts";
import { wholeQuantity } from "../quantity.ts";
import type { PinnedTemplate } from "./seen.ts";

export interface TemplateInput {
  readonly deploymentName: string;
  readonly deploymentUID: string;
  readonly pool: GPUNodePool;
  /** CPU and memory of the node; undefined when its NodeType is gone: then no request is stated beside the GPUs. */
  readonly node: Pick<NodeTypeSpec, "vcpus" | "memory"> | undefined;
  readonly model: Pick<ModelStatus, "weightBytes">;
  readonly image: string;
  readonly args: readonly string[];
  readonly berthImage: string;
  readonly storeService: string;
  /** Time for a pod between the wish that it ends and its end by force: requests in flight finish within it. */
  readonly drainSeconds: number;
}

/** Label on pods: hash of what they run. Ready needs every serving pod to carry the newest; the rollout adds it. */
export const REVISION_LABEL = "berth.dev/revision";

/** The engine's logging configuration, which reaches it as a file. */
const LOGGING = "berth.dev/engine-logging";
/**
 * Seconds for which a pod that was asked to end goes on taking requests: so long may the news take to reach every
 * kube-proxy and load balancer. vLLM refuses new requests from SIGTERM on, also those on connections that were kept open.
 */
const PRE_STOP_SECONDS = 10;
/** Seconds that vLLM takes to end its processes after the last request (6 s on 2 slow cores). */
const TEARDOWN_SECONDS = 20;

/** The pod's grace period; at least what ends a server that has nothing to do. */
function graceOf(drainSeconds: number): number {
  return Math.max(drainSeconds, PRE_STOP_SECONDS + TEARDOWN_SECONDS + 1);
}

/** What is left of the drain for requests in flight when vLLM gets SIGTERM; 0 would abort them at once. */
export function shutdownSeconds(drainSeconds: number): number {
  return graceOf(drainSeconds) - PRE_STOP_SECONDS - TEARDOWN_SECONDS;
}

/** User of the vLLM image with a home of its own (Dockerfile: vllm, UID 2000, group 0). */
const ENGINE_USER = 2000;

export function renderPodTemplate(input: TemplateInput): PinnedTemplate["podTemplate"] {
  return {
    metadata: {
      labels: {
        [labels.managedBy]: MANAGED_BY,
        [labels.name]: "berth-serving",
        [labels.instance]: input.deploymentName,
        [labels.deploymentUID]: input.deploymentUID,
        [labels.poolUID]: input.pool.metadata.uid ?? "",
      },
      // Karpenter must not move a server whose start takes many minutes; Berth itself decides when it goes.
      annotations: { "karpenter.sh/do-not-disrupt": "true", [LOGGING]: engineLogging() },
    },
    spec: {
      ...placement(input.pool),
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      securityContext: {
        runAsNonRoot: true,
        runAsUser: ENGINE_USER,
        runAsGroup: 0,
        fsGroup: 0,
        seccompProfile: { type: "RuntimeDefault" },
      },
      terminationGracePeriodSeconds: graceOf(input.drainSeconds),
      initContainers: [fetchStep(input)],
      containers: [engineContainer(input)],
      volumes: volumes(),
    },
  };
}

function placement(pool: GPUNodePool): Record<string, unknown> {
  const poolUID = pool.metadata.uid ?? "";
  const gone = (key: string): object => ({ key, operator: "Exists", effect: "NoExecute", tolerationSeconds: 30 });
  return {
    nodeSelector: { [labels.pool]: poolUID },
    tolerations: [
      { key: taints.dedicated, operator: "Equal", value: poolUID },
      // The usual taint of GPU nodes, by the name of their resource: keeps off pods that ask for none.
      { key: pool.spec.template.gpu.resourceName, operator: "Exists", effect: "NoSchedule" },
      // A replica whose node is silent is given up after 30 s, so that its successor serves as soon as a node is free.
      gone("node.kubernetes.io/not-ready"),
      gone("node.kubernetes.io/unreachable"),
    ],
  };
}

const CONFINED = { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] }, readOnlyRootFilesystem: true };

function fetchStep({ berthImage, storeService }: TemplateInput): object {
  return {
    name: "fetch",
    image: berthImage,
    args: ["fetch", "--store", storeService, "--into", MODEL_PATH],
    terminationMessagePolicy: "FallbackToLogsOnError",
    securityContext: CONFINED,
    resources: { requests: { cpu: "500m", memory: "256Mi" } },
    volumeMounts: [
      { name: "model", mountPath: MODEL_PATH },
      { name: "store-token", mountPath: "/var/run/secrets/berth-store", readOnly: true },
      { name: "tmp", mountPath: "/tmp" },
    ],
  };
}

function engineContainer({ image, args, pool, node, model }: TemplateInput): object {
  const health = { httpGet: { path: "/health", port: "http" } };
  return {
    name: "vllm",
    image,
    args,
    env: engineEnv(),
    ports: [{ name: "http", containerPort: SERVING_PORT, protocol: "TCP" }],
    // What ended it goes into the pod's status; without last words of its own, the end of its log does.
    terminationMessagePolicy: "FallbackToLogsOnError",
    securityContext: CONFINED,
    resources: engineResources(pool, node),
    startupProbe: { ...health, periodSeconds: 10, failureThreshold: startupFailures(model.weightBytes ?? 0) },
    readinessProbe: { ...health, periodSeconds: 2, failureThreshold: 2 },
    // A busy server answers late; only one that is silent for 100 s is restarted.
    livenessProbe: { ...health, periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 10 },
    lifecycle: { preStop: { sleep: { seconds: PRE_STOP_SECONDS } } },
    volumeMounts: [
      { name: "model", mountPath: MODEL_PATH, readOnly: true },
      { name: "shm", mountPath: "/dev/shm" },
      { name: "cache", mountPath: "/cache" },
      { name: "tmp", mountPath: "/tmp" },
      { name: "logging", mountPath: LOGGING_FOLDER, readOnly: true },
    ],
  };
}

/** All GPUs of the node, and four fifths of its CPU and memory: the rest is for the kubelet and the platform's DaemonSets. */
function engineResources(pool: GPUNodePool, node: TemplateInput["node"]): object {
  const { resourceName, count } = pool.spec.template.gpu;
  const gpus = { [resourceName]: String(count) };
  if (!node) return { requests: gpus, limits: gpus };
  const memoryMiB = Math.floor(((wholeQuantity(node.memory) ?? 0) * 4) / 5 / 2 ** 20);
  return { requests: { cpu: `${node.vcpus * 800}m`, memory: `${memoryMiB}Mi`, ...gpus }, limits: gpus };
}

/** Loading at a slow 100 MB/s plus five minutes for compiling and CUDA graphs, in periods of 10 s. */
function startupFailures(weightBytes: number): number {
  return Math.ceil((weightBytes / 100e6 + 300) / 10);
}

function volumes(): object[] {
  return [
    { name: "model", emptyDir: {} },
    { name: "cache", emptyDir: {} },
    { name: "tmp", emptyDir: {} },
    {
      name: "logging",
      downwardAPI: {
        items: [{ path: LOGGING_FILE, fieldRef: { fieldPath: `metadata.annotations['${LOGGING}']` } }],
      },
    },
    // NCCL needs more than a container's default 64 MiB.
    { name: "shm", emptyDir: { medium: "Memory", sizeLimit: "8Gi" } },
    {
      name: "store-token",
      projected: {
        sources: [{ serviceAccountToken: { audience: STORE_AUDIENCE, expirationSeconds: 3600, path: "token" } }],
      },
    },
  ];
}
