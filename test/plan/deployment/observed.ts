/** Snapshots of one ModelDeployment with every default filled in: a test states only what differs. */
import type { GPUNodePool, GPUNodePoolStatus } from "../../../operator/api/gpunodepool.ts";
import { finalizers, labels } from "../../../operator/api/keys.ts";
import type { Pod } from "../../../operator/api/kubernetes.ts";
import type { Model, ModelStatus } from "../../../operator/api/model.ts";
import type { ModelDeployment, ModelDeploymentStatus } from "../../../operator/api/modeldeployment.ts";
import type { NodeType, NodeTypeSpec } from "../../../operator/api/nodetype.ts";
import { desiredPool, desiredRevision, desiredWorkload } from "../../../operator/plan/deployment/children.ts";
import { planDeployment } from "../../../operator/plan/deployment/plan.ts";
import { REVISION_LABEL } from "../../../operator/plan/deployment/template.ts";
import { revisionLabelOf, rolloutOf } from "../../../operator/plan/deployment/rollout.ts";
import type { Seen, Settings } from "../../../operator/plan/deployment/seen.ts";
import { renderPodTemplate } from "../../../operator/plan/deployment/template.ts";
import type { ObjectMeta } from "../../../operator/ports.ts";

/** Noon of a day in March 2026, with seconds only as the API server writes them. */
export const NOON = Date.UTC(2026, 2, 10, 12);
export const UID = "11111111-1111-4111-8111-111111111111";
export const POOL_UID = "22222222-2222-4222-8222-222222222222";
export const DIGEST = `sha256:${"a".repeat(64)}`;
export const OTHER_DIGEST = `sha256:${"b".repeat(64)}`;

export const settings: Settings = {
  engineImages: [
    { version: "0.32.0", image: "vllm/vllm-openai:v0.32.0" },
    { version: "0.31.1", image: "vllm/vllm-openai:v0.31.1" },
  ],
  berthImage: "berth:1.0.0",
  storeService: "http://berth-store.berth-system.svc:8090",
  operatorNamespace: "berth-system",
  metricsNamespaces: [],
  shrinkStabilizationMs: 300_000,
  drainGraceMs: 600_000,
};

export function instant(epochMs: number): string {
  return new Date(epochMs).toISOString().replace(".000Z", "Z");
}

export function deploymentOf(
  spec: Partial<ModelDeployment["spec"]> = {},
  metadata: Partial<ObjectMeta> = {},
): ModelDeployment {
  return {
    metadata: {
      name: "chat",
      namespace: "team",
      uid: UID,
      generation: 1,
      resourceVersion: "100",
      finalizers: [finalizers.deployment],
      ...metadata,
    },
    spec: {
      model: { name: "llama", kind: "Model" },
      nodeType: "l4",
      replicas: 1,
      engine: {},
      suspend: false,
      deletionProtection: false,
      billing: {},
      ...spec,
    },
  };
}

export function nodeTypeOf(spec: Partial<NodeTypeSpec> = {}): NodeType {
  return {
    metadata: { name: "l4", uid: "nodetype-uid" },
    spec: {
      gpu: { product: "NVIDIA L4", count: 1, memory: "22Gi", resourceName: "nvidia.com/gpu" },
      vcpus: 8,
      memory: "32Gi",
      provider: { static: { nodeSelector: { gpu: "l4" } } },
      disabled: false,
      quota: {},
      ...spec,
    },
  };
}

/** An imported 8-billion-parameter model in bfloat16 that fits one L4. */
export function modelOf(status: Partial<ModelStatus> = {}, spec: Partial<Model["spec"]> = {}): Model {
  const place = { endpoint: "https://s3.example.org", region: "us-east-1", bucket: "models", prefix: "llama/" };
  const s3 = { ...place, addressingStyle: "Path" as const, requesterPays: false };
  const importedAt = "2026-03-01T00:00:00Z";
  return {
    metadata: { name: "llama", namespace: "team", uid: "model-uid" },
    spec: { source: { s3 }, maxSize: "2Ti", ...spec },
    status: {
      digest: DIGEST,
      revisions: [{ number: 1, digest: DIGEST, sizeBytes: 1e9, importedAt }],
      weightBytes: 14_000_000_000,
      contextLength: 8192,
      kvBytesPerToken: 131_072,
      shape: { attentionHeads: 32, keyValueHeads: 8 },
      task: "Generate",
      conditions: [condition("Ready", "True", "Imported", "all files are in the store")],
      ...status,
    },
  };
}

/** An importer that is not done: sizes known or not, nothing in the store. */
export function importingModel(known = true): Model {
  const done = modelOf();
  const { weightBytes, contextLength, kvBytesPerToken, shape, task } = done.status ?? {};
  const conditions = [condition("Ready", "False", "Copying", "12 of 14 GB copied")];
  const facts = known ? { weightBytes, contextLength, kvBytesPerToken, shape, task } : {};
  return { ...done, status: { ...facts, conditions } };
}

