/**
 * Places and records of the store. A revision stands below `models/<namespace UID>/<model UID>/<n>/` (`models/cluster/…`
 * for a ClusterModel) under the paths that its files had below the source's prefix. MANIFEST.json is written last and is
 * the only proof that a revision is complete; its bytes are a function of the files alone. What was learnt on the way
 * (source, ETags, times, facts) lies beside it in `.berth/`, a folder that no imported path can name.
 */
import type { ModelFacts } from "./inspect.ts";
import { isJson } from "./config.ts";
import { comparePaths } from "./listing.ts";
import type { ModelFile } from "./listing.ts";

export const MANIFEST = "MANIFEST.json";
export const MANIFEST_FORMAT = "berth.dev/manifest/v1";
/** 10,000 files with paths of 768 bytes stay below this. */
export const MAX_MANIFEST_BYTES = 16 << 20;

/** Owner of a place in the store, by UIDs: names can be reused, UIDs cannot. */
export interface StoreOwner {
  /** undefined for a ClusterModel. */
  readonly namespaceUID: string | undefined;
  readonly modelUID: string;
}

/** Folder of all revisions of a model; ends with '/'. */
export function modelFolder(owner: StoreOwner): string {
  return `models/${owner.namespaceUID ?? "cluster"}/${owner.modelUID}/`;
}

/** Folder of one revision; ends with '/'. */
export function revisionFolder(owner: StoreOwner, number: number): string {
  return `${modelFolder(owner)}${String(number)}/`;
}

/**
 * Key of the record that a file is completely in the store, relative to the revision's folder. Folders and files are told
 * apart by a letter, so that no path's record can be another path's folder.
 */
export function recordKey(path: string): string {
  const segments = path.split("/");
  const name = segments.pop() ?? "";
  return [RECORDS, ...segments.map((segment) => `d-${segment}`), `f-${name}`].join("/");
}
export const RECORDS = ".berth/files";
export const IMPORT_KEY = ".berth/import.json";

/** One file of a manifest. */
export interface StoredFile {
  readonly path: string;
  readonly sizeBytes: number;
  /** 64 hex digits over the file's bytes. */
  readonly sha256: string;
}

export interface Manifest {
  /** `sha256:` and 64 hex digits over `digestText(files)`. */
  readonly digest: string;
  readonly files: readonly StoredFile[];
}

const sorted = (files: readonly StoredFile[]): StoredFile[] => [...files].sort((a, b) => comparePaths(a.path, b.path));

/**
 * The text whose SHA-256 (of its UTF-8 bytes) is the revision's digest: a JSON array of [path, size, sha256], without
 * spaces, sorted by the bytes of the path.
 */
export function digestText(files: readonly StoredFile[]): string {
  return JSON.stringify(sorted(files).map((file) => [file.path, file.sizeBytes, file.sha256]));
}

/** The text whose SHA-256 tells one state of a source from another: [path, size, ETag] of every served file. */
export function fingerprintText(files: readonly ModelFile[]): string {
  return JSON.stringify(files.map((file) => [file.path, file.sizeBytes, file.etag]));
}

/** The manifest's bytes as text: the same files give the same text, whoever writes it. */
export function manifestText(manifest: Manifest): string {
  const files = sorted(manifest.files).map((f) => ({ path: f.path, size: f.sizeBytes, sha256: f.sha256 }));
  return `${JSON.stringify({ format: MANIFEST_FORMAT, digest: manifest.digest, files }, undefined, 1)}\n`;
}

function storedFile(value: unknown): StoredFile | undefined {
  if (!isJson(value)) return undefined;
  const { path, size, sha256 } = value;
  const sound = typeof path === "string" && Number.isSafeInteger(size) && typeof sha256 === "string";
  return sound ? { path, sizeBytes: size as number, sha256 } : undefined;
}

/** A manifest out of its text; undefined where it is none. Whether the digest fits the files is the caller's to check. */
export function parseManifest(text: string): Manifest | undefined {
  const json = parse(text);
  if (json?.["format"] !== MANIFEST_FORMAT || !Array.isArray(json["files"])) return undefined;
  const files = json["files"].map(storedFile).filter((file) => file !== undefined);
  const digest = json["digest"];
  return typeof digest === "string" && files.length === json["files"].length ? { digest, files } : undefined;
}

