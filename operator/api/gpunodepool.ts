/** GPUNodePool: the nodes dedicated to one deployment. Made by the operator, read by tenants. Schema and types. */
import { z } from "zod";
import type { KubeObject, ObjectMeta } from "../ports.ts";
import { cacheShape, gpuShape, providerShape } from "./nodetype.ts";
import { IMMUTABLE, atomicList, conditions, dnsLabel, dnsSubdomain, instant, labelName, rules, uid } from "./schema.ts";

const tags = z
  .record(z.string(), z.string().max(128).describe("Value of one tag, copied as it is."))
  .meta({ maxProperties: 16 });

export const poolTemplate = rules(
  z.object({
    sku: labelName.describe("Name under which the pool's hours are recorded, copied from the node type."),
    gpu: gpuShape,
    provider: providerShape,
    cache: cacheShape.optional(),
  }),
  IMMUTABLE("spec.template", "it is pinned when the pool is made, so that an edited NodeType affects new pools only"),
).describe("Shape and origin of the nodes as the NodeType was when the pool was made.");

export const gpuNodePoolSpec = z
  .object({
    nodeType: rules(dnsSubdomain, IMMUTABLE("spec.nodeType", "delete the deployment and create another")).describe(
      "NodeType that the pool was made from.",
    ),
    deploymentRef: rules(
      z.object({
        name: dnsLabel.describe("Name of the ModelDeployment in the same namespace."),
        uid: uid.describe("UID of that ModelDeployment; names can be reused, UIDs cannot."),
        namespaceUID: uid.optional().describe("UID of the namespace: one that is made anew under its name is another."),
      }),
      IMMUTABLE("spec.deploymentRef", "a pool serves one deployment for all its life"),
    ).describe("The only deployment that these nodes serve."),
    size: z.int().min(0).max(50).describe("Number of nodes wanted; each change is logged with the API server's time."),
    account: labelName.describe("Billing account that the nodes are recorded for from the last change on."),
    tags: tags.default({}).describe("Tags that are copied into the usage records from the last change on."),
    template: poolTemplate,
  })
  .describe("How many nodes of which pinned shape for which deployment.");

export const sizeLogEntry = z
  .object({
    since: instant.describe("API server's time at which this size, account and tags were written."),
    size: z.int().min(0).describe("Number of nodes wanted from that instant on."),
    account: z.string().max(63).describe("Billing account from that instant on."),
    tags: tags.optional().describe("Tags from that instant on; absent means none."),
    folded: z
      .string()
      .max(40_000)
      .regex(/^\d{1,4}:\d{1,2}(,\d{1,4}:\d{1,2})*$/)
      .optional()
      .describe(
        "Later steps of the same UTC hour with the same account and tags, as seconds after `since` and size, in order: 12:3,40:1. A log that grows long folds hours that are over.",
      ),
  })
  .describe("One step of the desired size.");

export const gpuNodePoolStatus = z
  .object({
    observedGeneration: z
      .int()
      .min(0)
      .optional()
      .describe("Generation of the spec that this status was computed from."),
    claimed: z.int().min(0).optional().describe("Nodes that belong to the pool now, ready or not."),
    ready: z.int().min(0).optional().describe("Nodes of the pool that are Ready with all GPUs allocatable."),
    sizeLog: atomicList(z.array(sizeLogEntry).max(500))
      .optional()
      .describe("Every desired size that was acted on, oldest first: the basis of metering."),
    conditions: conditions.optional(),
  })
  .describe("What the pool holds; written by Berth alone.");

export type PoolTemplate = z.infer<typeof poolTemplate>;
export type SizeLogEntry = z.infer<typeof sizeLogEntry>;
export type GPUNodePoolSpec = z.infer<typeof gpuNodePoolSpec>;
export type GPUNodePoolStatus = z.infer<typeof gpuNodePoolStatus>;
export interface GPUNodePool extends KubeObject {
  readonly metadata: ObjectMeta;
  readonly spec: GPUNodePoolSpec;
  readonly status?: GPUNodePoolStatus;
}
