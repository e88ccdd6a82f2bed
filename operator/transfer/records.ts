/**
 * What stands, or will ever stand, at each place of a revision's folder: said before the object is there, by whoever is first, and never
 * changed. So a record with its object is proof of it, whoever wrote either, and a restarted import skips it.
 */
import type { ObjectStore } from "../ports.ts";
import { numberOf, parseRecord, recordKey, recordText, secondPlace } from "../plan/model/manifest.ts";
import type { FileRecord } from "../plan/model/manifest.ts";
import type { ModelFile } from "../plan/model/listing.ts";
import { RetryError, TerminalError } from "../runtime/errors.ts";
import { sha256Hex } from "./hash.ts";
import { withRetries } from "./retry.ts";
import type { RetryOptions } from "./retry.ts";

const maxRecordBytes = 16 * 1024;

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
   * and the file goes to a place of its own.
   */
  placeOf(file: ModelFile): Promise<FilePlace>;
  /** Whether the object of a record is in its place already: of an earlier (or concurrent) attempt. */
  isDone(place: FilePlace): Promise<boolean>;
  /** Says what will stand at a place, before it does. Whoever is first says it for all: other bytes may not come there. */
  announce(place: FilePlace, file: ModelFile, sha256: string): Promise<FileRecord>;
}

const isOf = (record: FileRecord, file: ModelFile): boolean =>
  record.path === file.path && record.etag === file.etag && record.sizeBytes === file.sizeBytes;

/** Lists the folder once, so that what was not there then costs no request. */
export async function openRecords({ store, folder, retry }: RecordsJob): Promise<Records> {
  const there = new Set<string>();
  for await (const { key } of store.list(folder)) there.add(key);

  async function recordAt(at: string): Promise<FileRecord | undefined> {
    const bytes = await store.get(folder + recordKey(at), maxRecordBytes);
    return bytes && parseRecord(new TextDecoder().decode(bytes));
  }
  return {
    async placeOf(file) {
      const [hasRecord, hasObject] = [recordKey(file.path), file.path].map((path) => there.has(folder + path));
      const record = hasRecord ? await recordAt(file.path) : undefined;
      if (record ? isOf(record, file) : !hasObject) return { at: file.path, record };
      const at = secondPlace(file.path, sha256Hex(JSON.stringify([file.etag, file.sizeBytes])).slice(0, 16));
      return { at, record: await recordAt(at) };
    },
    isDone: async ({ at, record }) =>
      record !== undefined && (await store.head(folder + at))?.sizeBytes === record.sizeBytes,
    async announce({ at }, { path, sizeBytes, etag }, sha256) {
      const record = { path, sizeBytes, sha256, etag, key: `${String(numberOf(folder))}/${at}` };
      const text = recordText(record);
      const put = () => store.put(folder + recordKey(at), new TextEncoder().encode(text), { ifAbsent: true });
      if ((await withRetries(retry, put)) === "written") return record;
      const stored = await recordAt(at);
      if (stored && recordText(stored) === text) return record;
      const what = `${folder}${at} is being written by another import from another state of the source`;
      throw new RetryError(new TerminalError("StoreError", what));
    },
  };
}
