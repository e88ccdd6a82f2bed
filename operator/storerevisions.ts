/** Revisions as the store role serves them: manifest, signature, files. Read once and kept for a while. Part of the composition root. */
import type { StoreGrant, StoreRefusal } from "./api/store.ts";
import type { ServedRevision } from "./http/store.ts";
import { MANIFEST, MAX_MANIFEST_BYTES, digestText, objectKey, parseManifest } from "./plan/model/manifest.ts";
import { MAX_ENVELOPE_BYTES, signatureKey } from "./plan/model/signature.ts";
import type { ObjectStore } from "./ports.ts";
import { sha256Digest, sha256Hex } from "./transfer/hash.ts";

/** Manifests of that many revisions stay parsed. */
const KEPT_REVISIONS = 32;

const missing = (why: string): StoreRefusal => ({
  reason: "ModelMissing",
  message: `the revision of the model that this deployment runs ${why}: import it again, or let the deployment take the newest revision`,
});

/** Reads a revision's manifest and proves that it is the one that was pinned. */
async function readRevision(
  store: ObjectStore,
  { folder, digest }: StoreGrant,
): Promise<ServedRevision | StoreRefusal> {
  const manifest = await store.get(folder + MANIFEST, MAX_MANIFEST_BYTES);
  if (!manifest) return missing("is not in the store");
  const parsed = parseManifest(new TextDecoder().decode(manifest));
  if (!parsed || sha256Digest(digestText(parsed.files)) !== parsed.digest) return missing("has a damaged manifest");
  if (parsed.digest !== digest)
    return missing(`has another digest in the store (${parsed.digest}) than was pinned (${digest})`);
  const files = new Map(parsed.files.map((file) => [file.sha256, file]));
  return {
    manifest,
    signature: once(() => store.get(folder + signatureKey(sha256Hex(manifest)), MAX_ENVELOPE_BYTES)),
    sizeBytes: parsed.files.reduce((sum, file) => sum + file.sizeBytes, 0),
    file(sha256) {
      const found = files.get(sha256);
      return found && { key: objectKey(folder, found), sizeBytes: found.sizeBytes };
    },
  };
}

/** One read for all who ask; what was not found, or failed, is looked for again. */
function once(read: () => Promise<Uint8Array | undefined>): () => Promise<Uint8Array | undefined> {
  let reading: Promise<Uint8Array | undefined> | undefined;
  return () => {
    const current = (reading ??= read());
    const forget = (): void => void (reading === current && (reading = undefined));
    current.then((found) => found === undefined && forget(), forget);
    return current;
  };
}

/** A revision never changes, so what was read once is good as long as it is kept. */
export function newRevisions(store: ObjectStore): (grant: StoreGrant) => Promise<ServedRevision | StoreRefusal> {
  const kept = new Map<string, Promise<ServedRevision | StoreRefusal>>();
  return (grant) => {
    const key = `${grant.folder} ${grant.digest}`;
    const reading = kept.get(key) ?? readRevision(store, grant);
    kept.delete(key);
    kept.set(key, reading);
    const [oldest] = kept.keys();
    if (kept.size > KEPT_REVISIONS && oldest !== undefined) kept.delete(oldest);
    const forget = (): void => void (kept.get(key) === reading && kept.delete(key));
    reading.then((revision) => "reason" in revision && forget(), forget);
    return reading;
  };
}
