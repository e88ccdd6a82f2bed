// Models of any size on the S3 server of the bench: files are written below the server's folder, with the ETag that it keeps beside them.
import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { closeSync, ftruncateSync, mkdirSync, openSync, writeFileSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";
import { tinyModel } from "../models/tiny.ts";
import type { S3Server } from "../cluster/s3.ts";

export interface BenchModel {
  /** `s3://bucket/prefix`. */
  readonly place: string;
  readonly bucket: string;
  readonly prefix: string;
  readonly bytes: number;
}

export interface ModelShape {
  readonly name: string;
  readonly shards: number;
  readonly shardBytes: number;
  /** Holes in place of bytes: for sizes that only memory and time are measured with. */
  readonly isSparse?: boolean;
  /** Other files that are imported too. */
  readonly texts?: Readonly<Record<string, string>>;
}

function headerOf(tensor: string, dataBytes: number): Buffer {
  const json = Buffer.from(
    JSON.stringify({ [tensor]: { dtype: "U8", shape: [dataBytes], data_offsets: [0, dataBytes] } }),
  );
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, json]);
}

const BLOCK = randomBytes(16 << 20);

/** Exactly `sizeBytes`, a valid safetensors file. */
function writeShard(path: string, tensor: string, sizeBytes: number, isSparse: boolean): void {
  let dataBytes = sizeBytes;
  while (headerOf(tensor, dataBytes).length + dataBytes > sizeBytes) dataBytes--;
  const header = headerOf(tensor, dataBytes);
  const file = openSync(path, "w");
  writeSync(file, header);
  if (isSparse) ftruncateSync(file, header.length + dataBytes);
  else
    for (let left = dataBytes; left > 0; left -= BLOCK.length) writeSync(file, BLOCK, 0, Math.min(BLOCK.length, left));
  closeSync(file);
}

/** The server takes its objects' ETags from an extended attribute. */
function stateEtags(paths: readonly string[]): void {
  const program = `import os, sys, hashlib
for path in sys.stdin.read().splitlines():
    os.setxattr(path, "user.etag", ('"' + hashlib.md5(path.encode()).hexdigest() + '-2"').encode())`;
  const python = spawnSync("python3", ["-c", program], { input: paths.join("\n"), encoding: "utf8" });
  if (python.status !== 0) throw new Error(`python3 cannot set extended attributes: ${python.stderr}`);
}

export async function putModel(s3: S3Server, shape: ModelShape): Promise<BenchModel> {
  const { name, shards, shardBytes, isSparse = false, texts = {} } = shape;
  const bucket = await s3.createBucket(`bench-${name}`);
  const folder = join(s3.dir, bucket, "m");
  mkdirSync(folder, { recursive: true });
  const shardNames = Array.from(
    { length: shards },
    (_, n) => `model-${String(n + 1).padStart(5, "0")}-of-${String(shards).padStart(5, "0")}.safetensors`,
  );
  const weightMap = Object.fromEntries(shardNames.map((file, n) => [`w${String(n)}`, file]));
  const { "model.safetensors": _one, ...files } = tinyModel();
  const all = { ...files, ...texts, "model.safetensors.index.json": JSON.stringify({ weight_map: weightMap }) };
  for (const [n, file] of shardNames.entries()) writeShard(join(folder, file), `w${String(n)}`, shardBytes, isSparse);
  for (const [path, text] of Object.entries(all)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  }
  stateEtags([...shardNames, ...Object.keys(all)].map((path) => join(folder, path)));
  const bytes = shards * shardBytes + Object.values(all).reduce((sum, text) => sum + text.length, 0);
  return { place: `s3://${bucket}/m`, bucket, prefix: "m", bytes };
}
