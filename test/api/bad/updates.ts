/** Changes of a good object that the API server refuses, with its words. */
import { bad } from "./object.ts";
import type { BadObject } from "./object.ts";

export const badUpdates: readonly BadObject[] = [
  bad(
    "ModelDeployment",
    "another node type",
    { "spec.nodeType": "l4-1" },
    'spec.nodeType: Invalid value: "l4-1": spec.nodeType cannot be changed: create a new ModelDeployment with the other node type and delete this one',
  ),
  bad("ModelDeployment", "no node type any more", { "spec.nodeType": undefined }, "spec.nodeType: Required value"),
  bad(
    "ModelDeployment",
    "replicas out of range",
    { "spec.replicas": 60 },
    "spec.replicas: Invalid value: 60: spec.replicas in body should be less than or equal to 50",
    "spec.replicas: Invalid value: 60: replicas is at most 50: create a second ModelDeployment for more",
  ),
  bad(
    "GPUNodePool",
    "another node type",
    { "spec.nodeType": "l4-1" },
    'spec.nodeType: Invalid value: "l4-1": spec.nodeType cannot be changed: delete the deployment and create another',
  ),
  bad(
    "GPUNodePool",
    "another deployment",
    { "spec.deploymentRef.name": "other" },
    "spec.deploymentRef: Invalid value: spec.deploymentRef cannot be changed: a pool serves one deployment for all its life",
  ),
  bad(
    "GPUNodePool",
    "another number of GPUs",
    { "spec.template.gpu.count": 4 },
    "spec.template: Invalid value: spec.template cannot be changed: it is pinned when the pool is made, so that an edited NodeType affects new pools only",
  ),
  bad(
    "GPUNodePool",
    "another SKU",
    { "spec.template.sku": "l4-1" },
    "spec.template: Invalid value: spec.template cannot be changed: it is pinned when the pool is made, so that an edited NodeType affects new pools only",
  ),
  bad(
    "CapacityClaim",
    "another deployment",
    { "spec.deploymentName": "other" },
    "spec: Invalid value: spec cannot be changed: a claim is a record of what happened",
  ),
  bad(
    "CapacityClaim",
    "another pool",
    { "spec.poolUID": "0e6b7a52-0000-4000-8000-000000000000" },
    "spec: Invalid value: spec cannot be changed: a claim is a record of what happened",
  ),
  bad(
    "CapacityClaim",
    "other GPUs",
    { "spec.gpus": 4 },
    "spec: Invalid value: spec cannot be changed: a claim is a record of what happened",
  ),
];

/** Changes below status, each of an object that has the first. */
export const badStatusUpdates: readonly (BadObject & { readonly first: BadObject["edit"] })[] = (
  ["claimedAt", "readyAt", "releasedAt"] as const
).map((field) => {
  const at = (time: string): BadObject["edit"] => ({ [`status.${field}`]: { time, evidence: "Node/a" } });
  const words = `status.${field}: Invalid value: status.${field} cannot be changed: an instant of the record is written once`;
  return {
    ...bad("CapacityClaim", `another ${field}`, at("2026-11-21T10:00:01Z"), words),
    first: at("2026-11-21T10:00:00Z"),
  };
});
