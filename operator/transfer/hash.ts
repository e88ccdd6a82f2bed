/** SHA-256, the only hash that a revision rests on. */
import { createHash } from "node:crypto";

/** 64 hex digits over the bytes, or over the text's UTF-8 bytes. */
export function sha256Hex(content: Uint8Array | string): string {
  return createHash("sha256").update(content).digest("hex");
}

/** The same with the prefix that digests carry in the API. */
export function sha256Digest(content: string): string {
  return `sha256:${sha256Hex(content)}`;
}
