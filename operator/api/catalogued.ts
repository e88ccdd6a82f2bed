/** What a ClusterModel says of itself to people who choose one: claims of its publisher, shown and never measured. */
import { z } from "zod";
import { atomicList, matching } from "./schema.ts";

const modality = z.enum(["text", "image", "video", "audio"]).describe("Kind of input or output of the model.");
const parser = matching(
  z.string().min(1).max(64),
  "^[a-z0-9][a-z0-9_-]*$",
  "a parser is named as vLLM names it, for example hermes or qwen3",
);

/** Fields of a ClusterModel's spec beside those of a Model; each one may be left out. */
export const cataloguedShape = {
  displayName: z.string().min(1).max(80).optional().describe("Name of the model as its publisher writes it."),
  description: z.string().min(1).max(400).optional().describe("What the model is good for, in a sentence."),
  family: z.string().min(1).max(64).optional().describe("Family that the model belongs to, for example llama."),
  tasks: atomicList(
    z
      .array(
        z
          .enum(["chat", "vision", "embedding", "code", "reasoning", "speech"])
          .describe("One thing that the model was made for."),
      )
      .max(6),
  )
    .optional()
    .describe("What the model was made for."),
  modalities: z
    .object({
      input: atomicList(z.array(modality).max(4)).optional().describe("What the model takes."),
      output: atomicList(z.array(modality).max(4))
        .optional()
        .describe("What the model gives; none for embeddings and other numbers."),
    })
    .optional()
    .describe("Kinds of input and output."),
  publishedContextLength: z
    .int()
    .min(1)
    .max(10_485_760)
    .optional()
    .describe(
      "Tokens of the largest context that the model was published with; status.contextLength is what was read.",
    ),
  abilities: z
    .object({
      toolCalling: z.boolean().optional().describe("Whether the model calls tools."),
      structuredOutput: z.boolean().optional().describe("Whether its output can be held to a JSON schema."),
    })
    .optional()
    .describe("What clients may ask of the model."),
  recommended: z
    .object({
      toolCallParser: parser.optional().describe("vLLM's parser of the model's tool calls."),
      reasoningParser: parser.optional().describe("vLLM's parser of the model's reasoning."),
    })
    .optional()
    .describe("What deployments take where spec.engine names none, as far as the engine's version has it."),
  lifecycle: z
    .enum(["Preview", "Current", "Superseded", "Retired"])
    .optional()
    .describe("How the platform stands to the model: Superseded and Retired ones have successors."),
};
