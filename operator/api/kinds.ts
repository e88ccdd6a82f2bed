/** The seven kinds as the API server is told of them: names, columns, root rules. Fields stand in each kind's own file. */
import {
  capacityClaims,
  clusterModels,
  gpuNodePools,
  ledgers,
  modelDeployments,
  models,
  nodeTypes,
} from "./resources.ts";
import type { z } from "zod";
import type { Resource } from "../ports.ts";
import { capacityClaimSpec, capacityClaimStatus } from "./capacityclaim.ts";
import { gpuNodePoolSpec, gpuNodePoolStatus } from "./gpunodepool.ts";
import { ledgerSpec, ledgerStatus } from "./ledgerkind.ts";
import { clusterModelSpec, modelSpec, modelStatus } from "./model.ts";
import { modelDeploymentSpec, modelDeploymentStatus } from "./modeldeployment.ts";
import { nodeTypeSpec, nodeTypeStatus } from "./nodetype.ts";
import type { CelRule } from "./schema.ts";

/** One column of `kubectl get`; `wide` columns appear with -o wide only. */
export interface Column {
  readonly name: string;
  readonly type: "string" | "integer" | "boolean" | "date";
  readonly jsonPath: string;
  readonly description: string;
  readonly wide?: true;
}

export interface KindDefinition {
  readonly resource: Resource;
  readonly shortName: string;
  readonly description: string;
  readonly spec: z.ZodType;
  readonly status: z.ZodType;
  /** Rules on the whole object: `self.metadata.name` is readable here only. */
  readonly rules: readonly CelRule[];
  readonly columns: readonly Column[];
  readonly scale?: {
    readonly specReplicasPath: string;
    readonly statusReplicasPath: string;
    readonly labelSelectorPath: string;
  };
}

const condition = (type: string, field: string) => `.status.conditions[?(@.type=="${type}")].${field}`;
const READY: Column = {
  name: "Ready",
  type: "string",
  jsonPath: condition("Ready", "status"),
  description: "Whether everything that the object asks for is there and current.",
};
const REASON: Column = {
  name: "Reason",
  type: "string",
  jsonPath: condition("Ready", "reason"),
  description: "Why the object is ready or not, in one word of docs/conditions.md.",
};
const MESSAGE: Column = {
  name: "Message",
  type: "string",
  jsonPath: condition("Ready", "message"),
  description: "What stands in the way, in a sentence.",
  wide: true,
};
const AGE: Column = {
  name: "Age",
  type: "date",
  jsonPath: ".metadata.creationTimestamp",
  description: "Time since the object was created.",
};
const column = (name: string, type: Column["type"], jsonPath: string, description: string): Column => ({
  name,
  type,
  jsonPath,
  description,
});
const wide = (...args: Parameters<typeof column>): Column => ({ ...column(...args), wide: true });

/** Children are called after their deployment with a suffix of up to 11 characters, and a Service's name has 63. */
const SERVICE_NAME: CelRule = {
  rule: "self.metadata.name.size() <= 52 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
  message:
    "metadata.name becomes the name of a Service: use at most 52 lower-case letters, digits and '-', beginning with a letter and ending with a letter or digit",
  fieldPath: ".metadata.name",
};

const recordedName = (kind: string): CelRule => ({
  rule: "self.metadata.name.size() <= 63",
  message: `metadata.name of a ${kind} is recorded in labels and usage records: use at most 63 characters`,
  fieldPath: ".metadata.name",
});

const modelColumns: readonly Column[] = [
  column("Phase", "string", ".status.phase", "One word for how far the import has come."),
  READY,
  column("Architecture", "string", ".status.architecture", "Architecture by config.json."),
  column("Task", "string", ".status.task", "What the model does."),
  column("Bytes", "integer", ".status.sizeBytes", "Bytes of all files of the model."),
  column("Done", "string", ".status.copied", "Share of the newest revision's bytes that is in the store."),
  column("ETA", "integer", ".status.progress.etaSeconds", "Estimated seconds until the running copy is complete."),
  REASON,
  AGE,
  wide("Digest", "string", ".status.digest", "Digest of the newest complete revision."),
  wide("Parameters", "integer", ".status.parameters", "Number of parameters."),
  wide("Dtype", "string", ".status.dtype", "Data type that holds most of the weights."),
  wide("Context", "integer", ".status.contextLength", "Largest context in tokens."),
  wide("Files", "string", ".status.progress.files", "Finished files of all files while an import runs."),
  wide("Rate", "integer", ".status.progress.bytesPerSecond", "Bytes per second of the running copy."),
  MESSAGE,
];

const modelDeployment: KindDefinition = {
  resource: modelDeployments,
  shortName: "mdep",
  description:
    "ModelDeployment serves one model on GPU nodes that belong to it alone, one vLLM server per node, and records every node-second.",
  spec: modelDeploymentSpec,
  status: modelDeploymentStatus,
  rules: [SERVICE_NAME],
  columns: [
    column("Phase", "string", ".status.phase", "One word for the state, derived from the conditions."),
    READY,
    column("Model", "string", ".spec.model.name", "Model that is served."),
    column("Node type", "string", ".spec.nodeType", "NodeType whose nodes are dedicated to the deployment."),
    column("Replicas", "integer", ".spec.replicas", "Number of servers wanted."),
    REASON,
    AGE,
    wide("Available", "integer", ".status.readyReplicas", "Number of servers that answer requests now."),
    wide("Engine", "string", ".status.engine.image", "Container image of the engine."),
    wide("Context", "integer", ".status.capacity.contextLength", "Tokens that one request may use."),
    wide("Endpoint", "string", ".status.endpoint", "Address at which the model answers."),
    MESSAGE,
  ],
  scale: {
    specReplicasPath: ".spec.replicas",
    statusReplicasPath: ".status.replicas",
    labelSelectorPath: ".status.selector",
  },
};

