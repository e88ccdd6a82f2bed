/** Complete revisions in the store: found by their manifests, committed by one, removed manifest first. */
import type { ManifestSigner, ObjectStore } from "../ports.ts";
import { RetryError, TerminalError } from "../runtime/errors.ts";
import { importKey, importText, parseImport } from "../plan/model/importrecord.ts";
import type { FoundRevision, ImportRecord } from "../plan/model/importrecord.ts";
import {
  CLAIM_KEY,
  MANIFEST,
  MAX_MANIFEST_BYTES,
  digestText,
  isRemoved,
  manifestText,
  modelFolder,
  nextNumber,
  numberOf,
  objectKey,
  parseManifest,
  revisionFolder,
} from "../plan/model/manifest.ts";
import type { Manifest, StoreOwner, StoredFile } from "../plan/model/manifest.ts";
import { modelEnvelope, signatureKey } from "../plan/model/signature.ts";
import { keptBeside } from "../plan/store/inventory.ts";
import type { StandingManifest } from "../plan/store/inventory.ts";
import { sha256Digest, sha256Hex } from "./hash.ts";

const decode = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const encode = (text: string): Uint8Array => new TextEncoder().encode(text);

const damaged = (what: string): RetryError =>
  new RetryError(new TerminalError("StoreError", `${what} in the store is damaged`));

/** A revision with the manifest that stands. */
export type StoredRevision = FoundRevision & StandingManifest;

/** How a revision came to be; undefined where that cannot be told any more. */
export async function readRecord(
  store: ObjectStore,
  folder: string,
  manifest: Manifest,
): Promise<ImportRecord | undefined> {
  const bytes = await store.get(folder + importKey(manifest), MAX_MANIFEST_BYTES);
  if (!bytes || (manifest.record !== undefined && sha256Hex(bytes) !== manifest.record)) return undefined;
  return parseImport(decode(bytes), manifest.digest);
}

type Standing = StoredRevision | "removed" | "damaged" | undefined;

/** What stands in the folder of a revision: undefined where no manifest does. `tooLong`: keys that no read would bring. */
async function readRevision(store: ObjectStore, folder: string, tooLong?: ReadonlySet<string>): Promise<Standing> {
  if (tooLong?.has(folder + MANIFEST)) return "damaged";
  const bytes = await store.get(folder + MANIFEST, MAX_MANIFEST_BYTES);
  if (!bytes) return undefined;
  const text = decode(bytes);
  if (isRemoved(text)) return "removed";
  const manifest = parseManifest(text);
  if (!manifest || sha256Digest(digestText(manifest.files)) !== manifest.digest) return "damaged";
  const record = tooLong?.has(folder + importKey(manifest)) ? undefined : await readRecord(store, folder, manifest);
  return { number: numberOf(folder), manifest, textSha256: sha256Hex(bytes), record };
}

const isWhole = (standing: Standing): standing is StoredRevision => typeof standing === "object";

export interface StoredRevisions {
  /** All complete revisions, oldest first. */
  readonly found: readonly StoredRevision[];
  /** Number that the next import writes under. */
  readonly next: number;
}

/** What is there of a model. Numbers may have gaps: revisions that were removed as garbage, or whose manifest is damaged. */
export async function findRevisions(store: ObjectStore, owner: StoreOwner): Promise<StoredRevisions> {
  const parent = modelFolder(owner);
  const numbers: number[] = [];
  const tooLong = new Set<string>();
  for await (const { key, sizeBytes } of store.list(parent)) {
    const number = Number(/^([1-9]\d{0,8})\/MANIFEST\.json$/.exec(key.slice(parent.length))?.[1] ?? 0);
    if (number > 0) numbers.push(number);
    if (sizeBytes > MAX_MANIFEST_BYTES) tooLong.add(key);
  }
  numbers.sort((a, b) => a - b);
  const found: StoredRevision[] = [];
  for (const number of numbers) {
    const revision = await readRevision(store, revisionFolder(owner, number), tooLong);
    if (isWhole(revision)) found.push(revision);
  }
  return { found, next: nextNumber(numbers) };
}

/**
 * Says in the folder of the coming revision that earlier ones are being pointed at, and reads them again: whoever collects garbage
 * first takes a revision's manifest away and then looks for such claims, so one of the two always sees the other.
 */
export async function claimEarlier(
  store: ObjectStore,
  owner: StoreOwner,
  next: number,
): Promise<readonly StoredRevision[]> {
  const folder = revisionFolder(owner, next);
  await store.put(folder + CLAIM_KEY, encode("{}\n"), { ifAbsent: false });
  const again = await findRevisions(store, owner);
  if (again.next !== next) throw wasCompleted(folder);
  return again.found;
}

/**
 * Says that somebody waits to go on with what an earlier attempt left in the folder of the coming revision, and nothing where none did: an
 * import that has yet to begin there would leave a folder behind where it is given up.
 */
