/** Where tokenizer and chat template are read from, by the order in which transformers and vLLM look. */
import type { Json } from "./config.ts";

/** tekken.json is Mistral's own; the fast tokenizer goes before the slow ones. */
const tokenizers = [
  "tokenizer.json",
  "tekken.json",
  "tokenizer.model",
  "vocab.json",
  "tiktoken.model",
  "vocab.txt",
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
