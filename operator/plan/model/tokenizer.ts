/** Where tokenizer and chat template are read from, by the order in which transformers and vLLM look. */
import type { Json } from "./config.ts";
import { isJson } from "./config.ts";

/** tekken.json is Mistral's own; the fast tokenizer goes before the slow ones. */
const tokenizers = [
  "tokenizer.json",
  "tekken.json",
  "tokenizer.model",
  "vocab.json",
  "tiktoken.model",
  "vocab.txt",
  "spiece.model",
  "spm.model",
  "sentencepiece.bpe.model",
] as const;

/** A file goes before a field (transformers, processing_utils.py and tokenization_utils_base.py). */
const templates = ["chat_template.jinja", "chat_template.json"] as const;

export interface Words {
  readonly tokenizer: string | undefined;
  readonly chatTemplate: string | undefined;
}

export function wordsOf(paths: ReadonlySet<string>, tokenizerConfig: Json | undefined): Words {
  const field = tokenizerConfig?.["chat_template"];
  const hasField = (typeof field === "string" && field !== "") || (Array.isArray(field) && field.length > 0);
  return {
    tokenizer: tokenizers.find((path) => paths.has(path)),
    chatTemplate: templates.find((path) => paths.has(path)) ?? (hasField ? "tokenizer_config.json" : undefined),
  };
}

/** The template that the engine renders requests with tools by, in the same order; undefined where there is none. */
export function chatTemplateOf(
  texts: ReadonlyMap<string, string>,
  configs: ReadonlyMap<string, Json>,
): string | undefined {
  return (
    texts.get("chat_template.jinja") ??
    inField(configs.get("chat_template.json")?.["chat_template"]) ??
    inField(configs.get("tokenizer_config.json")?.["chat_template"])
  );
}

/** A text, or several by name: vLLM takes tool_use for requests with tools. */
function inField(field: unknown): string | undefined {
  if (typeof field === "string") return field === "" ? undefined : field;
  if (!Array.isArray(field)) return undefined;
  const named = field.filter(isJson);
  const chosen = named.find(({ name }) => name === "tool_use") ?? named.find(({ name }) => name === "default");
  return typeof chosen?.["template"] === "string" ? chosen["template"] : undefined;
}
