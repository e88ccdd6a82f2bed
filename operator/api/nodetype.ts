/** NodeType: a shape of GPU node that the platform offers. Schema, types and resource. */
import { z } from "zod";
import type { KubeObject, ObjectMeta, Resource } from "../ports.ts";
import { GROUP, VERSION } from "./keys.ts";
import { atomicList, byteQuantity, conditions, dnsSubdomain, labelValue, rules } from "./schema.ts";

export const gpuShape = z
  .object({
    product: z.string().min(1).max(64).describe("Commercial name of the GPU for people, for example NVIDIA H100 80GB."),
    count: z.int().min(1).max(16).describe("Number of GPUs in one node; a replica uses all of them."),
    memory: byteQuantity.describe("Memory of one GPU that the driver reports as usable, for example 80Gi."),
    resourceName: z
      .string()
      .min(3)
      .max(253)
      .regex(/^[a-z0-9.-]+\/[a-zA-Z0-9._-]+$/)
      .default("nvidia.com/gpu")
      .describe("Extended resource under which the device plugin advertises the GPUs."),
  })
  .describe("The GPUs of one node of this type.");

export const providerShape = rules(
  z.object({
    static: z
      .object({
        nodeSelector: rules(z.record(z.string().min(1).max(317), labelValue), {
          rule: "self.size() >= 1",
          message: "static.nodeSelector needs at least one label: an empty selector would match every node",
        })
          .meta({ maxProperties: 16 })
          .describe("Labels that a node must carry to be of this type; nodes are claimed among those that match."),
      })
      .optional()
      .describe("Nodes that the platform already has; Berth claims free ones and gives them back."),
    karpenter: z
      .object({
        nodeClassRef: z
          .object({
            group: z.string().min(1).max(253).describe("API group of the node class, for example karpenter.k8s.aws."),
            kind: z.string().min(1).max(63).describe("Kind of the node class, for example EC2NodeClass."),
            name: dnsSubdomain.describe("Name of the node class object."),
          })
          .describe("Karpenter's provider-specific node class that new nodes are made from."),
        requirements: atomicList(
          z
            .array(
              z
                .object({
                  key: z
                    .string()
                    .min(1)
                    .max(316)
                    .describe("Node label that is constrained, for example node.kubernetes.io/instance-type."),
                  operator: z
                    .enum(["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"])
                    .describe("How the values constrain the label, as in Karpenter's NodePool."),
                  values: atomicList(z.array(z.string().max(63)).max(50))
                    .optional()
                    .describe("Values for the operator; empty for Exists and DoesNotExist."),
                })
                .describe("One constraint on the nodes that Karpenter may buy."),
            )
            .min(1)
            .max(30),
        ).describe("Constraints that make Karpenter buy exactly this shape, usually one instance type."),
      })
      .optional()
      .describe("Nodes that Karpenter buys for each pool through a static-capacity NodePool."),
  }),
  {
    rule: "has(self.static) != has(self.karpenter)",
    message: "set exactly one of provider.static and provider.karpenter",
  },
).describe("Where nodes of this type come from.");

export const nodeTypeSpec = rules(
  z.object({
    gpu: gpuShape,
    vcpus: z.int().min(1).max(1024).describe("Virtual CPUs of one node; the serving pod requests most of them."),
    memory: byteQuantity.describe("Main memory of one node; the serving pod requests most of it."),
    provider: providerShape,
    sku: labelValue
      .min(1)
      .optional()
      .describe("Name under which hours of this type are recorded; the NodeType's own name by default."),
    disabled: z
      .boolean()
      .default(false)
      .describe("True stops new claims of this type; deployments that run keep their nodes."),
    quota: z
      .object({
        total: z
          .int()
          .min(0)
          .max(100_000)
          .optional()
          .describe("Largest number of nodes of this type over all namespaces together."),
        perNamespace: z
          .int()
          .min(0)
          .max(100_000)
          .optional()
          .describe("Largest number of nodes of this type in any one namespace."),
      })
      .default({})
      .describe("Bounds that are checked before a node is bought or claimed."),
  }),
).describe("What one node of this type has, where it comes from and how many may be used.");

export const nodeTypeStatus = z
  .object({
    observedGeneration: z
      .int()
      .min(0)
      .optional()
      .describe("Generation of the spec that this status was computed from."),
    stock: z
      .enum(["Available", "LowStock", "OutOfStock", "Unknown"])
      .optional()
      .describe("Whether new nodes can be had now: free static nodes, or Karpenter's last answers."),
    pools: z.int().min(0).optional().describe("Number of pools that use this type."),
    desiredNodes: z.int().min(0).optional().describe("Nodes that all pools of this type want together."),
    claimedNodes: z.int().min(0).optional().describe("Nodes that all pools of this type hold together."),
    freeNodes: z.int().min(0).optional().describe("Static nodes that could be claimed now; absent for Karpenter."),
    conditions: conditions.optional(),
  })
  .describe("Stock and use of this type; written by Berth alone.");

export type GpuShape = z.infer<typeof gpuShape>;
export type ProviderShape = z.infer<typeof providerShape>;
export type NodeTypeSpec = z.infer<typeof nodeTypeSpec>;
export type NodeTypeStatus = z.infer<typeof nodeTypeStatus>;
export interface NodeType extends KubeObject {
  readonly metadata: ObjectMeta;
  readonly spec: NodeTypeSpec;
  readonly status?: NodeTypeStatus;
}
export const nodeTypes: Resource<NodeType> = {
  group: GROUP,
  version: VERSION,
  plural: "nodetypes",
  kind: "NodeType",
  namespaced: false,
};
