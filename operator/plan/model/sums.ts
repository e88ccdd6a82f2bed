/**
 * Lists of SHA-256 that a source keeps beside its files, as sha256sum writes them. They are the source's own statement: what differs
 * from them did not arrive as it was left there. A line that is none says nothing.
 */
import type { ModelFile } from "./listing.ts";

/** Names of such lists at the root of a model. */
export const SUMS_NAMES: readonly string[] = ["SHA256SUMS", "SHA256SUMS.txt", "sha256sums.txt", "sha256sum.txt"];
/** 10,000 paths of 768 bytes and their digests stay below this. */
export const MAX_SUMS_BYTES = 16 << 20;

/** Digests by path; of a path that stands there twice with different digests none is believed. */
export function parseSums(text: string): ReadonlyMap<string, string> {
  const sums = new Map<string, string>();
  const doubtful = new Set<string>();
  for (const line of text.split(/\r?\n/)) {
    // "digest, two blanks or a blank and an asterisk, path": https://www.gnu.org/software/coreutils/manual/html_node/cksum-output-modes.html
    const [, digest, path] = /^([0-9a-fA-F]{64}) [ *](?:\.\/)?(.+)$/.exec(line) ?? [];
    if (digest === undefined || path === undefined) continue;
    const sha256 = digest.toLowerCase();
    if ((sums.get(path) ?? sha256) !== sha256) doubtful.add(path);
    sums.set(path, sha256);
  }
  for (const path of doubtful) sums.delete(path);
  return sums;
}

/** The same files, with the digests of the list where the source's listing has none of its own. */
export function withSums(files: readonly ModelFile[], sums: ReadonlyMap<string, string>): readonly ModelFile[] {
  return files.map((file) => {
    const sha256 = file.sha256 ?? sums.get(file.path);
    return sha256 === undefined ? file : { ...file, sha256 };
  });
}
