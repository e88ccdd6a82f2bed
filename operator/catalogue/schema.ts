/**
 * What an entry of the catalogue says about a public model. Facts carry the address at which they were read; a fact that
 * could not be read is absent, never guessed. `facts` are what sizing needs before the hub has been asked; inspection
 * replaces them.
 */
import { z } from "zod";

const address = z.url({ protocol: /^https$/ }).max(512);
const sentence = z.string().min(1).max(400);

export const catalogueTasks = ["chat", "vision", "embedding", "code", "reasoning", "speech"] as const;
export const catalogueModalities = ["text", "image", "video", "audio"] as const;

const licence = z.strictObject({
  /** Identifier as the hub writes it, for example apache-2.0 or llama3.1. */
  id: z.string().regex(/^[a-z0-9][a-z0-9.-]*$/),
  /** Address of the licence's text. */
  url: address,
  /** Whether a deployment has to name the licence in acceptLicense. */
  acceptanceRequired: z.boolean(),
});

const tools = z.strictObject({
  calling: z.boolean(),
  /** Name of vLLM's tool-call parser; present if and only if the model calls tools. */
  parser: z.string().min(1).optional(),
  /** Chat template inside the engine's image that the parser needs. */
  chatTemplate: z.string().min(1).optional(),
  /** Whether output can be held to a JSON schema: a matter of the engine, so of every generating model. */
  structuredOutput: z.boolean(),
});

const facts = z.strictObject({
  /** Fields of config.json that the plan reads, named as there. */
  config: z.record(z.string(), z.unknown()),
  /** Addresses at which the fields were read. */
  configSources: z.array(address).min(1),
  /** Which fields were not read but concluded, and from what. */
  configDerived: z.string().min(1).optional(),
  /** Bytes of the weights as loaded, or of the weight files where weightNote says so. */
  weightBytes: z.int().min(1),
  weightSources: z.array(address).min(1),
  /** How the bytes were stated or calculated, and how exact they are. */
  weightNote: sentence,
});

export const catalogueEntry = z
  .strictObject({
    /** Name of the ClusterModel. */
    name: z.string().regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/),
    displayName: z.string().min(1).max(80),
    description: sentence,
    family: z.string().regex(/^[a-z0-9][a-z0-9.-]*$/),
    source: z.strictObject({
      /** Repository on the hub: org/name. */
      huggingFace: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_.-]*\/[A-Za-z0-9][A-Za-z0-9_.-]*$/),
      /** Commit, only where it could be read somewhere. */
      revision: z
        .string()
        .regex(/^[0-9a-f]{40}$/)
        .optional(),
      revisionSource: address.optional(),
    }),
    license: licence,
    /** Tokens of the largest context that the model was published with. */
    contextLength: z.int().min(1),
    contextSource: address,
    tasks: z.array(z.enum(catalogueTasks)).min(1),
    modalities: z.strictObject({
      input: z.array(z.enum(catalogueModalities)).min(1),
      output: z.array(z.enum(catalogueModalities)),
    }),
    tools,
    /** Name of vLLM's reasoning parser, for models that think aloud. */
    reasoningParser: z.string().min(1).optional(),
    /** Where parsers and abilities were read. */
    abilitySource: address.optional(),
    lifecycle: z.enum(["Preview", "Current", "Superseded", "Retired"]),
    facts,
  })
  .refine((entry) => (entry.source.revision === undefined) === (entry.source.revisionSource === undefined), {
    message: "a revision needs the address at which it was read, and an address needs a revision",
    path: ["source", "revision"],
  })
  .refine((entry) => entry.tools.calling === (entry.tools.parser !== undefined), {
    message: "tools.parser is set if and only if the model calls tools",
    path: ["tools", "parser"],
  });

export type CatalogueEntry = z.infer<typeof catalogueEntry>;
