/** Puts the files of a folder into a bucket, as a user would. */
import { createReadStream, readdirSync, statSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { PutObjectCommand } from "@aws-sdk/client-s3";
import type { S3Client } from "@aws-sdk/client-s3";

/** Paths below `folder`, with '/' between segments, sorted. */
export function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)).split(sep).join("/"))
    .sort();
}

/** Uploads every file below `folder` under `prefix` (empty, or ending with '/'); returns the number of bytes. */
export async function uploadFolder(s3: S3Client, bucket: string, prefix: string, folder: string): Promise<number> {
  let total = 0;
  for (const path of filesBelow(folder)) {
    const full = join(folder, path);
    const size = statSync(full).size;
    total += size;
    const Body = size === 0 ? new Uint8Array(0) : createReadStream(full);
    await s3.send(new PutObjectCommand({ Bucket: bucket, Key: prefix + path, Body, ContentLength: size }));
  }
  return total;
}
