/** What of a source's files the store holds already, and holds as it was inspected. */
import type { FoundRevision, SourceOrigin } from "../plan/model/importrecord.ts";
import type { Listing, ModelFile } from "../plan/model/listing.ts";
import { fingerprintText, modelFolder, objectKeyBelow } from "../plan/model/manifest.ts";
import type { FileRecord, StoreOwner, StoredFile } from "../plan/model/manifest.ts";
import { isSameSource, pointedAtEarlier, reusable } from "../plan/model/reuse.ts";
import type { HeldFile } from "../plan/model/reuse.ts";
import type { ObjectStore } from "../ports.ts";
import { sha256Digest } from "./hash.ts";
import type { Inspected } from "./inspected.ts";
import type { RetryOptions } from "./retry.ts";

export interface Holding {
  readonly store: ObjectStore;
  readonly owner: StoreOwner;
  readonly origin: SourceOrigin;
  readonly inspected: Inspected;
  readonly retry: RetryOptions;
}

type Keys = ReadonlyMap<string, string>;

/** Files whose stored object, below the model's folder, does not begin with what inspection saw of the source; keys by path. */
export async function othersThanInspected(
  { store, owner, inspected, retry }: Holding,
  files: readonly ModelFile[],
  keys: Keys,
  look: "isStored" | "isBrought" = "isStored",
): Promise<ModelFile[]> {
  const others: ModelFile[] = [];
  for (const file of files) {
    const key = keys.get(file.path);
    if (key !== undefined && !(await inspected[look]({ store, retry }, modelFolder(owner) + key, file)))
      others.push(file);
  }
  return others;
}

/** Those of the keys, by path, whose objects begin as was inspected. */
async function sound(holding: Holding, { files }: Listing, keys: Keys): Promise<Keys> {
  const others = await othersThanInspected(holding, files, keys);
  const paths = new Set(others.map(({ path }) => path));
  return new Map([...keys].filter(([path]) => !paths.has(path)));
}

/** Whether the revision is this state of this very source. An ETag says nothing of another server's objects, nor of what became of ours. */
export async function isThisState(
  holding: Holding,
  listing: Listing,
  { number, manifest, record }: FoundRevision,
): Promise<boolean> {
  if (record?.fingerprint !== sha256Digest(fingerprintText(listing.files))) return false;
  if (!isSameSource(record.source, holding.origin)) return false;
  const keys = new Map(manifest.files.map((file) => [file.path, objectKeyBelow(number, file)]));
  if (!listing.files.every(({ path }) => keys.has(path))) return false;
  return (await sound(holding, listing, keys)).size === keys.size;
}

/** What earlier revisions hold of the files. */
export async function reusedOf(
  holding: Holding,
  listing: Listing,
  earlier: readonly FoundRevision[],
): Promise<ReadonlyMap<string, HeldFile>> {
  const reused = reusable(listing.files, holding.origin, earlier);
  const good = await sound(holding, listing, new Map([...reused].map(([path, { key }]) => [path, key])));
  return new Map([...reused].filter(([path]) => good.has(path)));
}

/** What was copied, pointing at earlier revisions where those hold the same bytes: unless their object has changed since. */
export async function pointed(
  holding: Holding,
  listing: Listing,
  copied: readonly FileRecord[],
  earlier: readonly FoundRevision[],
): Promise<StoredFile[]> {
  const own = new Map(copied.map(({ path, key }) => [path, key]));
  const there = pointedAtEarlier(copied, earlier).filter(({ path, key }) => key !== own.get(path));
  const good = await sound(holding, listing, new Map(there.map(({ path, key = "" }) => [path, key])));
  return copied.map(({ path, sizeBytes, sha256, key }) => ({ path, sizeBytes, sha256, key: good.get(path) ?? key }));
}
