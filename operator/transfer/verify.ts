/** Compares every byte of complete revisions with their manifests. An object that several revisions name is read once. */
import { manifestOf } from "../plan/store/inventory.ts";
import type { StoredModel, StoredRevision } from "../plan/store/inventory.ts";
import { MANIFEST, MAX_MANIFEST_BYTES, manifestProblem, objectKey } from "../plan/model/manifest.ts";
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
  /** Why, of those that were asked for. */
  readonly faults: readonly Fault[];
  /** True where the store gave nothing any more, so that the rest was not asked for. */
  readonly isGivenUp: boolean;
}

export interface Fault {
  readonly key: string;
  /** Passing: no answer, or one that says that the store cannot. Refused: an answer that it will not, as long as nobody changes something. */
  readonly kind: "Passing" | "Refused";
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
  /** Manifests that were asked for in vain. */
  readonly unread?: readonly Fault[];
}

/** A fault that says nothing of the object itself. */
export function faultOf(key: string, error: RetryError): Fault {
  return { key, kind: error.isRefusal ? "Refused" : "Passing", problem: messageOf(error).slice(0, 200) };
}

/** What each pod that fetches it would say first. */
function podsProblem(manifest: Manifest): string | undefined {
  const problem = manifestProblem(manifest);
  return problem === undefined ? undefined : `is refused by every pod: ${problem}`;
}

/** The manifests' own problems, those that could not be judged, and which objects they claim what of. */
async function claimsOf(models: readonly StoredModel[], { check, isWanted, unread = [] }: VerifyOptions) {
  const findings: Finding[] = [];
  const faults = [...unread];
  const claims = new Map<string, Claim[]>();
  let revisions = 0;
  const wanted = models.flatMap(({ revisions: all }) => all).filter(({ folder }) => isWanted?.(folder) !== false);
  for (const revision of wanted) {
    const { folder, read } = revision;
    const manifest = manifestOf(revision);
    const problem = manifest
      ? (podsProblem(manifest) ??
        (await check?.(revision, manifest).catch((error: unknown) => {
          if (!(error instanceof RetryError)) throw error;
          faults.push(faultOf(folder + MANIFEST, error));
          return undefined;
        })))
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
  return { findings, faults, claims, revisions };
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

/** Holds each manifest to the digest that its folder should have, where that is known: a good signature may be another model's. */
export function listedCheck(listed: ReadonlyMap<string, string>): ManifestCheck {
  return ({ folder }, { digest }) => {
    const wanted = listed.get(folder) ?? digest;
    return Promise.resolve(
      wanted === digest ? undefined : `is of ${digest}, but the Model's status lists ${wanted.slice(0, 200)}`,
    );
  };
}

/** The first of their problems. */
export function allOf(checks: readonly ManifestCheck[]): ManifestCheck {
  return async (...revision) => {
    for (const check of checks) {
      const problem = await check(...revision);
      if (problem !== undefined) return problem;
    }
    return undefined;
  };
}

/** Faults that may pass, without a byte of any object between: a store that is away would be asked in vain for each of them. */
const MOST_IN_A_ROW = 16;

/** Whether the store is away, as far as faults show it. */
function newPatience(hasher: ObjectHasher) {
  let [row, seenBytes] = [0, 0];
  return {
    get isOver() {
      return row >= MOST_IN_A_ROW && hasher.readBytes === seenBytes;
    },
    failed: ({ kind }: Fault): void => {
      if (hasher.readBytes !== seenBytes) [row, seenBytes] = [0, hasher.readBytes];
      // Who refuses is there.
      row = kind === "Refused" ? 0 : row + 1;
    },
  };
}

export async function verifyModels(models: readonly StoredModel[], options: VerifyOptions): Promise<Verified> {
  const { hasher } = options;
  const { findings, faults, claims, revisions } = await claimsOf(models, options);
  const unjudged = faults.length;
  const objects = models.flatMap(({ revisions: all }) => all.flatMap((revision) => revision.objects));
  const sizes = new Map(objects.map(({ key, sizeBytes }) => [key, sizeBytes]));
  const sizeOf = (key: string): number => sizes.get(key) ?? 0;
  const slots = newSlots(hasher.width);
  const patience = newPatience(hasher);
  let [read, bytes] = [0, 0];
  const judge = (key: string, claimed: readonly Claim[], problemOf: Judge): void => {
    read++;
    bytes += sizeOf(key);
    for (const { folder, file } of claimed) {
      const problem = problemOf(file);
      if (problem !== undefined) findings.push({ folder, path: file.path, key, problem });
    }
  };
  const one = async (key: string, claimed: readonly Claim[]): Promise<void> => {
    const release = await slots.take();
    if (!patience.isOver) {
      const found = await judged(hasher, key, sizes.get(key));
      if (typeof found === "function") judge(key, claimed, found);
      else {
        faults.push(found);
        patience.failed(found);
      }
    }
    // Only now, so that the next one knows of this fault.
    release();
  };
  // The largest first, so that no core is left alone with one at the end.
  const order = [...claims].sort(([a], [b]) => sizeOf(b) - sizeOf(a));
  await Promise.all(order.map(([key, claimed]) => one(key, claimed)));
  findings.sort((a, b) => (a.folder + a.key < b.folder + b.key ? -1 : 1));
  const asked = order.length + unjudged;
  const unread = asked - read;
  return { revisions, objects: asked, bytes, findings, unread, faults, isGivenUp: unread > faults.length };
}

type Judge = (file: StoredFile) => string | undefined;

/** Resolves with a fault where nothing can be said of the object. */
async function judged(hasher: ObjectHasher, key: string, sizeBytes: number | undefined): Promise<Judge | Fault> {
  if (sizeBytes === undefined) return () => "is missing";
  try {
    const found = await hasher.hash(key, sizeBytes);
    return (file) => {
      if (found.sizeBytes !== file.sizeBytes)
        return `has ${String(found.sizeBytes)} bytes, the manifest says ${String(file.sizeBytes)}`;
      return found.sha256 === file.sha256 ? undefined : `has SHA-256 ${found.sha256}, the manifest says ${file.sha256}`;
    };
  } catch (error) {
    if (error instanceof RetryError) return faultOf(key, error);
    const words = messageOf(error).slice(0, 200);
    return () => `cannot be read: ${words}`;
  }
}