/** Longest path and longest segment that file systems take, in bytes. */
const longestPath = 1_024;
const longestSegment = 255;
const mostFiles = 10_000;

/**
 * Why nobody should write these files anywhere: a path that leaves its folder, hides or cannot be, two files of one name,
 * a size or a digest that is none. Manifests are Berth's own, but lie where others may write too.
 */
export function manifestProblem({ files }: Manifest): string | undefined {
  if (files.length === 0) return "it names no file";
  if (files.length > mostFiles) return `it names ${files.length} files, more than ${mostFiles}`;
  const paths = new Set(files.map(({ path }) => path));
  if (paths.size < files.length) return "it names a file twice";
  for (const { path, sizeBytes, sha256 } of files) {
    const shown = JSON.stringify(path.slice(0, 200)).replace(/[\p{Cf}\p{Zl}\p{Zp}]/gu, "?");
    const segments = path.split("/");
    if (!isSoundPath(path, segments)) return `its path ${shown} is none`;
    if (segments.some((_segment, at) => at > 0 && paths.has(segments.slice(0, at).join("/"))))
      return `its path ${shown} lies below another file`;
    if (sizeBytes < 0) return `${shown} has no size`;
    if (!/^[0-9a-f]{64}$/.test(sha256)) return `${shown} has no SHA-256`;
  }
  return undefined;
}

function isSoundPath(path: string, segments: readonly string[]): boolean {
  const utf8 = new TextEncoder();
  return (
    !/[\\\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u.test(path) &&
    utf8.encode(path).length <= longestPath &&
    !segments[0]?.startsWith(".berth") &&
    segments.every(
      (segment) => segment !== "" && !/^\.\.?$/.test(segment) && utf8.encode(segment).length <= longestSegment,
    )
  );
}

/** Proof that one file of one state of the source is in the store: a restarted import skips it. */
export interface FileRecord extends StoredFile {
  readonly etag: string;
}

/** A file's record as text, and back; undefined where the text is none. */
export function recordText(record: FileRecord): string {
  return JSON.stringify(record);
}
export function parseRecord(text: string): FileRecord | undefined {
  const json = parse(text);
  const { path, sizeBytes, sha256, etag } = json ?? {};
  const sound = typeof path === "string" && typeof sha256 === "string" && typeof etag === "string";
  return sound && typeof sizeBytes === "number" ? { path, sizeBytes, sha256, etag } : undefined;
}

/** Where a revision came from: a folder of a bucket, or a commit of a repository. */
export type SourceOrigin =
  | { readonly endpoint: string; readonly bucket: string; readonly prefix: string }
  | { readonly endpoint: string; readonly repo: string; readonly commit: string };

/** What lies beside a manifest: how the revision came to be, and what its headers said. */
export interface ImportRecord {
  /** SHA-256 of `fingerprintText`, with `sha256:` before it. */
  readonly fingerprint: string;
  readonly source: SourceOrigin;
  /** RFC 3339, seconds. */
  readonly importedAt: string;
  readonly facts: ModelFacts;
  readonly etags: Readonly<Record<string, string>>;
}

export function importText(record: ImportRecord): string {
  return JSON.stringify(record);
}
export function parseImport(
  text: string,
): (Pick<ImportRecord, "fingerprint" | "importedAt" | "facts"> & { readonly commit?: string }) | undefined {
  const json = parse(text);
  const { fingerprint, importedAt, facts, source } = json ?? {};
  const sound = typeof fingerprint === "string" && typeof importedAt === "string" && isJson(facts);
  const commit = isJson(source) ? source["commit"] : undefined;
  if (!sound) return undefined;
  return { fingerprint, importedAt, facts: facts as ModelFacts, ...(typeof commit === "string" ? { commit } : {}) };
}

function parse(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isJson(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** A complete revision as it was found in the store. */
export interface FoundRevision {
  readonly number: number;
  readonly manifest: Manifest;
  readonly fingerprint: string | undefined;
  readonly importedAt: string | undefined;
  /** Of a repository's revision. */
  readonly commit?: string | undefined;
}

/** Number of the revision that an import writes: the first one without a manifest, so that a restart finds its own files. */
export function nextNumber(found: readonly FoundRevision[]): number {
  return found.reduce((highest, revision) => Math.max(highest, revision.number), 0) + 1;
}
