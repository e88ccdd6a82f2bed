/**
 * What stands, or will ever stand, at each place of a revision's folder, never changed. So a record with its object is proof of it,
 * whoever wrote either, and a restarted import skips it. A large file's is said before its object is there, by whoever is first; those of
 * others once their objects stand, and those of the smallest together.
 */
import type { ObjectStore } from "../ports.ts";
import {
  SHARED_RECORDS,
  numberOf,
  parseRecord,
  parseRecords,
  recordKey,
  recordText,
  recordsText,
  secondPlace,
} from "../plan/model/manifest.ts";
import type { FileRecord } from "../plan/model/manifest.ts";
import type { ModelFile } from "../plan/model/listing.ts";
import { RetryError, TerminalError } from "../runtime/errors.ts";
import { newBatches } from "./batches.ts";
import { sha256Hex } from "./hash.ts";
import { withRetries } from "./retry.ts";
import type { RetryOptions } from "./retry.ts";

const maxRecordBytes = 16 * 1024;
/** Records of files up to this size are written together: what is read again for those that are lost with the process are 16 MiB at most. */
const LARGEST_BATCHED_BYTES = 256 << 10;
/** Of a batch: names may have a kilobyte each. */
const maxBatchBytes = 4 << 20;

export interface RecordsJob {
  readonly store: ObjectStore;
  /** Folder of the revision; ends with '/'. */
  readonly folder: string;
  readonly retry: RetryOptions;
}

/** A place for a file of the revision: below its folder, with the record of what stands there or will. */
export interface FilePlace {
  /** Path below the folder. */
  readonly at: string;
  readonly record: FileRecord | undefined;
}

export interface Records {
  /**
   * Where a file goes. Nothing that stands in the folder is ever removed or overwritten before the revision is complete, so that a
   * writer which takes itself for the only one breaks nothing of another's: what is in the way (another state of the source) stays,
   * and the file goes to a place of its own. Of a small file (`isRead`) only reading tells whether what stands there is in the way.
   */
  placeOf(file: ModelFile, isRead: boolean): Promise<FilePlace>;
  /** The place of its own. */
  secondPlaceOf(file: ModelFile): Promise<FilePlace>;
  /** Whether the object of a record is in its place already: of an earlier (or concurrent) attempt. */
  isDone(place: FilePlace): Promise<boolean>;
  /** Says what will stand at a place, before it does. Whoever is first says it for all: other bytes may not come there. */
  announce(place: FilePlace, file: ModelFile, sha256: string): Promise<FileRecord>;
  /** Takes down what stands at a place: at once, or for a small file with others, soon or by `flush`. */
  note(place: FilePlace, file: ModelFile, sha256: string): Promise<FileRecord>;
  /** Throws where the file could not be taken down, since that has failed for others: copied all the same it might come again. */
  throwIfFailed(file: ModelFile): void;
  /** Resolves when everything that was noted is in the store. */
  flush(): Promise<void>;
}

const isOf = (record: FileRecord, file: ModelFile): boolean =>
  record.path === file.path && record.etag === file.etag && record.sizeBytes === file.sizeBytes;

/** What another state of the source has put where bytes of this one belong. */
export function inTheWay(key: string): RetryError {
  const what = `${key} is being written by another import from another state of the source`;
  return new RetryError(new TerminalError("StoreError", what));
}

/** Lists the folder once, so that what was not there then costs no request. */
export async function openRecords({ store, folder, retry }: RecordsJob): Promise<Records> {
  const there = new Set<string>();
  for await (const { key } of store.list(folder)) there.add(key);
  const prefix = `${String(numberOf(folder))}/`;
  const shared = new Map<string, FileRecord>();
  for (const key of there) {
    if (!key.startsWith(folder + SHARED_RECORDS)) continue;
    const bytes = await withRetries(retry, () => store.get(key, maxBatchBytes));
    for (const record of parseRecords(new TextDecoder().decode(bytes)))
      if (record.key.startsWith(prefix)) shared.set(record.key.slice(prefix.length), record);
  }
  let hasFailed = false;
  const batches = newBatches<FileRecord>(async (records) => {
    const text = recordsText(records);
    const key = `${folder}${SHARED_RECORDS}${sha256Hex(text).slice(0, 32)}`;
    const put = () => store.put(key, new TextEncoder().encode(text), { ifAbsent: true });
    // Without the signal: what stands when an import is stopped need not come again. But then somebody waits for the end,
    // as where a write has failed already.
    const shortly = { ...retry, signal: undefined, tries: 2 };
    try {
      await withRetries(hasFailed ? shortly : retry, put);
    } catch (error) {
      hasFailed = true;
      if (!retry.signal?.aborted) throw error;
      await withRetries(shortly, put);
    }
  }, retry.clock);

  async function recordAt(at: string): Promise<FileRecord | undefined> {
    const noted = shared.get(at);
    if (noted) return noted;
    const bytes = await store.get(folder + recordKey(at), maxRecordBytes);
    return bytes && parseRecord(new TextDecoder().decode(bytes));
  }
  const recordOf = ({ at }: FilePlace, { path, sizeBytes, etag }: ModelFile, sha256: string): FileRecord => ({
    path,
    sizeBytes,
    sha256,
    etag,
    key: prefix + at,
  });
  async function secondPlaceOf(file: ModelFile): Promise<FilePlace> {
    const at = secondPlace(file.path, sha256Hex(JSON.stringify([file.etag, file.sizeBytes])).slice(0, 16));
    return { at, record: await recordAt(at) };
  }
  async function announce(place: FilePlace, file: ModelFile, sha256: string): Promise<FileRecord> {
    const record = recordOf(place, file, sha256);
    const text = recordText(record);
    const put = () => store.put(folder + recordKey(place.at), new TextEncoder().encode(text), { ifAbsent: true });
    if ((await withRetries(retry, put)) === "written") return record;
    const stored = await recordAt(place.at);
    if (stored && recordText(stored) === text) return record;
    throw inTheWay(folder + place.at);
  }
  return {
    secondPlaceOf,
    async placeOf(file, isRead) {
      const [hasRecord, hasObject] = [recordKey(file.path), file.path].map((path) => there.has(folder + path));
      const record = hasRecord || shared.has(file.path) ? await recordAt(file.path) : undefined;
      if (record ? isOf(record, file) : isRead || !hasObject) return { at: file.path, record };
      return secondPlaceOf(file);
    },
    isDone: async ({ at, record }) =>
      record !== undefined && (await store.head(folder + at))?.sizeBytes === record.sizeBytes,
    announce,
    async note(place, file, sha256) {
      if (file.sizeBytes > LARGEST_BATCHED_BYTES) return announce(place, file, sha256);
      const record = recordOf(place, file, sha256);
      await batches.add(record);
      return record;
    },
    throwIfFailed: ({ sizeBytes }) => {
      if (sizeBytes <= LARGEST_BATCHED_BYTES) batches.throwIfFailed();
    },
    flush: batches.flush,
  };
}
