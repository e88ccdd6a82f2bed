/** NodeType: a shape of GPU node that the platform offers. Schema and types. */
import { z } from "zod";
import type { KubeObject, ObjectMeta } from "../ports.ts";
import { labels } from "./keys.ts";
import {
  atomicList,
  byteQuantity,
  conditions,
  dnsSubdomain,
  labelName,
  labelValue,
  matching,
  rules,
} from "./schema.ts";
import type { CelRule } from "./schema.ts";

const atLeast = (bytes: string, message: string): CelRule => ({
  rule: `!isQuantity(self) || quantity(self).compareTo(quantity('${bytes}')) >= 0`,
  message,
});

/** A label's name with its optional domain, as Kubernetes takes it. */
const QUALIFIED_NAME = "^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$";

export const gpuShape = z
  .object({
    product: z.string().min(1).max(64).describe("Commercial name of the GPU for people, for example NVIDIA H100 80GB."),
    count: z.int().min(1).max(16).describe("Number of GPUs in one node; a replica uses all of them."),
    memory: rules(
      byteQuantity,
      atLeast("1Gi", "gpu.memory counts bytes: write it with a suffix, for example 80Gi"),
    ).describe("Memory of one GPU that the driver reports as usable, for example 80Gi."),
    resourceName: matching(
      z.string().max(253),
      "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[a-zA-Z0-9]([-a-zA-Z0-9._]*[a-zA-Z0-9])?$",
      "resourceName is an extended resource with its domain, for example nvidia.com/gpu",
    )
      .default("nvidia.com/gpu")
      .describe("Extended resource under which the device plugin advertises the GPUs."),
  })
  .describe("The GPUs of one node of this type.");

