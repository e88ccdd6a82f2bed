/** ModelDeployment: one model served on nodes of its own. Schema and types. */
import { z } from "zod";
import type { KubeObject, ObjectMeta } from "../ports.ts";
import {
  IMMUTABLE,
  atomicList,
  conditions,
  dnsSubdomain,
  freeTags,
  instant,
  labelName,
  mapList,
  matching,
  rules,
  sha256Digest,
} from "./schema.ts";

export const billing = z
  .object({
    account: labelName
      .optional()
      .describe(
        "Billing account that the capacity is recorded for; an administrator must have allowed it for the namespace. Default: the namespace's name.",
      ),
    tags: freeTags.optional().describe("Free key-value pairs that are copied into every usage record, at most 16."),
  })
  .describe("Who the provisioned hours are recorded for; a change splits the hour's record at that instant.");

const parserName = matching(
  z.string().min(1).max(64),
  "^[a-z0-9][a-z0-9_-]*$",
  "a parser is named as vLLM names it, for example hermes or qwen3, or none",
);

export const modelDeploymentSpec = z
  .object({
    model: z
      .object({
        name: dnsSubdomain.describe("Name of the Model in this namespace, or of the ClusterModel."),
        kind: z
          .enum(["Model", "ClusterModel"])
          .default("Model")
          .describe("Model for the tenant's own import, ClusterModel for one of the platform's catalogue."),
        revision: matching(
          z.string().max(128),
          "^sha256:[0-9a-f]{64}$",
          "revision is a digest as the Model's status.revisions shows it: sha256: and 64 hexadecimal digits",
        )
          .optional()
          .describe(
            "Digest of one imported revision to stay on; by default the newest one at the time of the rollout is used.",
          ),
      })
      .describe("Which model is served; a change rolls the replicas over to it."),
    acceptLicense: z
      .string()
      .min(1)
      .max(128)
      .optional()
      .describe(
        "Name of the licence that you accept, as the model's spec.license.name writes it, for example llama3.1.",
      ),
    nodeType: rules(
      dnsSubdomain,
      IMMUTABLE("spec.nodeType", "create a new ModelDeployment with the other node type and delete this one"),
    ).describe("NodeType whose nodes are dedicated to this deployment, one node per replica; it cannot be changed."),
    replicas: rules(
      z.int().min(1).max(50),
      { rule: "self >= 1", message: "replicas is at least 1: set spec.suspend to true to run none" },
      { rule: "self <= 50", message: "replicas is at most 50: create a second ModelDeployment for more" },
    )
      .default(1)
      .describe("Number of vLLM servers, each with all GPUs of one dedicated node; use spec.suspend for none."),
    contextLength: z
      .int()
      .min(16)
      .max(10_485_760)
      .optional()
      .describe(
        "Largest number of tokens of prompt and answer together; by default the model's own, cut to what fits the node.",
      ),
    quantization: z
      .object({
        bits: z
          .int()
          .min(4)
          .max(16)
          .optional()
          .describe(
            "Bits of one weight: 8 quantizes a 16-bit checkpoint when it is loaded; by default the checkpoint's own. status.nodeSupport of the model says what each node type allows.",
          ),
      })
      .optional()
      .describe("How the weights are held in the GPUs' memory; a change rolls the replicas over to it."),
    engine: z
      .object({
        version: matching(
          z.string().max(64),
          "^[0-9A-Za-z][0-9A-Za-z.+_-]*$",
          "version is one of the administrator's list of engine images, for example 0.32.0",
        )
          .optional()
          .describe(
            "vLLM version out of the administrator's list of engine images; by default the first of that list.",
          ),
        extraArgs: atomicList(
          z
            .array(
              z
                .string()
                .min(1)
                .max(4096)
                .describe(
                  "One word of the command line: a flag, a flag with =value, or a value that belongs to the flag before it.",
                ),
            )
            .max(64),
        )
          .optional()
          .describe(
            "Further arguments for `vllm serve`, merged after those that Berth renders; flags that Berth owns or that the platform's safety forbids are refused.",
          ),
        env: mapList(
          z
            .array(
              z
                .object({
                  name: matching(
                    z.string().min(1).max(128),
                    "^[A-Za-z_][A-Za-z0-9_]*$",
                    "name is an environment variable: letters, digits and '_', for example VLLM_USE_DEEP_GEMM",
                  ).describe("Name of one variable; only those that tune the engine are taken."),
                  value: z.string().max(1024).describe("Value as the process receives it."),
                })
                .describe("One environment variable of the engine, by name and value."),
            )
            .max(32),
          "name",
        )
          .optional()
          .describe(
            "Further environment variables of the engine; names of vLLM's own are checked against its version, and names that carry secrets, code or places are refused.",
          ),
        toolCallParser: parserName
          .optional()
          .describe(
            "vLLM's parser for the model's tool calls, or none; by default the one that the ClusterModel recommends, else the one of the model's chat template or family, where that is sure.",
          ),
        reasoningParser: parserName
          .optional()
          .describe(
            "vLLM's parser that tells the model's reasoning from its answer, or none; by default the one that the ClusterModel recommends, else the one of the model's chat template or family, where that is sure.",
          ),
      })
      .default({})
      .describe("The inference engine that serves the model."),
    suspend: z
      .boolean()
      .default(false)
      .describe("True releases all nodes and stops billing after the drain, and keeps the object and its address."),
    deletionProtection: z
      .boolean()
      .default(false)
      .describe(
        "True makes the API server refuse deletion of this object and of its namespace until it is set to false.",
      ),
    billing: billing.default({}),
  })
  .describe("What the user wants: which model on which nodes, how many replicas, paid by whom.");

