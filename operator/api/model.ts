/** Model (a tenant's own import) and ClusterModel (the platform's catalogue): schemas and types. */
import { z } from "zod";
import { cataloguedShape } from "./catalogued.ts";
import { cacheLayers, nodeSupport, parsers, shape, weights } from "./modelfacts.ts";
import { modelSource } from "./modelsource.ts";
import type { KubeObject, ObjectMeta } from "../ports.ts";
import { atomicList, byteQuantity, conditions, instant, mapList, matching, sha256Digest } from "./schema.ts";

const modelSpecShape = {
  source: modelSource,
  license: z
    .object({
      name: z.string().min(1).max(128).describe("Short name of the licence, for example apache-2.0 or llama3.1."),
      url: matching(
        z.string().max(512),
        "^https?://[^\\s/?#]+[^\\s]*$",
        "url must be an http or https address, for example https://example.org/licence",
      )
        .optional()
        .describe("Address at which the licence text can be read."),
      acceptanceRequired: z
        .boolean()
        .default(false)
        .describe("True makes deployments wait, without a node, until spec.acceptLicense names the licence."),
    })
    .optional()
    .describe("Licence that the model comes under, shown to users."),
  chatTemplate: z
    .string()
    .min(1)
    .max(65_536)
    .optional()
    .describe(
      "Chat template as Jinja text, in place of the one in the model's files or where they have none; deployments take it at their next rollout.",
    ),
  maxSize: byteQuantity
    .default("2Ti")
    .describe("Largest total size of the source's files; a larger source is refused before a byte is copied."),
};

export const modelSpec = z.object(modelSpecShape).describe("Which files are imported, and the bounds of the import.");
export const clusterModelSpec = z
  .object({
    ...modelSpecShape,
    ...cataloguedShape,
    import: z
      .enum(["OnDemand", "Eager"])
      .default("OnDemand")
      .describe(
        "OnDemand inspects at once and copies when the first deployment names the model; Eager copies at once.",
      ),
  })
  .describe(
    "Which files are imported and when, and what the model is; Secrets are read from the operator's namespace.",
  );

const way = z
  .enum(["ServerSideCopy", "StreamedUpload", "Directory"])
  .describe(
    "How the bytes came: ServerSideCopy inside of the storage service, StreamedUpload through the importer, or into a Directory.",
  );

const revision = z
  .object({
    number: z.int().min(1).describe("Number of the revision in order of import, part of its place in the store."),
    digest: sha256Digest.describe("SHA-256 over the sorted list of path, size and SHA-256 of the served files."),
    sizeBytes: z.int().min(0).describe("Bytes of all files of this revision."),
    importedAt: instant.describe("Instant at which the manifest was committed."),
    sourceFingerprint: z
      .string()
      .max(71)
      .optional()
      .describe("SHA-256 over the source's keys, sizes and ETags, to notice a changed source."),
    sourceCommit: z.string().max(40).optional().describe("Commit of the hub's repository that was imported."),
    way: way.optional(),
  })
  .describe("One complete, immutable import of the source.");

const progress = z
  .object({
    phase: z.enum(["Listing", "Inspecting", "Copying", "Committing"]).describe("Step that the import is in right now."),
    bytes: z.int().min(0).describe("Bytes that are safely in the store so far."),
    totalBytes: z.int().min(0).describe("Bytes that the whole import has to copy."),
    bytesPerSecond: z.int().min(0).optional().describe("Rate of the last seconds, for people."),
    etaSeconds: z.int().min(0).optional().describe("Estimated seconds until the copy is complete."),
    files: z.string().max(32).optional().describe("Finished files of all files, for example 3/12."),
    startedAt: instant.describe("Instant at which this import began."),
    way: way.optional(),
  })
  .describe("How far the running import has come; absent when none runs.");

