/** Complete revisions in the store: found by their manifests, committed by one, removed manifest first. */
import type { ObjectStore } from "../ports.ts";
import { RetryError, TerminalError } from "../runtime/errors.ts";
import {
  IMPORT_KEY,
  MANIFEST,
  MAX_MANIFEST_BYTES,
  digestText,
  importText,
  manifestText,
  modelFolder,
  parseImport,
  parseManifest,
  revisionFolder,
} from "../plan/model/manifest.ts";
import type { FoundRevision, ImportRecord, Manifest, StoreOwner, StoredFile } from "../plan/model/manifest.ts";
import { sha256Digest } from "./hash.ts";

const decode = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const encode = (text: string): Uint8Array => new TextEncoder().encode(text);

async function readRevision(store: ObjectStore, owner: StoreOwner, number: number): Promise<FoundRevision | undefined> {
  const folder = revisionFolder(owner, number);
  const bytes = await store.get(folder + MANIFEST, MAX_MANIFEST_BYTES);
  if (!bytes) return undefined;
  const manifest = parseManifest(decode(bytes));
  if (!manifest || sha256Digest(digestText(manifest.files)) !== manifest.digest) {
    throw new RetryError(new TerminalError("StoreError", `${folder}${MANIFEST} in the store is damaged`));
  }
  const beside = await store.get(folder + IMPORT_KEY, MAX_MANIFEST_BYTES);
  const record = beside && parseImport(decode(beside));
  const { fingerprint, importedAt, commit } = record ?? {};
  return { number, manifest, fingerprint, importedAt, commit };
}

/** All complete revisions of a model, oldest first. Numbers have no gaps, so the search ends at the first one missing. */
export async function findRevisions(store: ObjectStore, owner: StoreOwner): Promise<FoundRevision[]> {
  const found: FoundRevision[] = [];
  for (;;) {
    const revision = await readRevision(store, owner, found.length + 1);
    if (!revision) return found;
    found.push(revision);
  }
}

/** Writes the manifest of a revision whose files are all in the store. Whoever is first wins; different bytes are an error. */
export async function commitRevision(
  store: ObjectStore,
  folder: string,
  files: readonly StoredFile[],
  record: ImportRecord,
): Promise<Manifest> {
  const manifest = { digest: sha256Digest(digestText(files)), files };
  await store.put(folder + IMPORT_KEY, encode(importText(record)), { ifAbsent: false });
  const bytes = encode(manifestText(manifest));
  if ((await store.put(folder + MANIFEST, bytes, { ifAbsent: true })) === "written") return manifest;
  const stored = await store.get(folder + MANIFEST, MAX_MANIFEST_BYTES);
  if (stored && decode(stored) === decode(bytes)) return manifest;
  throw new RetryError(
    new TerminalError("StoreError", `${folder}${MANIFEST} was written by another import with other files`),
  );
}

/** Removes what no manifest of the folder names: files of an abandoned attempt, and the records that served the copy. */
export async function removeLeftovers(store: ObjectStore, folder: string, files: readonly StoredFile[]): Promise<void> {
  const kept = new Set([...files.map((file) => folder + file.path), folder + MANIFEST, folder + IMPORT_KEY]);
  for await (const object of store.list(folder)) if (!kept.has(object.key)) await store.remove(object.key);
}

/** Empties a model's place in the store. Manifests go first, so that nothing half removed counts as present. */
export async function emptyModel(store: ObjectStore, owner: StoreOwner): Promise<number> {
  const folder = modelFolder(owner);
  await store.abortUploads(folder);
  const keys: string[] = [];
  for await (const object of store.list(folder)) keys.push(object.key);
  const isManifest = (key: string): boolean => /^\d+\/MANIFEST\.json$/.test(key.slice(folder.length));
  keys.sort((a, b) => Number(isManifest(b)) - Number(isManifest(a)));
  for (const key of keys) await store.remove(key);
  return keys.length;
}
