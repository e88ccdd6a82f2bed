/**
 * What stands, or will ever stand, at each place of a revision's folder, never changed. So a record with its object is proof of it,
 * whoever wrote either (for an import that signs, whoever has its key: seals.ts), and a restarted import skips it. A large file's is
 * said before its object is there, by whoever is first; those of others once their objects stand, and those of the smallest together.
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
import type { Seals } from "./seals.ts";

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
  readonly seals: Seals;
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
export async function openRecords({ store, folder, retry, seals }: RecordsJob): Promise<Records> {
  const there = new Map<string, number>();
  for await (const { key, sizeBytes } of store.list(folder)) there.set(key, sizeBytes);
  const prefix = `${String(numberOf(folder))}/`;
  const shared = new Map<string, FileRecord>();
  for (const [key, sizeBytes] of there) {
    // What is larger than any of ours is none.
    if (!key.startsWith(folder + SHARED_RECORDS) || sizeBytes > maxBatchBytes) continue;
    const bytes = await withRetries(retry, () => store.get(key, maxBatchBytes));
    for (const sealed of parseRecords(new TextDecoder().decode(bytes))) {
      const record = seals.opened(sealed);
      if (record?.key.startsWith(prefix)) shared.set(record.key.slice(prefix.length), record);
    }
  }
  let hasFailed = false;
  const batches = newBatches<FileRecord>(async (records) => {
    const text = recordsText(records.map(seals.sealed));
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
    const key = folder + recordKey(at);
    const bytes = (there.get(key) ?? 0) > maxRecordBytes ? undefined : await store.get(key, maxRecordBytes);
    return bytes && seals.opened(parseRecord(new TextDecoder().decode(bytes)));
  }
  const recordOf = ({ at }: FilePlace, { path, sizeBytes, etag }: ModelFile, sha256: string): FileRecord => ({
    path,
    sizeBytes,
    sha256,
    etag,
    key: prefix + at,
  });
  async function secondPlaceOf(file: ModelFile): Promise<FilePlace> {
    const at = secondPlace(file.path, seals.nameOf([file.etag, file.sizeBytes]).slice(0, 16));
    return { at, record: await recordAt(at) };
  }
  async function announce(place: FilePlace, file: ModelFile, sha256: string): Promise<FileRecord> {
    const record = recordOf(place, file, sha256);
    const text = new TextEncoder().encode(recordText(seals.sealed(record)));
    const put = (ifAbsent: boolean) => () => store.put(folder + recordKey(place.at), text, { ifAbsent });
    if ((await withRetries(retry, put(true))) === "written") return record;
    const stored = await recordAt(place.at);
    if (stored && recordText(stored) === recordText(record)) return record;
    if (stored || !seals.isKeyed || place.at === file.path) throw inTheWay(folder + place.at);
    // No import with another key, or none, ever says anything of a place that this key has named.
    await withRetries(retry, put(false));
    return record;
  }
  return {
    secondPlaceOf,
    async placeOf(file, isRead) {
      const [hasRecord, hasObject] = [recordKey(file.path), file.path].map((path) => there.has(folder + path));
      const record = hasRecord || shared.has(file.path) ? await recordAt(file.path) : undefined;
      if (record && isOf(record, file)) return { at: file.path, record };
      // Said by somebody without our key: believed by nobody who signs, but other bytes may come there.
      const isTaken = record !== undefined || (seals.isKeyed && hasRecord === true);
      return isTaken || (hasObject && !isRead) ? secondPlaceOf(file) : { at: file.path, record };
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
