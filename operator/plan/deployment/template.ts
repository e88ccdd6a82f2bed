/** The serving pod's template: rendered once for a set of spec fields and a model revision, then pinned. */
import { STORE_AUDIENCE, labels, MANAGED_BY, taints } from "../../api/keys.ts";
import type { GPUNodePool } from "../../api/gpunodepool.ts";
import type { ModelStatus } from "../../api/model.ts";
import type { NodeTypeSpec } from "../../api/nodetype.ts";
import { MODEL_PATH, SERVING_PORT, SHUTDOWN_TIMEOUT_SECONDS, engineEnv } from "../engine/args.ts";
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
}

/** Label on pods: hash of what they run. Ready needs every serving pod to carry the newest; the rollout adds it. */
export const REVISION_LABEL = "berth.dev/revision";

/** Seconds that readiness needs to travel to every kube-proxy before the server may stop listening. */
const PRE_STOP_SECONDS = 10;
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
      annotations: { "karpenter.sh/do-not-disrupt": "true" },
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
      terminationGracePeriodSeconds: PRE_STOP_SECONDS + SHUTDOWN_TIMEOUT_SECONDS + 20,
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
