/** The smallest source that is a model: a few kilobytes in memory, for tests of what is refused. */
import { PutObjectCommand } from "@aws-sdk/client-s3";
import type { S3Client } from "@aws-sdk/client-s3";

export type Files = Readonly<Record<string, string | Uint8Array>>;

export interface TinyTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data_offsets: readonly [number, number];
}

/** Bytes of a safetensors file with such a header and so many bytes of data. */
export function safetensors(header: object, dataBytes: number): Uint8Array {
  const json = new TextEncoder().encode(JSON.stringify(header));
  const file = new Uint8Array(8 + json.length + dataBytes);
  new DataView(file.buffer).setBigUint64(0, BigInt(json.length), true);
  file.set(json, 8);
  return file;
}

export const tinyConfig = {
  architectures: ["LlamaForCausalLM"],
  num_hidden_layers: 2,
  hidden_size: 8,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  head_dim: 4,
  vocab_size: 16,
  max_position_embeddings: 128,
};

/** Files of a good tiny model with some replaced; `undefined` takes one away. */
export function tinyModel(change: Readonly<Record<string, string | Uint8Array | undefined>> = {}): Files {
  const embed: TinyTensor = { dtype: "BF16", shape: [16, 8], data_offsets: [0, 256] };
  const good = {
    "config.json": JSON.stringify(tinyConfig),
    "tokenizer.json": "{}",
    "tokenizer_config.json": "{}",
    "model.safetensors": safetensors({ "model.embed_tokens.weight": embed }, 256),
  };
  const all = Object.entries<string | Uint8Array | undefined>({ ...good, ...change });
  return Object.fromEntries(all.filter((entry): entry is [string, string | Uint8Array] => entry[1] !== undefined));
}

export async function uploadFiles(s3: S3Client, bucket: string, prefix: string, files: Files): Promise<void> {
  const puts = Object.entries(files).map(([path, content]) => {
    const Body = typeof content === "string" ? new TextEncoder().encode(content) : content;
    return s3.send(new PutObjectCommand({ Bucket: bucket, Key: prefix + path, Body }));
  });
  await Promise.all(puts);
}
