/** SHA-256, the only hash that a revision rests on. */
import { hash } from "node:crypto";

/** 64 hex digits over the bytes, or over the text's UTF-8 bytes. */
export function sha256Hex(content: Uint8Array | string): string {
  return hash("sha256", content);
}

/** The same with the prefix that digests carry in the API. */
export function sha256Digest(content: string): string {
  return `sha256:${sha256Hex(content)}`;
}