export const providerShape = rules(
  z.object({
    static: z
      .object({
        nodeSelector: rules(
          z
            .record(z.string(), labelValue.describe("Value that the node's label must have."))
            .meta({ maxProperties: 16 }),
          {
            rule: "self.size() >= 1",
            message: "nodeSelector needs at least one label: an empty one would match every node",
          },
          {
            rule: `self.all(key, key.size() <= 317 && key.matches(r'${QUALIFIED_NAME}'))`,
            message: "nodeSelector's keys are label names such as example.com/gpu or node.kubernetes.io/instance-type",
          },
          {
            rule: `!('${labels.pool}' in self)`,
            message: `nodeSelector must not name ${labels.pool}: Berth sets that label itself when it claims a node`,
          },
        ).describe("Labels that a node must carry to be of this type; nodes are claimed among those that match."),
      })
      .optional()
      .describe("Nodes that the platform already has; Berth claims free ones and gives them back."),
    karpenter: z
      .object({
        nodeClassRef: z
          .object({
            group: dnsSubdomain.describe("API group of the node class, for example karpenter.k8s.aws."),
            kind: matching(
              z.string().max(63),
              "^[A-Z][A-Za-z0-9]*$",
              "kind is written in CamelCase, for example EC2NodeClass",
            ).describe("Kind of the node class, for example EC2NodeClass."),
            name: dnsSubdomain.describe("Name of the node class object."),
          })
          .describe("Karpenter's provider-specific node class that new nodes are made from."),
        requirements: atomicList(
          z
            .array(
              rules(
                z.object({
                  key: rules(
                    matching(
                      z.string().max(316),
                      QUALIFIED_NAME,
                      "key is the name of a node label, for example node.kubernetes.io/instance-type",
                    ),
                    {
                      rule: `self != '${labels.pool}'`,
                      message: `key must not be ${labels.pool}: Berth sets that label itself`,
                    },
                  ).describe("Node label that is constrained, for example node.kubernetes.io/instance-type."),
                  operator: z
                    .enum(["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"])
                    .describe("How the values constrain the label, as in Karpenter's NodePool."),
                  values: atomicList(
                    z.array(labelValue.describe("One value of the node label, compared by the operator.")).max(50),
                  )
                    .optional()
                    .describe("Values for the operator; empty for Exists and DoesNotExist."),
                }),
                {
                  rule: "!(self.operator in ['In', 'NotIn']) || (has(self.values) && self.values.size() > 0)",
                  message: "operators In and NotIn need values: list at least one",
                },
                {
                  rule: "!(self.operator in ['Exists', 'DoesNotExist']) || !has(self.values) || self.values.size() == 0",
                  message: "operators Exists and DoesNotExist take no values: remove them, or use In",
                },
                {
                  rule: "!(self.operator in ['Gt', 'Lt']) || (has(self.values) && self.values.size() == 1 && self.values[0].matches(r'^[0-9]+$'))",
                  message: "operators Gt and Lt need exactly one whole number as value",
                },
              ).describe("One constraint on the nodes that Karpenter may buy."),
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

export const cacheShape = z
  .object({
    storageClassName: dnsSubdomain.describe(
      "Storage class whose ReadWriteMany claims give each node a folder of its own (a node-local driver, or volumes that the platform made).",
    ),
    size: rules(
      byteQuantity,
      atLeast("1Gi", "cache.size counts bytes: write it with a suffix, for example 500Gi"),
    ).describe("How much of the models may lie on one node; the least recently used are removed for the next one."),
  })
  .describe(
    "Cache of models on each node, which outlives pods. A static node keeps it for its namespace until it was wiped.",
  );

export const nodeTypeSpec = z
  .object({
    gpu: gpuShape,
    vcpus: z.int().min(1).max(1024).describe("Virtual CPUs of one node; the serving pod requests most of them."),
    memory: rules(
      byteQuantity,
      atLeast("1Gi", "memory counts bytes: write it with a suffix, for example 256Gi"),
    ).describe("Main memory of one node; the serving pod requests most of it."),
    diskThroughput: byteQuantity
      .optional()
      .describe("Bytes per second that a node's disk reads, for the time that a start may take; 200M where absent."),
    networkThroughput: byteQuantity
      .optional()
      .describe("Bytes per second that a node receives from the store, for the same; 125M where absent."),
    price: z
      .object({
        perHour: matching(
          z.string().max(16),
          "^[0-9]{1,9}(\\.[0-9]{1,4})?$",
          "perHour is a decimal number as text, for example 12.50",
        ).describe("Price of one node for one hour, as text, for example 12.50."),
        currency: matching(
          z.string().max(3),
          "^[A-Z]{3}$",
          "currency is a code of three capitals, for example EUR",
        ).describe("Currency by ISO 4217, for example EUR."),
      })
      .optional()
      .describe("What a node of this type costs, for berth inspect to compare; nothing is rated by it."),
    provider: providerShape,
    cache: cacheShape.optional(),
    sku: labelName
      .optional()
      .describe("Name under which hours of this type are recorded; the NodeType's own name by default."),
    disabled: z
      .boolean()
      .default(false)
      .describe("True stops new claims of this type; deployments that run keep their nodes."),
    quota: rules(
      z.object({
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
      }),
      {
        rule: "!has(self.total) || !has(self.perNamespace) || self.total < 0 || self.perNamespace <= self.total",
        message: "quota.perNamespace must not exceed quota.total: lower it, or raise the total",
      },
    )
      .default({})
      .describe("Bounds that are checked before a node is bought or claimed."),
  })
  .describe("What one node of this type has, where it comes from and how many may be used.");

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

export type CacheShape = z.infer<typeof cacheShape>;
export type GpuShape = z.infer<typeof gpuShape>;
export type ProviderShape = z.infer<typeof providerShape>;
export type NodeTypeSpec = z.infer<typeof nodeTypeSpec>;
export type NodeTypeStatus = z.infer<typeof nodeTypeStatus>;
export interface NodeType extends KubeObject {
  readonly metadata: ObjectMeta;
  readonly spec: NodeTypeSpec;
  readonly status?: NodeTypeStatus;
}