export const modelStatus = z
  .object({
    observedGeneration: z
      .int()
      .min(0)
      .optional()
      .describe("Generation of the spec that this status was computed from."),
    phase: z
      .enum(["Preparing", "Downloading", "Ready", "Error"])
      .optional()
      .describe("One word for people, derived from the conditions; programs read the conditions."),
    digest: sha256Digest.optional().describe("Digest of the newest complete revision."),
    revisions: mapList(z.array(revision).max(64), "number")
      .optional()
      .describe("Complete revisions in the store, oldest first."),
    sizeBytes: z.int().min(0).optional().describe("Bytes of all files that are imported."),
    weightBytes: z.int().min(0).optional().describe("Bytes of the weights as the engine loads them, by the headers."),
    recorded: z
      .boolean()
      .optional()
      .describe("True while the sizes are those that the catalogue records: inspection replaces them."),
    architecture: z
      .string()
      .max(128)
      .optional()
      .describe("First entry of config.json's architectures, as vLLM's registry names it."),
    task: z
      .enum(["Generate", "Embed", "Classify", "Reward", "Unknown"])
      .optional()
      .describe("What the model does: Generate text, Embed, Classify or Reward."),
    parameters: z.int().min(0).optional().describe("Number of parameters counted from the tensor shapes."),
    dtype: z.string().max(32).optional().describe("Data type that holds most of the weights, for example BF16."),
    quantization: z
      .string()
      .max(64)
      .optional()
      .describe("Quantization method by config.json; absent for plain weights."),
    contextLength: z.int().min(0).optional().describe("Largest context in tokens that the model was made for."),
    kvBytesPerToken: z
      .int()
      .min(0)
      .optional()
      .describe("Bytes of KV cache that one token needs over all layers at 16 bits; 0 where no cache is kept."),
    tokenizer: z
      .string()
      .max(64)
      .optional()
      .describe("File that the tokenizer is read from, for example tokenizer.json; absent where there is none."),
    chatTemplate: z
      .string()
      .max(64)
      .optional()
      .describe("File that the chat template is read from; absent where the model has none."),
    parsers: parsers.optional(),
    ropeScaling: z
      .string()
      .max(64)
      .optional()
      .describe("How the context was stretched beyond the trained one, by config.json, for example yarn."),
    effectiveBits: z.number().min(0).max(64).optional().describe("Weight bits over parameters, scales included."),
    dtypes: z
      .record(z.string(), z.int().min(0).describe("Bytes of tensors of this data type."))
      .meta({ maxProperties: 32 })
      .optional()
      .describe("Bytes of tensor data by data type."),
    shape: shape.optional(),
    weights: weights.optional(),
    cache: atomicList(z.array(cacheLayers).max(64))
      .optional()
      .describe("What the layers keep for each sequence; empty where nothing is kept, absent where it is unknown."),
    unknown: atomicList(
      z.array(z.string().max(256).describe("One fact, why it is unknown, and what cannot be said without it.")).max(16),
    )
      .optional()
      .describe("Facts that could not be known, each with the reason and what depends on it."),
    nodeSupport: mapList(z.array(nodeSupport).max(256), "nodeType")
      .optional()
      .describe("What each enabled NodeType can do with this model, written by the operator."),
    sourceCommit: z
      .string()
      .max(40)
      .optional()
      .describe("Commit that the hub's revision stood for when it was inspected; what is copied is of this commit."),
    copied: z
      .string()
      .max(8)
      .optional()
      .describe(
        "Share of the newest revision's bytes that is in the store, for example 42%; absent where the import failed.",
      ),
    progress: progress.optional(),
    conditions: conditions.optional(),
  })
  .describe("What the importer found and copied; written by Berth alone.");

export type ModelSpec = z.infer<typeof modelSpec>;
export type ClusterModelSpec = z.infer<typeof clusterModelSpec>;
export type ModelStatus = z.infer<typeof modelStatus>;
export type ModelRevision = z.infer<typeof revision>;
export interface Model extends KubeObject {
  readonly metadata: ObjectMeta;
  readonly spec: ModelSpec;
  readonly status?: ModelStatus;
}
export interface ClusterModel extends KubeObject {
  readonly metadata: ObjectMeta;
  readonly spec: ClusterModelSpec;
  readonly status?: ModelStatus;
}
