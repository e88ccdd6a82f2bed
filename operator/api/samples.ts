/** One good object of each kind: printed in docs/api.md and created on the real API server by a test. */
import { API_VERSION } from "./keys.ts";

const digest = `sha256:${"0123456789abcdef".repeat(4)}`;
const poolUID = "5f0c6a1e-8a55-4f0e-9d3b-0d4f4c1e2a77";
const deploymentUID = "0e6b7a52-3f0e-4a41-8a1e-6f2f9f3f1c55";
const gpu = { product: "NVIDIA H100 80GB", count: 8, memory: "80Gi" };

/** Keyed by kind. */
export const samples: Readonly<Record<string, object>> = {
  ModelDeployment: {
    apiVersion: API_VERSION,
    kind: "ModelDeployment",
    metadata: { name: "chat", namespace: "team-a" },
    spec: {
      model: { name: "llama-8b", revision: digest },
      acceptLicense: "llama3.1",
      nodeType: "h100-8",
      replicas: 2,
      contextLength: 32768,
      billing: { account: "team-a", tags: { "cost-centre": "4711" } },
    },
  },
  Model: {
    apiVersion: API_VERSION,
    kind: "Model",
    metadata: { name: "llama-8b", namespace: "team-a" },
    spec: {
      source: {
        s3: {
          endpoint: "https://s3.example.org",
          region: "eu-central-1",
          bucket: "models",
          prefix: "llama-8b/",
          credentialsSecretRef: { name: "models-read" },
        },
      },
      license: { name: "llama3.1", url: "https://example.org/licence", acceptanceRequired: true },
      maxSize: "100Gi",
    },
  },
  ClusterModel: {
    apiVersion: API_VERSION,
    kind: "ClusterModel",
    metadata: { name: "all-minilm-l6-v2" },
    spec: {
      source: { s3: { endpoint: "https://s3.example.org", bucket: "catalogue", prefix: "all-minilm-l6-v2/" } },
      license: { name: "apache-2.0" },
      import: "Eager",
      displayName: "all-MiniLM-L6-v2",
      description: "Sentence embeddings of 384 numbers, for short texts.",
      tasks: ["embedding"],
      modalities: { input: ["text"], output: [] },
      lifecycle: "Current",
    },
  },
  NodeType: {
    apiVersion: API_VERSION,
    kind: "NodeType",
    metadata: { name: "h100-8" },
    spec: {
      gpu,
      vcpus: 96,
      memory: "1Ti",
      provider: {
        karpenter: {
          nodeClassRef: { group: "karpenter.k8s.aws", kind: "EC2NodeClass", name: "gpu" },
          requirements: [{ key: "node.kubernetes.io/instance-type", operator: "In", values: ["p5.48xlarge"] }],
        },
      },
      quota: { total: 20, perNamespace: 8 },
    },
  },
  GPUNodePool: {
    apiVersion: API_VERSION,
    kind: "GPUNodePool",
    metadata: { name: "chat", namespace: "team-a" },
    spec: {
      nodeType: "h100-8",
      deploymentRef: { name: "chat", uid: deploymentUID },
      size: 2,
      account: "team-a",
      template: { sku: "h100-8", gpu, provider: { static: { nodeSelector: { "example.com/shape": "h100-8" } } } },
    },
  },
  CapacityClaim: {
    apiVersion: API_VERSION,
    kind: "CapacityClaim",
    metadata: { name: "9f1b2c3d-1111-4222-8333-444455556666-1" },
    spec: {
      deploymentUID,
      deploymentName: "chat",
      namespace: "team-a",
      poolUID,
      sku: "h100-8",
      gpus: 8,
      providerRef: {
        provider: "static",
        kind: "Node",
        name: "gpu-17",
        uid: "9f1b2c3d-1111-4222-8333-444455556666",
      },
    },
  },
  Ledger: {
    apiVersion: API_VERSION,
    kind: "Ledger",
    metadata: { name: "berth" },
    spec: { url: "s3://usage/cluster-1" },
  },
};
