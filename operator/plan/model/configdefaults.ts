/**
 * Values of transformers' configuration classes (models/…/configuration_….py, 5.19) that published configurations leave out: saved
 * files hold only what differs from the class. Only families whose published files do so are listed.
 */
type Numbers = Readonly<Record<string, number>>;

const llama: Numbers = {
  vocab_size: 32_000,
  hidden_size: 4096,
  intermediate_size: 11_008,
  num_hidden_layers: 32,
  num_attention_heads: 32,
  max_position_embeddings: 2048,
};

const classDefaults: Readonly<Record<string, Numbers>> = {
  // Gemma3TextConfig: google/gemma-3-4b-it names neither heads nor vocabulary.
  gemma3_text: {
    vocab_size: 262_208,
    hidden_size: 2304,
    intermediate_size: 9216,
    num_hidden_layers: 26,
    num_attention_heads: 8,
    num_key_value_heads: 4,
    head_dim: 256,
    max_position_embeddings: 131_072,
  },
  // LlamaConfig and MistralConfig: the text parts of LLaVA 1.5 and 1.6 name little more than their length.
  llama,
  mistral: { ...llama, intermediate_size: 14_336, num_key_value_heads: 8, max_position_embeddings: 131_072 },
};

/** The text part of a multimodal configuration with what its class would add; keys that it has win. */
export function withClassDefaults(text: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const type = text["model_type"];
  const defaults = typeof type === "string" && Object.hasOwn(classDefaults, type) ? classDefaults[type] : undefined;
  return defaults ? { ...defaults, ...text } : text;
}