export const modelDeploymentStatus = z
  .object({
    observedGeneration: z
      .int()
      .min(0)
      .optional()
      .describe("Generation of the spec that this status was computed from."),
    phase: z
      .enum(["Creating", "Deploying", "Ready", "Scaling", "Updating", "Suspended", "Error", "Deleting"])
      .optional()
      .describe("One word for people, derived from the conditions; programs read the conditions."),
    replicas: z.int().min(0).optional().describe("Number of pods that exist for this deployment now."),
    readyReplicas: z.int().min(0).optional().describe("Number of pods that answer requests now."),
    updatedReplicas: z.int().min(0).optional().describe("Number of pods that run the newest rendered template."),
    selector: z
      .string()
      .max(512)
      .optional()
      .describe("Label selector of the serving pods as text, read by the scale subresource."),
    endpoint: z.string().max(512).optional().describe("Address inside the cluster at which the model answers."),
    model: z
      .object({
        digest: sha256Digest.optional().describe("Digest of the model revision that the template serves."),
        revision: z.int().min(0).optional().describe("Number of that revision in the Model's list of revisions."),
      })
      .optional()
      .describe("Model revision that was resolved at the last rollout; replaced nodes and new replicas use the same."),
    engine: z
      .object({
        image: z.string().max(512).optional().describe("Container image of the engine that the template runs."),
        args: z
          .array(z.string().max(4096).describe("One argument as the process receives it."))
          .max(256)
          .meta({ "x-kubernetes-list-type": "atomic" })
          .optional()
          .describe("Arguments that vLLM is started with, in order."),
      })
      .optional()
      .describe("Engine as rendered at the last rollout."),
    capacity: z
      .object({
        contextLength: z
          .int()
          .min(0)
          .optional()
          .describe("Tokens of prompt and answer together that one request may use."),
        kvCacheTokens: z.int().min(0).optional().describe("Estimated tokens that fit into one replica's KV cache."),
        maxConcurrency: z
          .int()
          .min(0)
          .optional()
          .describe("Estimated full-length requests that one replica holds at once."),
      })
      .optional()
      .describe("What one replica can hold, computed before any node was bought."),
    metering: z
      .object({
        since: instant.optional().describe("Instant from which capacity of this deployment is recorded."),
        sealedThrough: instant.optional().describe("End of the last sealed window; everything before it is final."),
        nodeSeconds: z.int().min(0).optional().describe("Billable node-seconds in sealed windows so far."),
        counters: atomicList(
          z
            .array(
              z
                .object({
                  sku: z.string().max(253).describe("SKU that the node-seconds are recorded under."),
                  billable: z.int().min(0).describe("Node-seconds that are billed by default."),
                  claimed: z.int().min(0).describe("Node-seconds for which nodes were held."),
                  ready: z.int().min(0).describe("Node-seconds for which wanted nodes were ready."),
                })
                .describe("Node-seconds of one SKU, by basis."),
            )
            .max(16),
        )
          .optional()
          .describe(
            "Node-seconds by SKU and basis as berth_capacity_node_seconds_total counts them: what an adjustment takes back stays in.",
          ),
      })
      .optional()
      .describe("How far the ledger has recorded this deployment."),
    conditions: conditions.optional(),
  })
  .describe("What Berth observed; written by Berth alone.");

export type ModelDeploymentSpec = z.infer<typeof modelDeploymentSpec>;
export type ModelDeploymentStatus = z.infer<typeof modelDeploymentStatus>;
export type DeploymentMetering = NonNullable<ModelDeploymentStatus["metering"]>;
/** Node-seconds of one SKU that never shrink. */
export type CapacityCounters = NonNullable<DeploymentMetering["counters"]>[number];
export interface ModelDeployment extends KubeObject {
  readonly metadata: ObjectMeta;
  readonly spec: ModelDeploymentSpec;
  readonly status?: ModelDeploymentStatus;
}
