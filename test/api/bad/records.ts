/** Pools and claims that the API server refuses, with its words. */
import { bad } from "./object.ts";
import type { BadObject } from "./object.ts";

export const badRecords: readonly BadObject[] = [
  bad(
    "GPUNodePool",
    "a negative size",
    { "spec.size": -1 },
    "spec.size: Invalid value: -1: spec.size in body should be greater than or equal to 0",
  ),
  bad(
    "GPUNodePool",
    "a size of 51",
    { "spec.size": 51 },
    "spec.size: Invalid value: 51: spec.size in body should be less than or equal to 50",
  ),
  bad("GPUNodePool", "no deployment", { "spec.deploymentRef": undefined }, "spec.deploymentRef: Required value"),
  bad("GPUNodePool", "no account", { "spec.account": undefined }, "spec.account: Required value"),
  bad(
    "GPUNodePool",
    "a template without provider",
    { "spec.template.provider": {} },
    "spec.template.provider: Invalid value: set exactly one of provider.static and provider.karpenter",
  ),
  bad(
    "CapacityClaim",
    "a provider that is not one",
    { "spec.providerRef.provider": "clusterAPI" },
    'spec.providerRef.provider: Unsupported value: "clusterAPI": supported values: "static", "karpenter"',
  ),
  bad(
    "CapacityClaim",
    "a NodeClaim of static nodes",
    { "spec.providerRef.kind": "NodeClaim" },
    "spec.providerRef: Invalid value: provider static holds a Node and provider karpenter a NodeClaim: correct kind",
  ),
  bad(
    "CapacityClaim",
    "no GPUs",
    { "spec.gpus": 0 },
    "spec.gpus: Invalid value: 0: spec.gpus in body should be greater than or equal to 1",
  ),
  bad(
    "CapacityClaim",
    "no UID of the deployment",
    { "spec.deploymentUID": undefined },
    "spec.deploymentUID: Required value",
  ),
  bad(
    "GPUNodePool",
    "a deployment in capitals",
    { "spec.deploymentRef.name": "Chat" },
    "spec.deploymentRef.name: Invalid value: \"Chat\": must be the name of an object: lower-case letters, digits and '-', beginning and ending with a letter or digit",
  ),
  bad(
    "GPUNodePool",
    "a UID that is none",
    { "spec.deploymentRef.uid": "chat/1" },
    "spec.deploymentRef.uid: Invalid value: \"chat/1\": spec.deploymentRef.uid in body should match '^[0-9a-zA-Z-]+$'",
  ),
  bad(
    "CapacityClaim",
    "a namespace with a dot",
    { "spec.namespace": "team.a" },
    "spec.namespace: Invalid value: \"team.a\": must be the name of an object: lower-case letters, digits and '-', beginning and ending with a letter or digit",
  ),
];
