/**
 * Lists of SHA-256 that a source keeps beside its files, as sha256sum writes them, or as the manifest of another Berth's store. They are
 * the source's own statement: what differs from them did not arrive as it was left there. A line that is none says nothing.
 */
import type { ModelFile } from "./listing.ts";
import { MANIFEST, parseManifest } from "./manifest.ts";
import type { StoredFile } from "./manifest.ts";
import { jsonFault } from "./strictjson.ts";

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

/**
 * "Digest, two blanks or a blank and an asterisk, path":
 * https://www.gnu.org/software/coreutils/manual/html_node/cksum-output-modes.html
 */
const sumLine = /^([0-9a-fA-F]{64}) [ *](?:\.\/)?(.+)\r?$/;
const SHORTEST_LINE = 67;

/** One after the other: a list of its lines would take sixteen times the memory of a text that is nothing but line ends. */
function* sumsOfLines(text: string): Generator<Sum> {
  for (let at = 0, end = 0; at < text.length; at = end + 1) {
    end = text.indexOf("\n", at);
    if (end < 0) end = text.length;
    if (end - at < SHORTEST_LINE) continue;
    const [, digest, path] = sumLine.exec(text.slice(at, end)) ?? [];
    if (digest !== undefined && path !== undefined) yield [path, digest.toLowerCase()];
  }
}

/** A manifest is an object with a list of objects. */
const MANIFEST_DEPTH = 4;
/** 10,000 files, each with its brackets, its four values and the comma behind it. */
const MANIFEST_VALUES = 60_000;

/** Bytes that lie elsewhere, in an earlier revision's folder or in a second place, say nothing about the object under the path. */
const isUnderItsPath = ({ path, key }: StoredFile): boolean =>
  key === undefined || key.slice(key.indexOf("/") + 1) === path;

/** Anybody may have written it: 16 MiB of empty lists would become half a GiB of objects. */
function sumsOfManifest(text: string): readonly Sum[] {
  if (jsonFault(text, MANIFEST_DEPTH, MANIFEST_VALUES)) return [];
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

export interface Sums {
  add(list: SumsText): void;
  /** Digests by path, of all lists; of a path that has different ones none is believed. */
  agreed(): ReadonlyMap<string, string>;
}

/** A piece of a text keeps all of it in memory; this is no piece. */
const digestAlone = (sha256: string): string => BigInt(`0x${sha256}`).toString(16).padStart(64, "0");

/** What lists say of these paths, and of no others: a list may name as many as it likes. */
export function newSums(paths: Iterable<string>): Sums {
  const sums = new Map<string, string | undefined>([...paths].map((path) => [path, undefined]));
  const doubtful = new Set<string>();
  return {
    add({ name, text }) {
      for (const [path, sha256] of name === MANIFEST ? sumsOfManifest(text) : sumsOfLines(text)) {
        if (!sums.has(path)) continue;
        const said = sums.get(path);
        // Setting a key that is there keeps the string that it was first set with.
        if (said === undefined) sums.set(path, digestAlone(sha256));
        else if (said !== sha256) doubtful.add(path);
      }
    },
    agreed: () =>
      new Map([...sums].filter((sum): sum is [string, string] => sum[1] !== undefined && !doubtful.has(sum[0]))),
  };
}

/** The same files, with the digests of the list where the source's listing has none of its own. */
export function withSums(files: readonly ModelFile[], sums: ReadonlyMap<string, string>): readonly ModelFile[] {
  return files.map((file) => {
    const sha256 = file.sha256 ?? sums.get(file.path);
    return sha256 === undefined ? file : { ...file, sha256 };
  });
}
