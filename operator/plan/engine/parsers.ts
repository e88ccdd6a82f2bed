/**
 * Which parser reads a family's tool calls and reasoning out of the text. vLLM does not find out by itself.
 * Source: vLLM's docs/features/tool_calling.md and reasoning_outputs.md at 017e9f4; the tokens are those that the named
 * parser looks for (vllm/tool_parsers). A chat template says it better than a class name, which families share.
 */
import type { ModelParsers } from "../../api/modelfacts.ts";
import type { EngineProfile } from "./profile.ts";

interface Family {
  readonly name: string;
  readonly tool?: string;
  readonly reasoning?: string;
}

/** Classes whose every checkpoint speaks the same language. Llama, DeepSeek V3 and Qwen 2 are shared by several: no entry. */
const BY_ARCHITECTURE: Readonly<Record<string, Family>> = {
  GptOssForCausalLM: { name: "gpt-oss", tool: "openai", reasoning: "openai_gptoss" },
  Qwen3MoeForCausalLM: { name: "Qwen 3", tool: "hermes" },
  Qwen3ForCausalLM: { name: "Qwen 3", tool: "hermes" },
  MistralForCausalLM: { name: "Mistral", tool: "mistral" },
  Mistral3ForConditionalGeneration: { name: "Mistral 3", tool: "mistral" },
  Llama4ForConditionalGeneration: { name: "Llama 4", tool: "llama4_pythonic" },
  Glm4MoeForCausalLM: { name: "GLM 4.5", tool: "glm45", reasoning: "glm45" },
  MiniMaxM2ForCausalLM: { name: "MiniMax M2", tool: "minimax_m2", reasoning: "minimax_m2_append_think" },
  SeedOssForCausalLM: { name: "Seed OSS", tool: "seed_oss", reasoning: "seed_oss" },
  HunYuanMoEV1ForCausalLM: { name: "Hunyuan A13B", tool: "hunyuan_a13b", reasoning: "hunyuan_a13b" },
  JambaForCausalLM: { name: "Jamba", tool: "jamba" },
  GraniteMoeHybridForCausalLM: { name: "Granite 4", tool: "granite4" },
  Ernie4_5_MoeForCausalLM: { name: "Ernie 4.5", tool: "ernie45" },
  Step3VLForConditionalGeneration: { name: "Step 3", tool: "step3", reasoning: "step3" },
  ApertusForCausalLM: { name: "Apertus", tool: "apertus" },
  Gemma4ForConditionalGeneration: { name: "Gemma 4", tool: "gemma4", reasoning: "gemma4" },
};

/** Tokens in a chat template that only one family's parser reads, the more special first. */
const BY_TEMPLATE: readonly (readonly [marks: readonly string[], family: Family])[] = [
  [["<|channel|>", "<|call|>"], { name: "gpt-oss", tool: "openai", reasoning: "openai_gptoss" }],
  [["<|tool_calls_section_begin|>"], { name: "Kimi K2", tool: "kimi_k2" }],
  [["<arg_key>"], { name: "GLM 4.5", tool: "glm45", reasoning: "glm45" }],
  [["<start_function_call>"], { name: "FunctionGemma", tool: "functiongemma" }],
  [["<seed:tool_call>"], { name: "Seed OSS", tool: "seed_oss", reasoning: "seed_oss" }],
  [["<minimax:tool_call>"], { name: "MiniMax M2", tool: "minimax_m2", reasoning: "minimax_m2_append_think" }],
  [["<tool_call>", "<function="], { name: "Qwen 3 Coder", tool: "qwen3_coder" }],
  [["<tool_call>", "</tool_call>"], { name: "Hermes and Qwen", tool: "hermes" }],
  [["[TOOL_CALLS]"], { name: "Mistral", tool: "mistral" }],
  [["<｜tool▁calls▁begin｜>", "<｜tool▁sep｜>", "```json"], { name: "DeepSeek V3", tool: "deepseek_v3" }],
  [["<｜tool▁calls▁begin｜>", "<｜tool▁sep｜>"], { name: "DeepSeek V3.1", tool: "deepseek_v31" }],
  [["<|python_tag|>", "ipython"], { name: "Llama 3.1", tool: "llama3_json" }],
  [["Environment: ipython"], { name: "Llama 3.1", tool: "llama3_json" }],
];

