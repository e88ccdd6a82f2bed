/**
 * Writes a checkpoint of the Llama architecture as Hugging Face lays it out: sharded safetensors with an index, config,
 * byte-level tokenizer and chat template. Weights are pseudo-random but the same for the same options, so that digests are
 * too. vLLM loads it; what it answers is noise.
 */
import { createCipheriv, createHash } from "node:crypto";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { cacheDir } from "../cluster/paths.ts";

export interface LlamaOptions {
  /** Roughly this many bytes of weights; 36 MB by default. */
  readonly weightBytes?: number;
  /** Number of safetensors files; 3 by default. */
  readonly shards?: number;
  /** Other seeds give other weights. */
  readonly seed?: string;
  /** Longest context that config and tokenizer promise; 2048 by default. */
  readonly maxPositions?: number;
  /** Name of one tensor that is left out, though the config implies it. */
  readonly without?: string;
}

interface Tensor {
  readonly name: string;
  readonly shape: readonly number[];
}

const vocabularySize = 8192;
const usualPositions = 2048;

interface Dimensions {
  readonly hidden: number;
  readonly intermediate: number;
  readonly layers: number;
  readonly heads: number;
  readonly keyValueHeads: number;
}

/** Dimensions whose weights come near the wanted size. */
function dimensionsFor(weightBytes: number): Dimensions {
  const hidden = weightBytes > 400e6 ? 2048 : weightBytes > 100e6 ? 1024 : 256;
  const intermediate = hidden * 4;
  const perLayer = 2 * (hidden * hidden * 3 + 3 * hidden * intermediate);
  const layers = Math.max(1, Math.round((weightBytes - 4 * vocabularySize * hidden) / perLayer));
  const heads = hidden / 32;
  return { hidden, intermediate, layers, heads, keyValueHeads: heads / 2 };
}

function tensorsOf({ hidden, intermediate, layers, keyValueHeads }: Dimensions): Tensor[] {
  const kv = keyValueHeads * 32;
  const layer = (n: number): Tensor[] => {
    const at = (name: string, ...shape: number[]): Tensor => ({
      name: `model.layers.${String(n)}.${name}.weight`,
      shape,
    });
    return [
      at("input_layernorm", hidden),
      at("self_attn.q_proj", hidden, hidden),
      at("self_attn.k_proj", kv, hidden),
      at("self_attn.v_proj", kv, hidden),
      at("self_attn.o_proj", hidden, hidden),
      at("post_attention_layernorm", hidden),
      at("mlp.gate_proj", intermediate, hidden),
      at("mlp.up_proj", intermediate, hidden),
      at("mlp.down_proj", hidden, intermediate),
    ];
  };
  return [
    { name: "model.embed_tokens.weight", shape: [vocabularySize, hidden] },
    ...Array.from({ length: layers }, (_, n) => layer(n)).flat(),
    { name: "model.norm.weight", shape: [hidden] },
    { name: "lm_head.weight", shape: [vocabularySize, hidden] },
  ];
}

const bytesOf = (tensor: Tensor): number => tensor.shape.reduce((all, next) => all * next, 2);

/** bfloat16 values of about ±0.01, from a key stream; norms are ones. */
function weightsOf(tensor: Tensor, seed: string): Buffer {
  const bytes = Buffer.alloc(bytesOf(tensor));
  if (tensor.shape.length === 1) return bytes.fill(Buffer.from([0x80, 0x3f]));
  const key = createHash("sha256").update(`${seed}\n${tensor.name}`).digest();
  const stream = createCipheriv("aes-256-ctr", key, Buffer.alloc(16)).update(bytes);
  for (let i = 1; i < stream.length; i += 2) stream[i] = ((stream[i] ?? 0) & 0x80) | 0x3c;
  return stream;
}

/** Writes one safetensors file and returns the bytes of its tensors. */
function writeShard(path: string, tensors: readonly Tensor[], seed: string): number {
  let at = 0;
  const header: Record<string, unknown> = { __metadata__: { format: "pt" } };
  for (const tensor of tensors) {
    const end = at + bytesOf(tensor);
    header[tensor.name] = { dtype: "BF16", shape: tensor.shape, data_offsets: [at, end] };
    at = end;
  }
  const text = JSON.stringify(header);
  const json = Buffer.from(text.padEnd(Math.ceil(text.length / 8) * 8, " "));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const file = openSync(path, "w");
  writeSync(file, length);
  writeSync(file, json);
  for (const tensor of tensors) writeSync(file, weightsOf(tensor, seed));
  closeSync(file);
  return at;
}

/** GPT-2's printable stand-ins for the 256 bytes. */
function byteAlphabet(): string[] {
  const printable = (byte: number): boolean =>
    (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174 && byte <= 255);
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(printable(byte) ? byte : next++));
}

