/** The serving pod's template: rendered once for a set of spec fields and a model revision, then pinned. */
import { STORE_AUDIENCE, labels, MANAGED_BY, taints } from "../../api/keys.ts";
import type { GPUNodePool } from "../../api/gpunodepool.ts";
import { CACHE_ROOT, CACHE_USER, cacheClaimName } from "../../api/nodecache.ts";
import type { ModelStatus } from "../../api/model.ts";
import type { NodeTypeSpec } from "../../api/nodetype.ts";
import { MODEL_PATH, SERVING_PORT, engineEnv } from "../engine/args.ts";
import type { EnvironmentVariable } from "../engine/environment.ts";
import { CHAT_TEMPLATE_FILE, FILES_FOLDER, LOGGING_FILE } from "../engine/files.ts";
import { engineLogging } from "../engine/logging.ts";
import {
  podNeeds,
  progressSeconds,
  readyTimeout,
  startupFailures,
  zoneSpread,
  type PodNeeds,
} from "../engine/podneeds.ts";
import { wholeQuantity } from "../quantity.ts";
import type { PinnedTemplate } from "./seen.ts";

export interface TemplateInput {
  readonly deploymentName: string;
  readonly deploymentUID: string;
  readonly pool: GPUNodePool;
  /** CPU and memory of the node; undefined when its NodeType is gone: then no request is stated beside the GPUs. */
  readonly node: Pick<NodeTypeSpec, "vcpus" | "memory" | "diskThroughput" | "networkThroughput"> | undefined;
  readonly model: Pick<ModelStatus, "weightBytes" | "shape">;
  /** Digest of the revision that is served: the folder in a node's cache. */
  readonly digest?: string | undefined;
  readonly image: string;
  readonly args: readonly string[];
  /** spec.engine.env. */
  readonly env?: readonly EnvironmentVariable[] | undefined;
  /** Text of the model's spec.chatTemplate. */
  readonly chatTemplate?: string | undefined;
  /** True where 16-bit weights are quantized at load, which takes longer. */
  readonly quantizes?: boolean;
  readonly berthImage: string;
  readonly storeService: string;
  /** Origin of the object storage that the store role may send the pod to. */
  readonly redirectOrigin?: string;
  /** Keys that the manifest must be signed with and the revision that it must be of; absent where the platform pins none. */
  readonly trust?: { readonly keys: readonly string[]; readonly digest: string };
  /** Time for a pod between the wish that it ends and its end by force: requests in flight finish within it. */
  readonly drainSeconds: number;
}

/** Label on pods: hash of what they run. Ready needs every serving pod to carry the newest; the rollout adds it. */
export const REVISION_LABEL = "berth.dev/revision";

/** Name of the init step that brings the model. */
export const FETCH_STEP = "fetch";

/** Annotations that reach the engine as files. */
const LOGGING = "berth.dev/engine-logging";
const CHAT_TEMPLATE = "berth.dev/chat-template";
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

export function renderPodTemplate(input: TemplateInput): PinnedTemplate["podTemplate"] {
  const needs = needsOf(input);
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
      annotations: {
        "karpenter.sh/do-not-disrupt": "true",
        [LOGGING]: engineLogging(),
        ...(input.chatTemplate === undefined ? {} : { [CHAT_TEMPLATE]: input.chatTemplate }),
      },
    },
    spec: {
      ...placement(input.pool),
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      securityContext: {
        runAsNonRoot: true,
        runAsUser: CACHE_USER,
        runAsGroup: 0,
        fsGroup: 0,
        // A cache holds many files, and who made its root belongs to it already.
        ...(input.pool.spec.template.cache ? { fsGroupChangePolicy: "OnRootMismatch" } : {}),
        ...(needs.supplementalGroups.length > 0 ? { supplementalGroups: needs.supplementalGroups } : {}),
        seccompProfile: { type: "RuntimeDefault" },
      },
      topologySpreadConstraints: [zoneSpread({ [labels.deploymentUID]: input.deploymentUID })],
      terminationGracePeriodSeconds: graceOf(input.drainSeconds),
      initContainers: [fetchStep(input)],
      containers: [engineContainer(input, needs)],
      volumes: [modelVolume(input), ...volumes(needs, input.chatTemplate !== undefined)],
    },
  };
}

