/** A model of full size whose weights take no room on the disk: true headers and configuration, holes for the data. */
import { closeSync, ftruncateSync, mkdirSync, openSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";

/** Shape of Llama 3.3 70B, by the config.json of the model. */
const LAYERS = 80;
const HIDDEN = 8192;
const INNER = 28_672;
const HEADS = 64;
const KV_HEADS = 8;
const HEAD_SIZE = 128;
const WORDS = 128_256;

type Shape = readonly number[];

const config = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  num_hidden_layers: LAYERS,
  hidden_size: HIDDEN,
  intermediate_size: INNER,
  num_attention_heads: HEADS,
  num_key_value_heads: KV_HEADS,
  head_dim: HEAD_SIZE,
  vocab_size: WORDS,
  max_position_embeddings: 131_072,
  torch_dtype: "bfloat16",
  tie_word_embeddings: false,
  rope_scaling: {
    rope_type: "llama3",
    factor: 8,
    high_freq_factor: 4,
    low_freq_factor: 1,
    original_max_position_embeddings: 8192,
  },
};

function layer(index: number): [string, Shape][] {
  const at = `model.layers.${String(index)}.`;
  return [
    [`${at}input_layernorm.weight`, [HIDDEN]],
    [`${at}self_attn.q_proj.weight`, [HEADS * HEAD_SIZE, HIDDEN]],
    [`${at}self_attn.k_proj.weight`, [KV_HEADS * HEAD_SIZE, HIDDEN]],
    [`${at}self_attn.v_proj.weight`, [KV_HEADS * HEAD_SIZE, HIDDEN]],
    [`${at}self_attn.o_proj.weight`, [HIDDEN, HEADS * HEAD_SIZE]],
    [`${at}post_attention_layernorm.weight`, [HIDDEN]],
    [`${at}mlp.gate_proj.weight`, [INNER, HIDDEN]],
    [`${at}mlp.up_proj.weight`, [INNER, HIDDEN]],
    [`${at}mlp.down_proj.weight`, [HIDDEN, INNER]],
  ];
}

/** Writes the model in so many shards; 141 GB by the files' sizes. Returns the paths. */
export function writeSparse70B(folder: string, shards: number): string[] {
  mkdirSync(folder, { recursive: true });
  const tensors: [string, Shape][] = [
    ["model.embed_tokens.weight", [WORDS, HIDDEN]],
    ...Array.from({ length: LAYERS }, (_, index) => layer(index)).flat(),
    ["model.norm.weight", [HIDDEN]],
    ["lm_head.weight", [WORDS, HIDDEN]],
  ];
  const each = Math.ceil(tensors.length / shards);
  const names = Array.from({ length: shards }, (_, i) => shardName(i, shards));
  const map = new Map<string, string>();
  for (const [i, name] of names.entries()) {
    const own = tensors.slice(i * each, (i + 1) * each);
    for (const [tensor] of own) map.set(tensor, name);
    writeShard(join(folder, name), own);
  }
  const texts = {
    "config.json": JSON.stringify(config),
    "tokenizer.json": "{}",
    "tokenizer_config.json": JSON.stringify({ chat_template: "{% if tools %}<|python_tag|>ipython{% endif %}" }),
    "model.safetensors.index.json": JSON.stringify({ weight_map: Object.fromEntries(map) }),
  };
  for (const [name, text] of Object.entries(texts)) writeFileSync(join(folder, name), text);
  return [...names, ...Object.keys(texts)];
}

function shardName(index: number, shards: number): string {
  const padded = (value: number): string => String(value).padStart(5, "0");
  return `model-${padded(index + 1)}-of-${padded(shards)}.safetensors`;
}

function writeShard(path: string, tensors: readonly [string, Shape][]): void {
  let offset = 0;
  const header: Record<string, object> = {};
  for (const [name, shape] of tensors) {
    const bytes = 2 * shape.reduce((product, size) => product * size, 1);
    header[name] = { dtype: "BF16", shape, data_offsets: [offset, offset + bytes] };
    offset += bytes;
  }
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const file = openSync(path, "w");
  writeSync(file, Buffer.concat([length, json]));
  ftruncateSync(file, 8 + json.length + offset);
  closeSync(file);
}
