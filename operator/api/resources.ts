/**
 * How each of Berth's kinds is addressed. Apart from their schemas, so that a program that only reads and writes them need not
 * build the schemas.
 */
import type { Resource } from "../ports.ts";
import type { CapacityClaim } from "./capacityclaim.ts";
import type { GPUNodePool } from "./gpunodepool.ts";
import { GROUP, VERSION } from "./keys.ts";
import type { LedgerObject } from "./ledgerkind.ts";
import type { ClusterModel, Model } from "./model.ts";
import type { ModelDeployment } from "./modeldeployment.ts";
import type { NodeType } from "./nodetype.ts";

const ours = { group: GROUP, version: VERSION };

export const modelDeployments: Resource<ModelDeployment> = {
  ...ours,
  plural: "modeldeployments",
  kind: "ModelDeployment",
  namespaced: true,
};
export const models: Resource<Model> = { ...ours, plural: "models", kind: "Model", namespaced: true };
export const clusterModels: Resource<ClusterModel> = {
  ...ours,
  plural: "clustermodels",
  kind: "ClusterModel",
  namespaced: false,
};
export const nodeTypes: Resource<NodeType> = { ...ours, plural: "nodetypes", kind: "NodeType", namespaced: false };
export const gpuNodePools: Resource<GPUNodePool> = {
  ...ours,
  plural: "gpunodepools",
  kind: "GPUNodePool",
  namespaced: true,
};
export const capacityClaims: Resource<CapacityClaim> = {
  ...ours,
  plural: "capacityclaims",
  kind: "CapacityClaim",
  namespaced: false,
};
export const ledgers: Resource<LedgerObject> = { ...ours, plural: "ledgers", kind: "Ledger", namespaced: false };