/** After so many seconds without a new ready pod Kubernetes calls the workload's rollout failed (kubectl rollout status, GitOps tools). */
export function progressDeadlineOf(input: Pick<TemplateInput, "model" | "node" | "pool" | "quantizes">): number {
  return progressSeconds(needsOf(input));
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

const hexOf = (digest: string | undefined): string => (digest ?? "").replace(/^sha256:/, "");

function modelVolume({ pool }: TemplateInput): object {
  const { nodeType, template } = pool.spec;
  if (!template.cache) return { name: "model", emptyDir: {} };
  return { name: "model", persistentVolumeClaim: { claimName: cacheClaimName(nodeType) } };
}

/** Where the model goes: a folder of the pod, or its folder in the cache of the node. */
function target({ pool, digest }: TemplateInput) {
  const { cache } = pool.spec.template;
  if (!cache) return { mountPath: MODEL_PATH, args: ["--into", MODEL_PATH], env: {} };
  const bytes = String(wholeQuantity(cache.size) ?? 0);
  const nodeName = { name: "BERTH_NODE_NAME", valueFrom: { fieldRef: { fieldPath: "spec.nodeName" } } };
  return {
    mountPath: CACHE_ROOT,
    args: ["--into", `${CACHE_ROOT}/${hexOf(digest)}`, "--cache", CACHE_ROOT, "--cache-bytes", bytes],
    env: { env: [nodeName] },
  };
}

function fetchStep(input: TemplateInput): object {
  const { berthImage, storeService, redirectOrigin, trust } = input;
  const redirect = redirectOrigin === undefined ? [] : ["--redirect-origin", redirectOrigin];
  const trusted = trust ? ["--trusted-keys", trust.keys.join(","), "--digest", trust.digest] : [];
  const { mountPath, args, env } = target(input);
  return {
    name: FETCH_STEP,
    image: berthImage,
    args: ["fetch", "--store", storeService, ...redirect, ...trusted, ...args],
    ...env,
    terminationMessagePolicy: "FallbackToLogsOnError",
    securityContext: CONFINED,
    resources: { requests: { cpu: "500m", memory: "256Mi" } },
    volumeMounts: [
      { name: "model", mountPath },
      { name: "store-token", mountPath: "/var/run/secrets/berth-store", readOnly: true },
      { name: "tmp", mountPath: "/tmp" },
    ],
  };
}

function engineContainer({ image, args, env, pool, digest }: TemplateInput, needs: PodNeeds): object {
  const subPath = pool.spec.template.cache ? { subPath: hexOf(digest) } : {};
  const health = { httpGet: { path: "/health", port: "http" } };
  return {
    name: "vllm",
    image,
    args,
    env: engineEnv([...(env ?? []), readyTimeout(needs)]),
    ports: [{ name: "http", containerPort: SERVING_PORT, protocol: "TCP" }],
    // What ended it goes into the pod's status; without last words of its own, the end of its log does.
    terminationMessagePolicy: "FallbackToLogsOnError",
    securityContext: CONFINED,
    resources: engineResources(pool, needs),
    startupProbe: { ...health, periodSeconds: 10, failureThreshold: startupFailures(needs, 10) },
    // A busy server answers late and still answers: taken out of the Service for that, it would leave its requests to a
    // pod that is told to end, which kube-proxy falls back to when no endpoint is ready. A closed port counts after 6 s.
    readinessProbe: { ...health, periodSeconds: 2, timeoutSeconds: 10, failureThreshold: 3 },
    // Only one that is silent for 100 s is restarted.
    livenessProbe: { ...health, periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 10 },
    lifecycle: { preStop: { sleep: { seconds: PRE_STOP_SECONDS } } },
    volumeMounts: [
      { name: "model", mountPath: MODEL_PATH, ...subPath, readOnly: true },
      { name: "shm", mountPath: "/dev/shm" },
      { name: "cache", mountPath: "/cache" },
      { name: "tmp", mountPath: "/tmp" },
      { name: "logging", mountPath: FILES_FOLDER, readOnly: true },
    ],
  };
}

function needsOf({
  model,
  node,
  pool,
  quantizes,
}: Pick<TemplateInput, "model" | "node" | "pool" | "quantizes">): PodNeeds {
  const { resourceName, count } = pool.spec.template.gpu;
  return podNeeds({
    weightBytes: model.weightBytes ?? 0,
    gpuCount: count,
    gpuResource: resourceName,
    node,
    quantizes: quantizes ?? false,
    vision: (model.shape?.visionTokens ?? 0) > 0,
  });
}

/** All GPUs of the node, and the CPU and memory that the model needs. */
function engineResources(pool: GPUNodePool, { cpuMillis, memoryBytes }: PodNeeds): object {
  const { resourceName, count } = pool.spec.template.gpu;
  const gpus = { [resourceName]: String(count) };
  if (cpuMillis === undefined || memoryBytes === undefined) return { requests: gpus, limits: gpus };
  const memory = `${Math.floor(memoryBytes / 2 ** 20)}Mi`;
  return { requests: { cpu: `${cpuMillis}m`, memory, ...gpus }, limits: gpus };
}

const fileOf = (path: string, annotation: string): object => ({
  path,
  fieldRef: { fieldPath: `metadata.annotations['${annotation}']` },
});

function volumes({ sharedMemoryBytes }: PodNeeds, hasTemplate: boolean): object[] {
  const files = [fileOf(LOGGING_FILE, LOGGING), ...(hasTemplate ? [fileOf(CHAT_TEMPLATE_FILE, CHAT_TEMPLATE)] : [])];
  return [
    { name: "cache", emptyDir: {} },
    { name: "tmp", emptyDir: {} },
    { name: "logging", downwardAPI: { items: files } },
    // NCCL needs more than a container's default 64 MiB.
    { name: "shm", emptyDir: { medium: "Memory", sizeLimit: `${sharedMemoryBytes / 2 ** 30}Gi` } },
    {
      name: "store-token",
      projected: {
        sources: [{ serviceAccountToken: { audience: STORE_AUDIENCE, expirationSeconds: 3600, path: "token" } }],
      },
    },
  ];
}