export interface Speaker {
  readonly architecture?: string | undefined;
  readonly chatTemplate?: string | undefined;
}

/**
 * What template and class say, for any version of the engine. A reasoning parser is named only where every checkpoint of the
 * family thinks: a wrong one takes whole answers for thoughts.
 */
export function parsersOf({ architecture, chatTemplate }: Speaker): ModelParsers {
  const marked = BY_TEMPLATE.find(([marks]) => marks.every((mark) => chatTemplate?.includes(mark)));
  if (marked) return named(marked[1], `the chat template writes as ${marked[1].name} does`);
  // A template without any tool's tokens: naming a parser would promise calls that never come.
  if (chatTemplate !== undefined && !chatTemplate.includes("tools"))
    return { because: "the chat template has no tools" };
  const family =
    architecture !== undefined && Object.hasOwn(BY_ARCHITECTURE, architecture)
      ? BY_ARCHITECTURE[architecture]
      : undefined;
  return family
    ? named(family, `${String(architecture)} is of the family ${family.name}`)
    : { because: "neither the chat template nor the architecture is one family's alone" };
}

function named({ tool, reasoning }: Family, because: string): ModelParsers {
  return {
    ...(tool === undefined ? {} : { toolCallParser: tool }),
    ...(reasoning === undefined ? {} : { reasoningParser: reasoning }),
    because,
  };
}

/** Of the recommended parsers those that an engine's version has. */
export function knownTo(
  profile: EngineProfile,
  { toolCallParser, reasoningParser, because }: ModelParsers,
): ModelParsers {
  return {
    ...(toolCallParser !== undefined && profile.toolParsers.includes(toolCallParser) ? { toolCallParser } : {}),
    ...(reasoningParser !== undefined && profile.reasoningParsers.includes(reasoningParser) ? { reasoningParser } : {}),
    because,
  };
}

/** What is known of a model's parsers, the stronger first; parts that one leaves open are the next one's. */
export interface ParserSources {
  /** spec.recommended of a ClusterModel. */
  readonly recommended?:
    { readonly toolCallParser?: string | undefined; readonly reasoningParser?: string | undefined } | undefined;
  /** Text of spec.chatTemplate, which takes the place of the one that inspection read. */
  readonly chatTemplate?: string | undefined;
  /** status.parsers; absent where the model was inspected before there was this field. */
  readonly inspected?: ModelParsers | undefined;
  readonly architecture?: string | undefined;
}

export function recommendedParsers({
  recommended,
  chatTemplate,
  inspected,
  architecture,
}: ParserSources): ModelParsers {
  const found =
    chatTemplate === undefined ? (inspected ?? parsersOf({ architecture })) : parsersOf({ architecture, chatTemplate });
  if (recommended?.toolCallParser === undefined && recommended?.reasoningParser === undefined) return found;
  const { toolCallParser = found.toolCallParser, reasoningParser = found.reasoningParser } = recommended;
  return {
    ...(toolCallParser === undefined ? {} : { toolCallParser }),
    ...(reasoningParser === undefined ? {} : { reasoningParser }),
    because: "the ClusterModel recommends it",
  };
}

/** Why a parser that the user names cannot be taken; vLLM itself fails at start with a KeyError. */
export function parserProblem(
  field: "toolCallParser" | "reasoningParser",
  name: string | undefined,
  profile: EngineProfile,
): string | undefined {
  const names = field === "toolCallParser" ? profile.toolParsers : profile.reasoningParsers;
  if (name === undefined || name === "none" || names.includes(name)) return undefined;
  return `spec.engine.${field} ${name} is not one that vLLM ${profile.version} has: ${names.join(", ")}, or none`;
}
