/** Compares every byte of complete revisions with their manifests. An object that several revisions name is read once. */
import { manifestOf } from "../plan/store/inventory.ts";
import type { StoredModel, StoredRevision } from "../plan/store/inventory.ts";
import { MANIFEST, MAX_MANIFEST_BYTES, objectKey } from "../plan/model/manifest.ts";
import type { Manifest, StoredFile } from "../plan/model/manifest.ts";
import { MAX_ENVELOPE_BYTES, signatureKey, signatureProblem } from "../plan/model/signature.ts";
import type { ObjectStore, TrustedKeys } from "../ports.ts";
import { messageOf, RetryError } from "../runtime/errors.ts";
import { sha256Hex } from "./hash.ts";
import type { ObjectHasher } from "./filehash.ts";
import { newSlots } from "./slots.ts";

export interface Finding {
  /** Folder of the revision. */
  readonly folder: string;
  /** Of the file; absent where the manifest itself is meant. */
  readonly path?: string;
  /** Of the object in the store. */
  readonly key: string;
  readonly problem: string;
}

export interface Verified {
  readonly revisions: number;
  readonly objects: number;
  readonly bytes: number;
  readonly findings: readonly Finding[];
  /** Objects whose bytes nobody has seen: nothing is known of them. */
  readonly unread: number;
  /** Why; after the first that could not be read none was begun. */
  readonly faults: readonly Fault[];
}

export interface Fault {
  readonly key: string;
  readonly problem: string;
}

interface Claim {
  readonly folder: string;
  readonly file: StoredFile;
}

/** What is wrong with a manifest beyond its files' bytes; undefined where it is good. */
export type ManifestCheck = (revision: StoredRevision, manifest: Manifest) => Promise<string | undefined>;

export interface VerifyOptions {
  readonly hasher: ObjectHasher;
  readonly check?: ManifestCheck;
  /** By folder of the revision; all where absent. */
  readonly isWanted?: (folder: string) => boolean;
}

/** The manifests' own problems, and which objects they claim what of. */
async function claimsOf(models: readonly StoredModel[], { check, isWanted }: VerifyOptions) {
  const findings: Finding[] = [];
  const claims = new Map<string, Claim[]>();
  let revisions = 0;
  const wanted = models.flatMap(({ revisions: all }) => all).filter(({ folder }) => isWanted?.(folder) !== false);
  for (const revision of wanted) {
    const { folder, read } = revision;
    const manifest = manifestOf(revision);
    const problem = manifest
      ? await check?.(revision, manifest)
      : read?.kind === "damaged"
        ? "is no manifest, or its digest is not that of its files"
        : undefined;
    if (problem !== undefined) findings.push({ folder, key: folder + MANIFEST, problem });
    if (manifest) revisions++;
    for (const file of manifest?.files ?? []) {
      const key = objectKey(folder, file);
      claims.set(key, [...(claims.get(key) ?? []), { folder, file }]);
    }
  }
  return { findings, claims, revisions };
}

/** Holds each manifest to pinned public keys. */
export function signatureCheck(store: ObjectStore, trust: TrustedKeys): ManifestCheck {
  return async ({ folder }) => {
    const manifest = await store.get(folder + MANIFEST, MAX_MANIFEST_BYTES);
    if (!manifest) return "is gone";
    const envelope = await store.get(folder + signatureKey(sha256Hex(manifest)), MAX_ENVELOPE_BYTES);
    return signatureProblem(manifest, envelope, trust);
  };
}

export async function verifyModels(models: readonly StoredModel[], options: VerifyOptions): Promise<Verified> {
  const { hasher } = options;
  const { findings, claims, revisions } = await claimsOf(models, options);
  const objects = models.flatMap(({ revisions: all }) => all.flatMap((revision) => revision.objects));
  const sizes = new Map(objects.map(({ key, sizeBytes }) => [key, sizeBytes]));
  const sizeOf = (key: string): number => sizes.get(key) ?? 0;
  const slots = newSlots(hasher.width);
  const faults: Fault[] = [];
  let [read, bytes] = [0, 0];
  const one = async (key: string, claimed: readonly Claim[]): Promise<void> => {
    const release = await slots.take();
    // A store that does not answer any more would be asked in vain for each of them.
    if (faults.length > 0) return release();
    const problemOf = await judged(hasher, key, sizes.get(key)).finally(release);
    if (typeof problemOf === "string") return void faults.push({ key, problem: problemOf });
    read++;
    bytes += sizeOf(key);
    for (const { folder, file } of claimed) {
      const problem = problemOf(file);
      if (problem !== undefined) findings.push({ folder, path: file.path, key, problem });
    }
  };
  // The largest first, so that no core is left alone with one at the end.
  const order = [...claims].sort(([a], [b]) => sizeOf(b) - sizeOf(a));
  await Promise.all(order.map(([key, claimed]) => one(key, claimed)));
  findings.sort((a, b) => (a.folder + a.key < b.folder + b.key ? -1 : 1));
  return { revisions, objects: order.length, bytes, findings, unread: order.length - read, faults };
}

type Judge = (file: StoredFile) => string | undefined;

/** Resolves with words where nothing can be said of the object. */
async function judged(hasher: ObjectHasher, key: string, sizeBytes: number | undefined): Promise<Judge | string> {
  if (sizeBytes === undefined) return () => "is missing";
  try {
    const found = await hasher.hash(key, sizeBytes);
    return (file) => {
      if (found.sizeBytes !== file.sizeBytes)
        return `has ${String(found.sizeBytes)} bytes, the manifest says ${String(file.sizeBytes)}`;
      return found.sha256 === file.sha256 ? undefined : `has SHA-256 ${found.sha256}, the manifest says ${file.sha256}`;
    };
  } catch (error) {
    const words = messageOf(error).slice(0, 200);
    return error instanceof RetryError ? words : () => `cannot be read: ${words}`;
  }
}