function tokenizerFiles(maxPositions: number): Record<string, unknown> {
  const special = ["<s>", "</s>", "<pad>", "<|user|>", "<|assistant|>"];
  const known = [...special, ...byteAlphabet()];
  // Every number that the model may answer with is some text; only bytes are ever read, since there are no merges.
  const words = Array.from({ length: vocabularySize - known.length }, (_, index) => `\u0120w${String(index)}`);
  const vocab = Object.fromEntries([...known, ...words].map((token, id) => [token, id]));
  const added = special.map((content, id) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  }));
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
  return {
    "tokenizer.json": {
      version: "1.0",
      truncation: null,
      padding: null,
      added_tokens: added,
      normalizer: null,
      pre_tokenizer: byteLevel,
      post_processor: null,
      decoder: byteLevel,
      model: {
        type: "BPE",
        dropout: null,
        unk_token: null,
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: false,
        byte_fallback: false,
        vocab,
        merges: [],
      },
    },
    "tokenizer_config.json": {
      tokenizer_class: "PreTrainedTokenizerFast",
      bos_token: "<s>",
      eos_token: "</s>",
      pad_token: "<pad>",
      model_max_length: maxPositions,
      clean_up_tokenization_spaces: false,
    },
    "special_tokens_map.json": { bos_token: "<s>", eos_token: "</s>", pad_token: "<pad>" },
  };
}

function configFiles(size: Dimensions, maxPositions: number): Record<string, unknown> {
  return {
    "config.json": {
      architectures: ["LlamaForCausalLM"],
      model_type: "llama",
      hidden_size: size.hidden,
      intermediate_size: size.intermediate,
      num_hidden_layers: size.layers,
      num_attention_heads: size.heads,
      num_key_value_heads: size.keyValueHeads,
      head_dim: 32,
      vocab_size: vocabularySize,
      max_position_embeddings: maxPositions,
      rms_norm_eps: 1e-5,
      rope_theta: 10000,
      hidden_act: "silu",
      tie_word_embeddings: false,
      bos_token_id: 0,
      eos_token_id: 1,
      pad_token_id: 2,
      torch_dtype: "bfloat16",
    },
    "generation_config.json": { bos_token_id: 0, eos_token_id: 1, pad_token_id: 2 },
    ...tokenizerFiles(maxPositions),
  };
}

const chatTemplate = `{% for message in messages %}<|{{ message.role }}|>{{ message.content }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}\n`;

/** Splits into `shards` runs of about equal size. */
function sharded(tensors: readonly Tensor[], shards: number): Tensor[][] {
  const total = tensors.reduce((sum, tensor) => sum + bytesOf(tensor), 0);
  const groups: Tensor[][] = Array.from({ length: shards }, () => []);
  let at = 0;
  for (const tensor of tensors) {
    groups[Math.min(shards - 1, Math.floor((at / total) * shards))]?.push(tensor);
    at += bytesOf(tensor);
  }
  return groups.filter((group) => group.length > 0);
}

/** Writes the checkpoint into `folder`, which must not exist or be empty. */
export function writeLlama(folder: string, options: LlamaOptions = {}): void {
  const { weightBytes = 36e6, shards = 3, seed = "berth", maxPositions = usualPositions, without } = options;
  mkdirSync(folder, { recursive: true });
  const size = dimensionsFor(weightBytes);
  const tensors = tensorsOf(size).filter(({ name }) => name !== without);
  const groups = sharded(tensors, shards);
  const number = (n: number): string => String(n).padStart(5, "0");
  const map: Record<string, string> = {};
  let total = 0;
  for (const [i, group] of groups.entries()) {
    const name =
      groups.length === 1 ? "model.safetensors" : `model-${number(i + 1)}-of-${number(groups.length)}.safetensors`;
    total += writeShard(join(folder, name), group, seed);
    for (const tensor of group) map[tensor.name] = name;
  }
  const index = { metadata: { total_size: total }, weight_map: map };
  const files = {
    ...configFiles(size, maxPositions),
    ...(groups.length > 1 ? { "model.safetensors.index.json": index } : {}),
  };
  for (const [name, content] of Object.entries(files)) {
    writeFileSync(join(folder, name), `${JSON.stringify(content, undefined, 1)}\n`);
  }
  writeFileSync(join(folder, "chat_template.jinja"), chatTemplate);
  writeFileSync(join(folder, "LICENSE"), "Random numbers, made by a generator: no rights reserved.\n");
}

// A folder that an older generator wrote is not what a fresh clone would get.
const generatorHash = createHash("sha256")
  .update(readFileSync(import.meta.filename))
  .digest("hex")
  .slice(0, 8);

/** Folder of a generated checkpoint in the cache folder; made at the first call. */
export function llamaFolder(options: LlamaOptions = {}): string {
  const { weightBytes = 36e6, shards = 3, seed = "berth", maxPositions, without } = options;
  const parts = [
    weightBytes,
    shards,
    seed,
    ...(maxPositions ? [maxPositions] : []),
    ...(without ? ["without", without] : []),
  ];
  const folder = join(cacheDir(), "models", `llama-${parts.join("-")}-${generatorHash}`);
  if (existsSync(folder)) return folder;
  const fresh = `${folder}.${String(process.pid)}`;
  rmSync(fresh, { recursive: true, force: true });
  writeLlama(fresh, options);
  try {
    renameSync(fresh, folder);
  } catch {
    // Another process of the same run was first; its files are the same.
    rmSync(fresh, { recursive: true, force: true });
  }
  return folder;
}
