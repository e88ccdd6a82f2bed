/** NodeTypes that the API server refuses, with its words. */
import { bad, long } from "./object.ts";
import type { BadObject } from "./object.ts";

export const badNodeTypes: readonly BadObject[] = [
  bad(
    "NodeType",
    "a price with a comma",
    { "spec.price": { perHour: "12,50", currency: "EUR" } },
    'spec.price.perHour: Invalid value: "12,50": perHour is a decimal number as text, for example 12.50',
  ),
  bad(
    "NodeType",
    "a currency in small letters",
    { "spec.price": { perHour: "12.50", currency: "eur" } },
    'spec.price.currency: Invalid value: "eur": currency is a code of three capitals, for example EUR',
  ),
  bad(
    "NodeType",
    "a name of 64 characters",
    { "metadata.name": long(64) },
    "metadata.name: Invalid value: metadata.name of a NodeType is recorded in labels and usage records: use at most 63 characters",
  ),
  bad("NodeType", "no GPU", { "spec.gpu": undefined }, "spec.gpu: Required value"),
  bad(
    "NodeType",
    "no GPUs in a node",
    { "spec.gpu.count": 0 },
    "spec.gpu.count: Invalid value: 0: spec.gpu.count in body should be greater than or equal to 1",
  ),
  bad(
    "NodeType",
    "17 GPUs in a node",
    { "spec.gpu.count": 17 },
    "spec.gpu.count: Invalid value: 17: spec.gpu.count in body should be less than or equal to 16",
  ),
  bad(
    "NodeType",
    "an empty product",
    { "spec.gpu.product": "" },
    'spec.gpu.product: Invalid value: "": spec.gpu.product in body should be at least 1 chars long',
  ),
  bad(
    "NodeType",
    "GPU memory in GB",
    { "spec.gpu.memory": "80GB" },
    'spec.gpu.memory: Invalid value: "80GB": must be a positive number of bytes with a suffix such as Gi or G: write 80Gi, 500G or 1.5Ti',
  ),
  bad(
    "NodeType",
    "GPU memory without unit",
    { "spec.gpu.memory": "80" },
    'spec.gpu.memory: Invalid value: "80": gpu.memory counts bytes: write it with a suffix, for example 80Gi',
  ),
  bad(
    "NodeType",
    "main memory without unit",
    { "spec.memory": "1024" },
    'spec.memory: Invalid value: "1024": memory counts bytes: write it with a suffix, for example 256Gi',
  ),
  bad(
    "NodeType",
    "a cache without unit",
    { "spec.cache": { storageClassName: "node-local", size: "500" } },
    'spec.cache.size: Invalid value: "500": cache.size counts bytes: write it with a suffix, for example 500Gi',
  ),
  bad(
    "NodeType",
    "a resource without domain",
    { "spec.gpu.resourceName": "gpu" },
    'spec.gpu.resourceName: Invalid value: "gpu": resourceName is an extended resource with its domain, for example nvidia.com/gpu',
  ),
  bad(
    "NodeType",
    "no CPUs",
    { "spec.vcpus": 0 },
    "spec.vcpus: Invalid value: 0: spec.vcpus in body should be greater than or equal to 1",
  ),
  bad(
    "NodeType",
    "no provider",
    { "spec.provider": {} },
    "spec.provider: Invalid value: set exactly one of provider.static and provider.karpenter",
  ),
  bad(
    "NodeType",
    "two providers",
    { "spec.provider.static": { nodeSelector: { a: "b" } } },
    "spec.provider: Invalid value: set exactly one of provider.static and provider.karpenter",
  ),
  bad(
    "NodeType",
    "an empty node selector",
    { "spec.provider": { static: { nodeSelector: {} } } },
    "spec.provider.static.nodeSelector: Invalid value: nodeSelector needs at least one label: an empty one would match every node",
  ),
  bad(
    "NodeType",
    "a selector's key with a blank",
    { "spec.provider": { static: { nodeSelector: { "a b": "c" } } } },
    "spec.provider.static.nodeSelector: Invalid value: nodeSelector's keys are label names such as example.com/gpu or node.kubernetes.io/instance-type",
  ),
  bad(
    "NodeType",
    "a selector's value with a blank",
    { "spec.provider": { static: { nodeSelector: { a: "b c" } } } },
    "spec.provider.static.nodeSelector[a]: Invalid value: \"b c\": must be usable as a label's value: letters, digits, '-', '_' and '.', beginning and ending with a letter or digit",
  ),
  bad(
    "NodeType",
    "a selector by Berth's own label",
    {
      "spec.provider": { static: { nodeSelector: { "berth.node-restriction.kubernetes.io/pool": "x" } } },
    },
    "spec.provider.static.nodeSelector: Invalid value: nodeSelector must not name berth.node-restriction.kubernetes.io/pool: Berth sets that label itself when it claims a node",
  ),
  bad(
    "NodeType",
    "no requirement",
    { "spec.provider.karpenter.requirements": [] },
    "spec.provider.karpenter.requirements: Invalid value: 0: spec.provider.karpenter.requirements in body should have at least 1 items",
  ),
  bad(
    "NodeType",
    "an unknown operator",
    { "spec.provider.karpenter.requirements.0.operator": "Equals" },
    'spec.provider.karpenter.requirements[0].operator: Unsupported value: "Equals": supported values: "In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"',
  ),
  bad(
    "NodeType",
    "In without values",
    { "spec.provider.karpenter.requirements.0.values": undefined },
    "spec.provider.karpenter.requirements[0]: Invalid value: operators In and NotIn need values: list at least one",
  ),
  bad(
    "NodeType",
    "Exists with values",
    { "spec.provider.karpenter.requirements.0.operator": "Exists" },
    "spec.provider.karpenter.requirements[0]: Invalid value: operators Exists and DoesNotExist take no values: remove them, or use In",
  ),
  bad(
    "NodeType",
    "Gt with text",
    { "spec.provider.karpenter.requirements.0.operator": "Gt" },
    "spec.provider.karpenter.requirements[0]: Invalid value: operators Gt and Lt need exactly one whole number as value",
  ),
  bad(
    "NodeType",
    "a requirement on Berth's own label",
    {
      "spec.provider.karpenter.requirements.0.key": "berth.node-restriction.kubernetes.io/pool",
    },
    'spec.provider.karpenter.requirements[0].key: Invalid value: "berth.node-restriction.kubernetes.io/pool": key must not be berth.node-restriction.kubernetes.io/pool: Berth sets that label itself',
  ),
  bad(
    "NodeType",
    "a requirement without key",
    { "spec.provider.karpenter.requirements.0.key": "" },
    'spec.provider.karpenter.requirements[0].key: Invalid value: "": key is the name of a node label, for example node.kubernetes.io/instance-type',
  ),
  bad(
    "NodeType",
    "a node class's kind in small letters",
    { "spec.provider.karpenter.nodeClassRef.kind": "ec2nodeclass" },
    'spec.provider.karpenter.nodeClassRef.kind: Invalid value: "ec2nodeclass": kind is written in CamelCase, for example EC2NodeClass',
  ),
  bad(
    "NodeType",
    "a node class without name",
    { "spec.provider.karpenter.nodeClassRef.name": undefined },
    "spec.provider.karpenter.nodeClassRef.name: Required value",
  ),
  bad(
    "NodeType",
    "a SKU with a blank",
    { "spec.sku": "h100 8x" },
    "spec.sku: Invalid value: \"h100 8x\": must be a name of letters, digits, '-', '_' and '.', beginning and ending with a letter or digit",
  ),
  bad(
    "NodeType",
    "a negative quota",
    { "spec.quota.total": -1 },
    "spec.quota.total: Invalid value: -1: spec.quota.total in body should be greater than or equal to 0",
  ),
  bad(
    "NodeType",
    "a namespace's quota above the total",
    { "spec.quota.perNamespace": 21 },
    "spec.quota: Invalid value: quota.perNamespace must not exceed quota.total: lower it, or raise the total",
  ),
];
