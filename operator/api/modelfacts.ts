/** Parts of a model's status: what sizing knows of a model, and what each node type can do with it. */
import { z } from "zod";
import { mapList } from "./schema.ts";

export const shape = z
  .object({
    layers: z.int().min(0).optional().describe("Number of transformer layers by config.json."),
    hiddenSize: z.int().min(0).optional().describe("Width of the residual stream by config.json."),
    attentionHeads: z.int().min(0).optional().describe("Number of query heads; tensor parallelism must divide it."),
    keyValueHeads: z
      .int()
      .min(0)
      .optional()
      .describe("Number of key-value heads; replicated where tensor parallelism exceeds it."),
    headSize: z.int().min(0).optional().describe("Width of one attention head."),
    vocabularySize: z.int().min(0).optional().describe("Number of token ids that the model knows."),
    intermediateSize: z.int().min(0).optional().describe("Width of the feed-forward layers; the GPUs must divide it."),
    experts: z.int().min(0).optional().describe("Number of routed experts; absent for a dense model."),
    expertsPerToken: z.int().min(0).optional().describe("Routed experts that each token passes."),
    expertSize: z.int().min(0).optional().describe("Width of one routed expert; the GPUs must divide it."),
    quantizationBlock: z
      .int()
      .min(0)
      .optional()
      .describe("Rows or inputs that share one scale of a quantized checkpoint; each GPU must hold whole ones."),
    rotaryBytes: z
      .int()
      .min(0)
      .optional()
      .describe("Bytes of the tables of rotary positions, which every GPU holds whole beside the weights."),
    visionTokens: z.int().min(0).optional().describe("Tokens of the largest image that the engine profiles with."),
    visionWidth: z
      .int()
      .min(0)
      .optional()
      .describe("Numbers that the vision encoder holds per token at its widest, whole on every GPU."),
    visionSplitWidth: z.int().min(0).optional().describe("Those of them that the GPUs divide."),
    visionInput: z.int().min(0).optional().describe("Numbers of the image behind one token."),
    visionOutput: z.int().min(0).optional().describe("Numbers of one token that the vision encoder hands on."),
  })
  .describe("Dimensions that sizing and parallelism depend on; a missing one is unknown.");

export const cacheLayers = z
  .object({
    kind: z
      .enum(["Full", "Sliding", "Chunked", "Latent", "State", "Cross"])
      .describe(
        "What the layers keep: every token, a window, a chunk, a latent vector per token, a state, or the encoder's output.",
      ),
    layers: z.int().min(0).describe("Number of layers of this kind."),
    heads: z.int().min(0).optional().describe("Key-value heads of each layer."),
    keySize: z.int().min(0).optional().describe("Numbers of one head's key, or of the latent vector."),
    valueSize: z.int().min(0).optional().describe("Numbers of one head's value."),
    window: z.int().min(0).optional().describe("Tokens that the layer looks back, or of the encoder's output."),
    elementBytes: z.int().min(1).optional().describe("Bytes of one number where the cache's type does not decide it."),
    convolution: z.int().min(0).optional().describe("Numbers of the convolution's state that the GPUs divide."),
    groups: z.int().min(0).optional().describe("Groups of the convolution's state."),
    groupSize: z.int().min(0).optional().describe("Numbers of one group of the convolution state."),
    recurrent: z.int().min(0).optional().describe("Numbers of the recurrent state."),
    recurrentBytes: z.int().min(1).optional().describe("Bytes of one number of the recurrent state."),
  })
  .describe("Equal layers, and what each of them keeps for a sequence.");

export const weights = z
  .object({
    embeddingBytes: z.int().min(0).describe("Token embeddings and output layer: divided, never quantized at load."),
    linearBytes: z.int().min(0).describe("Matrices that are divided and that a quantization at load shrinks."),
    dividedBytes: z.int().min(0).describe("Other tensors that the GPUs divide."),
    replicatedBytes: z.int().min(0).describe("Tensors that every GPU holds whole: norms, routers, latent projections."),
    visionBytes: z.int().min(0).describe("Encoders of images and sound, which some models hold whole on every GPU."),
    expertBytes: z.int().min(0).describe("Routed experts, part of linearBytes or dividedBytes."),
    extraBytes: z.int().min(0).describe("Copies that the engine makes when it loads: absorbed latent projections."),
  })
  .describe("Bytes of the weights as the engine holds them in 16 bits or as quantized, by how GPUs share them.");

const quantizationSupport = z
  .object({
    bits: z.int().min(1).max(32).describe("Bits of one weight, the scales of a quantization not counted."),
    allowed: z.boolean().describe("Whether a deployment of this model on this node type may ask for these bits."),
    maxContextLength: z
      .int()
      .min(0)
      .describe("Largest context in tokens that one sequence may have; 0 where none fits."),
    reason: z.string().max(512).optional().describe("Why not, with numbers; or what the context depends on."),
  })
  .describe("One number of bits on one node type.");

export const parsers = z
  .object({
    toolCallParser: z.string().max(64).optional().describe("vLLM's parser of the model's tool calls; absent for none."),
    reasoningParser: z.string().max(64).optional().describe("vLLM's parser of the model's reasoning; absent for none."),
    because: z.string().max(256).describe("What the choice rests on: the chat template or the architecture."),
  })
  .describe("Parsers that deployments take where neither spec.engine nor the ClusterModel's recommendation names one.");

export const nodeSupport = z
  .object({
    nodeType: z.string().max(253).describe("Name of the NodeType."),
    quantizations: mapList(z.array(quantizationSupport).max(8), "bits").describe("What is possible at which bits."),
  })
  .describe("What one node of an enabled NodeType can do with this model.");

export type ModelParsers = z.infer<typeof parsers>;
export type NodeSupport = z.infer<typeof nodeSupport>;
