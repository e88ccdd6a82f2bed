/**
 * Lists of SHA-256 that a source keeps beside its files, as sha256sum writes them, or as the manifest of another Berth's store. They are
 * the source's own statement: what differs from them did not arrive as it was left there. A line that is none says nothing.
 */
import type { ModelFile } from "./listing.ts";
import { MANIFEST, parseManifest } from "./manifest.ts";
import type { StoredFile } from "./manifest.ts";

/** Names of such lists at the root of a model. */
export const SUMS_NAMES: readonly string[] = [
  "SHA256SUMS",
  "SHA256SUMS.txt",
  "sha256sums.txt",
  "sha256sum.txt",
  MANIFEST,
];
/** 10,000 paths of 768 bytes and their digests stay below this. */
export const MAX_SUMS_BYTES = 16 << 20;

type Sum = readonly [path: string, sha256: string];

/** Lines of "digest, two blanks or a blank and an asterisk, path": https://www.gnu.org/software/coreutils/manual/html_node/cksum-output-modes.html */
function sumsOfLines(text: string): readonly Sum[] {
  const sums: Sum[] = [];
  for (const line of text.split(/\r?\n/)) {
    const [, digest, path] = /^([0-9a-fA-F]{64}) [ *](?:\.\/)?(.+)$/.exec(line) ?? [];
    if (digest !== undefined && path !== undefined) sums.push([path, digest.toLowerCase()]);
  }
  return sums;
}

/** Bytes that lie elsewhere, in an earlier revision's folder or in a second place, say nothing about the object under the path. */
const isUnderItsPath = ({ path, key }: StoredFile): boolean =>
  key === undefined || key.slice(key.indexOf("/") + 1) === path;

function sumsOfManifest(text: string): readonly Sum[] {
  const files = parseManifest(text)?.files ?? [];
  return files
    .filter((file) => isUnderItsPath(file) && /^[0-9a-f]{64}$/.test(file.sha256))
    .map(({ path, sha256 }) => [path, sha256]);
}

export interface SumsText {
  /** One of SUMS_NAMES. */
  readonly name: string;
  readonly text: string;
}

/** Digests by path, of all lists; of a path that has different ones none is believed. */
export function parseSums(lists: readonly SumsText[]): ReadonlyMap<string, string> {
  const sums = new Map<string, string>();
  const doubtful = new Set<string>();
  const all = lists.flatMap(({ name, text }) => (name === MANIFEST ? sumsOfManifest(text) : sumsOfLines(text)));
  for (const [path, sha256] of all) {
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
