/**
 * What an import leaves in the store for its next attempt is sealed where it signs: a signature must not vouch for what somebody else put
 * there. Whoever may write to the store has no such key (derived from the private one), and what carries no good seal counts as not there
 * (decision 30). Without a key nothing is sealed and everything believed.
 */
import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import type { ManifestSigner, ObjectStore, UploadPlan } from "../ports.ts";
import { MANIFEST, MAX_MANIFEST_BYTES, revisionFolder } from "../plan/model/manifest.ts";
import type { FileRecord, SealedRecord, StoreOwner } from "../plan/model/manifest.ts";
import { MAX_ENVELOPE_BYTES, signatureKey, signatureProblem } from "../plan/model/signature.ts";
import { sha256Hex } from "./hash.ts";
import type { HashThreads } from "./hashthreads.ts";
import type { StoredRevision } from "./revisions.ts";

/** Another meaning of what is sealed needs another purpose. */
const PURPOSE = "berth.dev/import-seals/v1";
const SALT_BYTES = 8;
const SEAL = /^[0-9a-f]{16}[0-9a-f]{32}$/;

/** Of the parts of one upload. */
export interface PartSeals {
  /**
   * The part's seal for a journal: 48 hex digits, others each time; but the bytes that `like` was made of give it again. A GMAC with a
   * nonce of its own: two tags of one nonce would tell enough of the key to forge more.
   */
  of(number: number, bytes: Uint8Array, like?: string): Promise<string>;
}

/** Of one revision's folder. */
export interface Seals {
  readonly isKeyed: boolean;
  sealed(record: FileRecord): SealedRecord;
  /** The record without its seal; undefined where the seal is not good. */
  opened(record: SealedRecord | undefined): FileRecord | undefined;
  /** A name for a state of a source, that nobody without the key can take first. */
  nameOf(state: readonly unknown[]): string;
  /** Undefined without a key. */
  parts(key: string, plan: UploadPlan, hashes: Pick<HashThreads, "gmac">): PartSeals | undefined;
}

const unsealed = (record: SealedRecord): FileRecord => {
  const { seal: _seal, ...plain } = record;
  return plain;
};

const isEqual = (a: string, b: string): boolean =>
  a.length === b.length && timingSafeEqual(Buffer.from(sha256Hex(a)), Buffer.from(sha256Hex(b)));

const open: Seals = {
  isKeyed: false,
  sealed: (record) => record,
  opened: (record) => record && unsealed(record),
  nameOf: (state) => sha256Hex(JSON.stringify(state)),
  parts: () => undefined,
};

export function newSeals(signer: ManifestSigner | undefined, folder: string): Seals {
  if (!signer) return open;
  const secret = signer.derive(PURPOSE);
  const mac = (what: readonly unknown[]): Buffer => createHmac("sha256", secret).update(JSON.stringify(what)).digest();
  const sealOf = ({ path, key, sizeBytes, etag, sha256 }: FileRecord): string =>
    mac(["record", folder, path, key, sizeBytes, etag, sha256]).toString("hex");
  return {
    isKeyed: true,
    sealed: (record) => ({ ...record, seal: sealOf(record) }),
    opened(record) {
      if (record?.seal === undefined || !isEqual(record.seal, sealOf(record))) return undefined;
      return unsealed(record);
    },
    nameOf: (state) => mac(["name", folder, ...state]).toString("hex"),
    parts(key, { sizeBytes, partBytes, content }, hashes) {
      // A copy: a thread would get all of the memory that a Buffer is cut from.
      const own = Uint8Array.from(mac(["upload", key, sizeBytes, partBytes, content]));
      return {
        async of(number, bytes, like) {
          const salt = like !== undefined && SEAL.test(like) ? Buffer.from(like, "hex") : randomBytes(SALT_BYTES);
          const nonce = new Uint8Array(4 + SALT_BYTES);
          new DataView(nonce.buffer).setUint32(0, number);
          nonce.set(salt.subarray(0, SALT_BYTES), 4);
          const tag = await hashes.gmac(bytes, { key: own, nonce });
          return salt.toString("hex", 0, SALT_BYTES) + tag;
        },
      };
    },
  };
}

export interface VouchedPlace {
  readonly store: ObjectStore;
  readonly owner: StoreOwner;
  readonly signer?: ManifestSigner | undefined;
}

/**
 * Of earlier revisions those that an import with this signer may go on from: all without one. Otherwise those whose manifest the same key
 * has signed, and their records where the manifest names them.
 */
export async function vouchedFor(
  { store, owner, signer }: VouchedPlace,
  revisions: readonly StoredRevision[],
): Promise<readonly StoredRevision[]> {
  if (!signer) return revisions;
  const trust = new Map([[signer.keyId, signer.verify]]);
  const vouched: StoredRevision[] = [];
  for (const revision of revisions) {
    const { number, manifest, textSha256, record } = revision;
    const folder = revisionFolder(owner, number);
    const text = await store.get(folder + MANIFEST, MAX_MANIFEST_BYTES);
    if (!text || sha256Hex(text) !== textSha256) continue;
    const key = folder + signatureKey(textSha256);
    // One that is larger than any is none; to ask for it would fail.
    const sizeBytes = (await store.head(key))?.sizeBytes ?? Infinity;
    const envelope = sizeBytes > MAX_ENVELOPE_BYTES ? undefined : await store.get(key, MAX_ENVELOPE_BYTES);
    if (signatureProblem(text, envelope, trust) !== undefined) continue;
    vouched.push({ ...revision, record: manifest.record === undefined ? undefined : record });
  }
  return vouched;
}
