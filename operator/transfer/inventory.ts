/** Reads what lies in a store: one listing, and every manifest in it. */
import { isRemoved, parseManifest, MANIFEST, MAX_MANIFEST_BYTES, digestText } from "../plan/model/manifest.ts";
import { inventoryOf, manifestFolder } from "../plan/store/inventory.ts";
import type { Inventory, ReadManifest } from "../plan/store/inventory.ts";
import type { ListedObject, ObjectStore } from "../ports.ts";
import { RetryError } from "../runtime/errors.ts";
import { sha256Digest, sha256Hex } from "./hash.ts";
import { readRecord } from "./revisions.ts";
import { newSlots } from "./slots.ts";

const readsAtOnce = 16;
const decode = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

async function readManifest(store: ObjectStore, folder: string, sizeBytes: number): Promise<ReadManifest | undefined> {
  // No manifest is: to ask for it would fail, and one tenant's would keep the whole store from being looked after.
  if (sizeBytes > MAX_MANIFEST_BYTES) return { kind: "damaged" };
  const bytes = await store.get(folder + MANIFEST, MAX_MANIFEST_BYTES);
  if (!bytes) return undefined;
  const text = decode(bytes);
  if (isRemoved(text)) return { kind: "removed" };
  const manifest = parseManifest(text);
  if (!manifest || sha256Digest(digestText(manifest.files)) !== manifest.digest) return { kind: "damaged" };
  const record = await readRecord(store, folder, manifest).catch((error: unknown) => {
    if (error instanceof RetryError) return undefined;
    throw error;
  });
  return { kind: "manifest", manifest, textSha256: sha256Hex(bytes), record };
}

async function all(listing: AsyncIterable<ListedObject>): Promise<ListedObject[]> {
  const found: ListedObject[] = [];
  for await (const object of listing) found.push(object);
  return found;
}

/**
 * Everything below `models/` or one folder of it (ending with '/'). A manifest that cannot be read ends it, unless `onUnread` takes the
 * fault: its revision then looks as if it had none.
 */
export async function readInventory(
  store: ObjectStore,
  below = "models/",
  onUnread?: (key: string, error: RetryError) => void,
): Promise<Inventory> {
  // Uploads first: one that is completed between the two listings is then seen twice, never not at all.
  const uploads = await all(store.listUploads(below));
  const objects = await all(store.list(below));
  const manifests = new Map<string, ReadManifest>();
  const slots = newSlots(readsAtOnce);
  const read = async ({ key, sizeBytes }: ListedObject): Promise<void> => {
    const folder = key.slice(0, -MANIFEST.length);
    const release = await slots.take();
    try {
      const found = await readManifest(store, folder, sizeBytes);
      if (found) manifests.set(folder, found);
    } catch (error) {
      if (!onUnread || !(error instanceof RetryError)) throw error;
      onUnread(key, error);
    } finally {
      release();
    }
  };
  await Promise.all(objects.filter(({ key }) => manifestFolder(key) !== undefined).map(read));
  return inventoryOf(objects, uploads, manifests);
}