export function condition(type: string, status: "True" | "False", reason: string, message = "because") {
  return { type, status, reason, message, lastTransitionTime: instant(NOON), observedGeneration: 1 };
}

/** A pool as the operator makes it, its size logged and all its nodes ready. */
export function poolOf(
  deployment: ModelDeployment,
  size: number,
  status: Partial<GPUNodePoolStatus> = {},
  metadata: Partial<ObjectMeta> = {},
): GPUNodePool {
  const pool = desiredPool(deployment, nodeTypeOf(), size);
  const { account, tags } = pool.spec;
  return {
    ...pool,
    metadata: { ...pool.metadata, uid: POOL_UID, managedFields: [{ manager: "berth-size" }], ...metadata },
    status: {
      claimed: size,
      ready: size,
      sizeLog: [{ since: instant(NOON - 3_600_000), size, account, tags }],
      conditions: [condition("Ready", "True", "NodesReady")],
      ...status,
    },
  };
}

export interface PodDifference {
  readonly metadata?: Partial<ObjectMeta>;
  readonly status?: Pod["status"];
  readonly nodeName?: string;
  readonly revision?: string;
}

/** A ready serving pod. */
export function podOf(name: string, { metadata, status, nodeName, revision }: PodDifference = {}): Pod {
  return {
    metadata: {
      name,
      namespace: "team",
      uid: `${name}-uid`,
      creationTimestamp: instant(NOON - 60_000),
      labels: { [labels.deploymentUID]: UID, [REVISION_LABEL]: revision ?? "" },
      ...metadata,
    },
    spec: { nodeName: nodeName ?? `node-${name}` },
    status: status ?? { phase: "Running", conditions: [{ type: "Ready", status: "True" }] },
  };
}

/** Metadata of a pod that was asked to end `agoMs` ago and has 150 s for it. */
export function leaving(name: string, agoMs: number, graceSeconds = 150): Partial<ObjectMeta> {
  return {
    name,
    deletionTimestamp: instant(NOON - agoMs + graceSeconds * 1000),
    deletionGracePeriodSeconds: graceSeconds,
  };
}

/** A deployment that was just created: its model is imported, it has no pool yet. */
export function observed(difference: Partial<Seen> = {}): Seen {
  return Object.freeze({
    now: NOON,
    deployment: deploymentOf(),
    replicasSetAt: NOON - 3_600_000,
    namespace: { metadata: { name: "team", uid: "namespace-uid" } },
    nodeType: nodeTypeOf(),
    nodeTypes: [nodeTypeOf()],
    model: modelOf(),
    modelScope: "namespace-uid",
    pool: undefined,
    others: { total: 0, inNamespace: 0 },
    revisions: [],
    workload: undefined,
    service: undefined,
    pods: [],
    fetches: {},
    othersProtected: false,
    settings,
    ...difference,
  });
}

/** A deployment in steady state: nodes, pinned template, ready pods, and the status that says so. */
export function serving(
  spec: Partial<ModelDeployment["spec"]> = {},
  difference: Partial<Seen> | ((seen: Seen) => Partial<Seen>) = {},
): Seen {
  const deployment = deploymentOf({ replicas: 2, ...spec });
  const { replicas } = deployment.spec;
  const start = observed({ deployment, pool: poolOf(deployment, replicas) });
  const { revision } = rolloutOf(start, renderPodTemplate);
  if (!revision) throw new Error("the default model must be renderable");
  const label = revisionLabelOf(revision);
  const names = Array.from({ length: replicas }, (_, index) => `pod-${index}`);
  const running: Seen = {
    ...start,
    revisions: [desiredRevision(deployment, revision.number, revision.pinned)],
    workload: desiredWorkload(deployment, revision, replicas),
    pods: names.map((name) => podOf(name, { revision: label })),
  };
  const status: ModelDeploymentStatus | undefined = planDeployment(running).status;
  const steady = { ...running, deployment: { ...deployment, status } };
  return Object.freeze({ ...steady, ...(typeof difference === "function" ? difference(steady) : difference) });
}

/** The same snapshot after the user changed the spec. */
export function changed(seen: Seen, spec: Partial<ModelDeployment["spec"]>, metadata: Partial<ObjectMeta> = {}): Seen {
  const { deployment } = seen;
  const generation = (deployment.metadata.generation ?? 0) + 1;
  return {
    ...seen,
    deployment: {
      ...deployment,
      metadata: { ...deployment.metadata, generation, ...metadata },
      spec: { ...deployment.spec, ...spec },
    },
  };
}