export async function claimLeft(store: ObjectStore, owner: StoreOwner): Promise<void> {
  const folder = revisionFolder(owner, (await findRevisions(store, owner)).next);
  const isLeft = (await isAny(store.list(folder))) || (await isAny(store.listUploads(folder)));
  if (isLeft) await store.put(folder + CLAIM_KEY, encode("{}\n"), { ifAbsent: false });
}

const wasCompleted = (folder: string): RetryError =>
  new RetryError(new TerminalError("StoreError", `another import completed ${folder} meanwhile`));

const wasGivenUp = (folder: string): RetryError =>
  new RetryError(
    new TerminalError("StoreError", `${folder} was given up as garbage while it was imported (berth models gc)`),
  );

/** Refuses what would be written and never be read again; the same words come of every attempt. */
function readable(what: string, bytes: Uint8Array): Uint8Array {
  if (bytes.length <= MAX_MANIFEST_BYTES) return bytes;
  const size = `${what} would have ${String(bytes.length)} bytes, more than the ${String(MAX_MANIFEST_BYTES)} that are read again`;
  throw new TerminalError("TooManyFiles", `${size}: shorten the names of the files, or import fewer`);
}

/**
 * Writes the manifest of a revision whose files are all in the store, and reads back what stands. Whoever is first wins; the same files in
 * other places are the same revision, other files are an error. Who comes second takes its own words away again and has the winner's.
 */
export async function commitRevision(
  store: ObjectStore,
  folder: string,
  files: readonly StoredFile[],
  record: Omit<ImportRecord, "digest">,
  signer?: ManifestSigner,
): Promise<StoredRevision> {
  const digest = sha256Digest(digestText(files));
  const words = readable(`the record of ${folder}`, encode(importText({ digest, ...record })));
  const manifest = { digest, files, record: sha256Hex(words) };
  const text = readable(`the manifest of ${folder}`, encode(manifestText(manifest)));
  const own = { manifest, textSha256: sha256Hex(text) };
  // A manifest whose files a crash could still take would be believed.
  await store.settle?.(files.map((file) => objectKey(folder, file)));
  await store.put(folder + importKey(manifest), words);
  // Before the manifest: one that should be signed never stands without its signature.
  if (signer) await store.put(folder + signatureKey(own.textSha256), modelEnvelope(text, signer));
  const put = await store.put(folder + MANIFEST, text, { ifAbsent: true });
  const stood = await readRevision(store, folder);
  if (isWhole(stood) && stood.textSha256 === own.textSha256) return stood;
  if (put === "written") throw damaged(`${folder}${MANIFEST}, as it was just written and read back,`);
  const kept = isWhole(stood) ? keptBeside(folder, stood) : [folder + MANIFEST];
  for (const key of keptBeside(folder, own)) if (!kept.includes(key)) await store.remove(key);
  if (isWhole(stood) && stood.manifest.digest === digest) return stood;
  throw stood === "removed" ? wasGivenUp(folder) : wasCompleted(folder);
}

/**
 * For a complete revision, before anybody is told of it: who wrote its manifest may not have come to flush or to tidy up. Removes what no
 * manifest names from its folder: files and uploads of an abandoned attempt, words of imports that came second, and the records that
 * served the copy. Later revisions point only at objects that this one's manifest names, and no other import can be completed here.
 */
export async function finishRevision(store: ObjectStore, folder: string, revision: StoredRevision): Promise<void> {
  const named = revision.manifest.files.map((file) => objectKey(folder, file));
  const kept = new Set([...named, ...keptBeside(folder, revision)]);
  await store.settle?.([...kept]);
  await store.abortUploads(folder);
  for await (const { key } of store.list(folder)) if (!kept.has(key)) await store.remove(key);
}

/** Requests that a dead importer had sent have arrived by the second look; who writes on after this many is alive. */
const MOST_LOOKS = 5;

/**
 * Empties a model's place in the store, until a look finds nothing there: when the model is gone, nobody looks again. Throws a RetryError
 * while somebody goes on writing.
 */
export async function emptyModel(store: ObjectStore, owner: StoreOwner): Promise<number> {
  const folder = modelFolder(owner);
  let removed = 0;
  for (let looks = 1; looks <= MOST_LOOKS; looks++) {
    // Uploads first: one that is completed meanwhile is an object by the time that those are listed.
    const hadUploads = await isAny(store.listUploads(folder));
    if (hadUploads) await store.abortUploads(folder);
    const keys = await keysBelow(store, folder);
    if (keys.length === 0 && !hadUploads) return removed;
    for (const key of keys) await store.remove(key);
    removed += keys.length;
  }
  throw new RetryError(new TerminalError("StoreError", `${folder} is still being written to while it is emptied`));
}

async function isAny(listing: AsyncIterable<unknown>): Promise<boolean> {
  for await (const _one of listing) return true;
  return false;
}

/** Manifests first, so that nothing half removed counts as present. */
async function keysBelow(store: ObjectStore, folder: string): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list(folder)) keys.push(key);
  const isManifest = (key: string): boolean => /^\d+\/MANIFEST\.json$/.test(key.slice(folder.length));
  return keys.sort((a, b) => Number(isManifest(b)) - Number(isManifest(a)));
}
