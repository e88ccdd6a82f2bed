/**
 * Places and records of the store. A revision stands below `models/<namespace UID>/<model UID>/<n>/` (`models/cluster/…`
 * for a ClusterModel) under the paths that its files had below the source's prefix; a file whose bytes an earlier revision of
 * the same model holds stays where it is, and the manifest names that object. MANIFEST.json is written last and is the only
 * proof that a revision is complete. What was learnt on the way (source, ETags, times, facts) lies beside it in `.berth/`, a
 * folder that no imported path can name.
 */
import { canonicalJson } from "../metering/canonical.ts";
import { isJson } from "./config.ts";
import { MANIFEST_NAME, comparePaths, isManifestName } from "./keynames.ts";
import type { ModelFile } from "./listing.ts";

export const MANIFEST = MANIFEST_NAME;
export const MANIFEST_FORMAT = "berth.dev/manifest/v1";
/** Stands in the place of a manifest whose revision was removed, or was never finished and is given up: for good. */
const REMOVED_FORMAT = "berth.dev/removed/v1";
/** Of a manifest, and of the record beside it; what a listing may name stays below (plan/model/listing.ts). */
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
/** Below it: records of files that came together, some in each object. */
export const SHARED_RECORDS = ".berth/batches/";
/** Says that an import means to point at objects of earlier revisions: nobody may remove them while it runs. */
export const CLAIM_KEY = ".berth/importing";

/** Place below the revision's folder for a file whose own place another state of the source has taken; the same for the same state. */
export function secondPlace(path: string, stateId: string): string {
  return `.berth/objects/${stateId}/${path}`;
}

/** One file of a manifest. */
export interface StoredFile {
  readonly path: string;
  readonly sizeBytes: number;
  /** 64 hex digits over the file's bytes. */
  readonly sha256: string;
  /** Where the bytes lie, below the model's folder: `<n>/<path>`. Absent: below the revision's own folder, under the path. */
  readonly key?: string;
}

/** Key of a file's object below the model's folder; it may lie in an earlier revision's. */
export function objectKeyBelow(number: number, { key, path }: Pick<StoredFile, "key" | "path">): string {
  return key ?? `${String(number)}/${path}`;
}

/** The same in the store, for the revision in `folder`. */
export function objectKey(folder: string, file: Pick<StoredFile, "key" | "path">): string {
  return parentFolder(folder) + objectKeyBelow(numberOf(folder), file);
}

/** `models/a/b/` of `models/a/b/3/`. */
function parentFolder(folder: string): string {
  return folder.slice(0, folder.lastIndexOf("/", folder.length - 2) + 1);
}

/** The number at the end of a revision's folder. */
export function numberOf(folder: string): number {
  return Number(folder.slice(parentFolder(folder).length, -1));
}

export interface Manifest {
  /** `sha256:` and 64 hex digits over `digestText(files)`. */
  readonly digest: string;
  readonly files: readonly StoredFile[];
  /** SHA-256 of the text of the record beside it, as 64 hex digits; absent in manifests of before records were named. */
  readonly record?: string | undefined;
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

/** The manifest as canonical JSON: the same files in the same places with the same record give the same text, whoever writes it. */
export function manifestText(manifest: Manifest): string {
  const files = sorted(manifest.files).map(({ path, sizeBytes, sha256, key }) => ({
    path,
    size: sizeBytes,
    sha256,
    key,
  }));
  const { digest, record } = manifest;
  return `${canonicalJson({ format: MANIFEST_FORMAT, digest, files, record })}\n`;
}

/** What takes a manifest's place for good, so that no number is used twice and no writer that slept can complete it. */
export function removedText(): string {
  return `${canonicalJson({ format: REMOVED_FORMAT })}\n`;
}
export function isRemoved(text: string): boolean {
  return objectOf(text)?.["format"] === REMOVED_FORMAT;
}

/** `<n>/` and a path that stays below it. */
function isSoundKey(key: unknown): key is string {
  if (typeof key !== "string" || !/^[1-9]\d{0,8}\//.test(key) || /[\\\p{Cc}]/u.test(key)) return false;
  return key.split("/").every((segment) => segment !== "" && segment !== "." && segment !== "..");
}

function storedFile(value: unknown): StoredFile | undefined {
  if (!isJson(value)) return undefined;
  const { path, size, sha256, key } = value;
  const sound = typeof path === "string" && Number.isSafeInteger(size) && typeof sha256 === "string";
  if (!sound || (key !== undefined && !isSoundKey(key))) return undefined;
  return { path, sizeBytes: size as number, sha256, ...(key === undefined ? {} : { key }) };
}

/** A manifest out of its text; undefined where it is none. Whether the digest fits the files is the caller's to check. */
export function parseManifest(text: string): Manifest | undefined {
  const json = objectOf(text);
  if (json?.["format"] !== MANIFEST_FORMAT || !Array.isArray(json["files"])) return undefined;
  const files = json["files"].map(storedFile).filter((file) => file !== undefined);
  const { digest, record } = json;
  if (typeof digest !== "string" || files.length !== json["files"].length) return undefined;
  if (record === undefined) return { digest, files };
  return typeof record === "string" && /^[0-9a-f]{64}$/.test(record) ? { digest, files, record } : undefined;
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
    const shown = JSON.stringify(path.slice(0, 200)).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "?");
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
    !isManifestName(segments[0] ?? "") &&
    segments.every(
      (segment) => segment !== "" && !/^\.\.?$/.test(segment) && utf8.encode(segment).length <= longestSegment,
    )
  );
}

/**
 * What stands, or will ever stand, at one key: written once and never changed, so that whoever finds it and the object may take the
 * object for a file of that state of the source. A restarted import skips it.
 */
export interface FileRecord extends StoredFile {
  readonly etag: string;
  readonly key: string;
}

/** As it lies in the store, sealed by an import that signs. */
export interface SealedRecord extends FileRecord {
  readonly seal?: string;
}

/** A file's record as text, and back; undefined where the text is none. */
export function recordText(record: SealedRecord): string {
  return JSON.stringify(record);
}
export function parseRecord(text: string): SealedRecord | undefined {
  const json = objectOf(text);
  const { path, sizeBytes, sha256, etag, key, seal } = json ?? {};
  const sound = typeof path === "string" && typeof sha256 === "string" && typeof etag === "string" && isSoundKey(key);
  if (!sound || typeof sizeBytes !== "number") return undefined;
  return { path, sizeBytes, sha256, etag, key, ...(typeof seal === "string" ? { seal } : {}) };
}

/** Records of several files, as text and back; what is no record is left out. */
export function recordsText(records: readonly SealedRecord[]): string {
  return records.map((record) => `${recordText(record)}\n`).join("");
}
export function parseRecords(text: string): SealedRecord[] {
  return text
    .split("\n")
    .map(parseRecord)
    .filter((record) => record !== undefined);
}

/** An object out of its JSON; undefined where the text is none. */
export function objectOf(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isJson(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Number of the revision that an import writes: above every one that was ever finished, so that a restart finds its own files. */
export function nextNumber(numbers: readonly number[]): number {
  return numbers.reduce((highest, number) => Math.max(highest, number), 0) + 1;
}
