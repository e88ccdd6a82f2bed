/**
 * What lies beside a manifest: how the revision came to be. The manifest names it by its SHA-256, so that of two imports which end at once
 * the one that loses cannot put its own words in the winner's place, and nobody can later.
 */
import { isJson } from "./config.ts";
import type { ModelFacts } from "./inspect.ts";
import { objectOf } from "./manifest.ts";
import type { Manifest } from "./manifest.ts";
import type { Way } from "./way.ts";

/** Where a revision came from: a folder of a bucket, or a commit of a repository. */
export type SourceOrigin =
  | { readonly endpoint: string; readonly bucket: string; readonly prefix: string }
  | { readonly endpoint: string; readonly repo: string; readonly commit: string };

/** What lies beside a manifest: how the revision came to be, and what its headers said. */
export interface ImportRecord {
  /** Of the manifest that it belongs to. */
  readonly digest: string;
  /** SHA-256 of `fingerprintText`, with `sha256:` before it. */
  readonly fingerprint: string;
  readonly source: SourceOrigin;
  /** RFC 3339, seconds. */
  readonly importedAt: string;
  /** Of the Berth that wrote it. */
  readonly version: string;
  readonly facts: ModelFacts;
  /** The request to import anew that it answers. */
  readonly reimport?: string;
  /** How the bytes came. */
  readonly way?: Way;
  /** Of the source's objects, by path. */
  readonly etags: Readonly<Record<string, string>>;
  /** Of a versioned bucket's objects, by path. */
  readonly versionIds?: Readonly<Record<string, string>>;
}

export function importText(record: ImportRecord): string {
  return JSON.stringify(record);
}

/** Where a manifest's record lies below the revision's folder: under a name that no other import's has. */
export function importKey({ record }: Pick<Manifest, "record">): string {
  return record === undefined ? ".berth/import.json" : `.berth/imports/${record}.json`;
}

function isOrigin(value: unknown): value is SourceOrigin {
  if (!isJson(value) || typeof value["endpoint"] !== "string") return false;
  const { bucket, prefix, repo, commit } = value;
  const isBucket = typeof bucket === "string" && typeof prefix === "string";
  return isBucket || (typeof repo === "string" && typeof commit === "string");
}

/** The record out of its text; undefined where it is none, or belongs to another manifest. */
export function parseImport(text: string, digest: string): ImportRecord | undefined {
  const json = objectOf(text);
  const { fingerprint, importedAt, facts, source, etags } = json ?? {};
  const sound = typeof fingerprint === "string" && typeof importedAt === "string" && isJson(facts) && isJson(etags);
  if (!sound || !isOrigin(source) || json?.["digest"] !== digest) return undefined;
  return json as unknown as ImportRecord;
}

/** A complete revision as it was found in the store. */
export interface FoundRevision {
  readonly number: number;
  readonly manifest: Manifest;
  readonly record?: ImportRecord | undefined;
}
