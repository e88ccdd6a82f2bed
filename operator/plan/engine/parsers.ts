/**
 * Which parser reads a family's tool calls and reasoning out of the text. vLLM does not find out by itself.
 * Source: vLLM's docs/features/tool_calling.md and reasoning_outputs.md at 017e9f4; the tokens are those that the named
 * parser looks for (vllm/tool_parsers). A chat template says it better than a class name, which families share.
 */
import type { EngineProfile } from "./profile.ts";

export interface Parsers {
  readonly tool?: string;
  readonly reasoning?: string;
  /** What the choice rests on, for people. */
  readonly because: string;
}

interface Family extends Omit<Parsers, "because"> {
  readonly name: string;
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
 * What is recommended, as far as the engine's version knows it; undefined where nothing is sure. A reasoning parser is
 * named only where every checkpoint of the family thinks: a wrong one takes whole answers for thoughts.
 */
export function parsersFor({ architecture, chatTemplate }: Speaker, profile: EngineProfile): Parsers | undefined {
  const marked = BY_TEMPLATE.find(([marks]) => marks.every((mark) => chatTemplate?.includes(mark)));
  if (marked) return known(marked[1], `the chat template writes as ${marked[1].name} does`, profile);
  // A template without any tool's tokens: naming a parser would promise calls that never come.
  if (chatTemplate !== undefined && !chatTemplate.includes("tools")) return undefined;
  const family = architecture === undefined ? undefined : BY_ARCHITECTURE[architecture];
  return family && known(family, `${architecture} is of the family ${family.name}`, profile);
}

function known({ tool, reasoning }: Family, because: string, profile: EngineProfile): Parsers | undefined {
  const hasTool = tool !== undefined && profile.toolParsers.includes(tool);
  const hasReasoning = reasoning !== undefined && profile.reasoningParsers.includes(reasoning);
  if (!hasTool && !hasReasoning) return undefined;
  return { ...(hasTool ? { tool } : {}), ...(hasReasoning ? { reasoning } : {}), because };
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