const model: KindDefinition = {
  resource: models,
  shortName: "mdl",
  description: "Model imports a model's files from a source of the tenant's own into the platform's store, once.",
  spec: modelSpec,
  status: modelStatus,
  rules: [],
  columns: modelColumns,
};

const clusterModel: KindDefinition = {
  resource: clusterModels,
  shortName: "cmdl",
  description: "ClusterModel is a model of the platform's catalogue, which every namespace may deploy.",
  spec: clusterModelSpec,
  status: modelStatus,
  rules: [],
  columns: modelColumns,
};

const nodeType: KindDefinition = {
  resource: nodeTypes,
  shortName: "nt",
  description: "NodeType is a shape of GPU node that the platform offers, with its origin, its bounds and its stock.",
  spec: nodeTypeSpec,
  status: nodeTypeStatus,
  rules: [recordedName("NodeType")],
  columns: [
    column("GPU", "string", ".spec.gpu.product", "Commercial name of the GPU."),
    column("GPUs", "integer", ".spec.gpu.count", "Number of GPUs in one node."),
    column("Memory", "string", ".spec.gpu.memory", "Memory of one GPU."),
    column("Stock", "string", ".status.stock", "Whether new nodes can be had now."),
    column("Claimed", "integer", ".status.claimedNodes", "Nodes that pools of this type hold."),
    column("Free", "integer", ".status.freeNodes", "Static nodes that could be claimed now."),
    REASON,
    AGE,
    wide("Desired", "integer", ".status.desiredNodes", "Nodes that pools of this type want."),
    wide("Pools", "integer", ".status.pools", "Number of pools of this type."),
    wide("Quota", "integer", ".spec.quota.total", "Largest number of nodes over all namespaces."),
    wide("Disabled", "boolean", ".spec.disabled", "Whether new claims are stopped."),
    MESSAGE,
  ],
};

const gpuNodePool: KindDefinition = {
  resource: gpuNodePools,
  shortName: "gnp",
  description:
    "GPUNodePool is the set of nodes dedicated to one ModelDeployment; the operator makes it, tenants read it.",
  spec: gpuNodePoolSpec,
  status: gpuNodePoolStatus,
  rules: [],
  columns: [
    column("Deployment", "string", ".spec.deploymentRef.name", "ModelDeployment that the nodes serve."),
    column("Node type", "string", ".spec.nodeType", "NodeType that the pool was made from."),
    column("Size", "integer", ".spec.size", "Number of nodes wanted."),
    column("Claimed", "integer", ".status.claimed", "Nodes that belong to the pool now."),
    column("Ready", "integer", ".status.ready", "Nodes that are Ready with all their GPUs."),
    REASON,
    AGE,
    wide("Account", "string", ".spec.account", "Billing account that the nodes are recorded for."),
    wide("SKU", "string", ".spec.template.sku", "Name under which the hours are recorded."),
    MESSAGE,
  ],
};

const capacityClaim: KindDefinition = {
  resource: capacityClaims,
  shortName: "cc",
  description: "CapacityClaim records one node's time in one pool from claimed to released; metering is made of these.",
  spec: capacityClaimSpec,
  status: capacityClaimStatus,
  rules: [],
  columns: [
    column("Namespace", "string", ".spec.namespace", "Namespace of the deployment that holds the node."),
    column("Deployment", "string", ".spec.deploymentName", "ModelDeployment that holds the node."),
    column("SKU", "string", ".spec.sku", "Name under which the hours are recorded."),
    column("GPUs", "integer", ".spec.gpus", "Number of GPUs of the node."),
    column("Claimed", "date", ".status.claimedAt.time", "Time since the node began to belong to the pool."),
    column("Released", "date", ".status.releasedAt.time", "Time since the node stopped belonging to the pool."),
    AGE,
    wide("Ready", "date", ".status.readyAt.time", "Time since the node was first ready in the pool."),
    wide("Provider", "string", ".spec.providerRef.provider", "Provider that the node came from."),
    wide("Node", "string", ".spec.providerRef.name", "Node or NodeClaim that stands for the capacity."),
    wide("Sealed", "date", ".status.sealedThrough", "Time since the end of the last sealed window with this claim."),
  ],
};

const ledger: KindDefinition = {
  resource: ledgers,
  shortName: "ldg",
  description:
    "Ledger says how the ledger is that the operator seals usage into; the operator makes it, one a cluster.",
  spec: ledgerSpec,
  status: ledgerStatus,
  rules: [],
  columns: [
    READY,
    column(
      "Conditional",
      "string",
      condition("ConditionalWrites", "status"),
      "Whether the store refuses to overwrite.",
    ),
    column("Sealed through", "string", ".status.sealedThrough", "End of the newest window that is sealed."),
    REASON,
    AGE,
    wide("URL", "string", ".spec.url", "Where the ledger lies."),
    MESSAGE,
  ],
};

/** In the order in which docs and kubectl listings show them. */
export const kinds: readonly KindDefinition[] = [
  modelDeployment,
  model,
  clusterModel,
  nodeType,
  gpuNodePool,
  capacityClaim,
  ledger,
];
