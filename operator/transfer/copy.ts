/**
 * Copies the files of one revision. Parts of all files share a fixed number of places, so memory is bounded by
 * places × part size; a file's parts are hashed in order while later ones are still on their way.
 */
import { createHash } from "node:crypto";
import type { ObjectSource, ObjectStore, ObjectUpload } from "../ports.ts";
import { RetryError, TerminalError } from "../runtime/errors.ts";
import { numberOf, parseRecord, recordKey, recordText, secondPlace } from "../plan/model/manifest.ts";
import type { FileRecord } from "../plan/model/manifest.ts";
import type { ModelFile } from "../plan/model/listing.ts";
import { sha256Hex } from "./hash.ts";
import { withRetries } from "./retry.ts";
import type { RetryOptions } from "./retry.ts";
import type { Slots } from "./slots.ts";
import { newSlots } from "./slots.ts";

/** S3 allows 10,000 parts of at least 5 MiB. */
export const PART_BYTES = 8 << 20;
const maxParts = 9_000;
const filesAtOnce = 4;
const maxRecordBytes = 16 * 1024;

export interface CopyJob {
  readonly source: ObjectSource;
  readonly store: ObjectStore;
  /** Folder of the revision in the store; ends with '/'. */
  readonly folder: string;
  readonly files: readonly ModelFile[];
  readonly retry: RetryOptions;
  /** Places for parts, shared with other imports of this process. */
  readonly slots: Slots;
  /** Called after each part that is in the store, and once per file that was there already (`copied` false). */
  readonly onBytes: (bytes: number, copied: boolean) => void;
  readonly onFile: () => void;
}

function partBytesOf(sizeBytes: number): number {
  const least = Math.ceil(sizeBytes / maxParts / (1 << 20)) * (1 << 20);
  return Math.max(PART_BYTES, least);
}

/** A place for a file of the revision: below its folder, with the record of what stands there or will. */
interface FilePlace {
  /** Path below the folder. */
  readonly at: string;
  readonly record: FileRecord | undefined;
}

async function recordAt(job: CopyJob, at: string): Promise<FileRecord | undefined> {
  const bytes = await job.store.get(job.folder + recordKey(at), maxRecordBytes);
  return bytes && parseRecord(new TextDecoder().decode(bytes));
}

const isOf = (record: FileRecord, file: ModelFile): boolean =>
  record.path === file.path && record.etag === file.etag && record.sizeBytes === file.sizeBytes;

/**
 * Where a file goes. Nothing that stands in the folder is ever removed or overwritten before the revision is complete, so that a writer
 * which takes itself for the only one breaks nothing of another's: what is in the way (another state of the source) stays, and
 * the file goes to a place of its own.
 */
async function placeOf(job: CopyJob, file: ModelFile): Promise<FilePlace> {
  const record = await recordAt(job, file.path);
  const isFree = record ? isOf(record, file) : !(await job.store.head(job.folder + file.path));
  if (isFree) return { at: file.path, record };
  const at = secondPlace(file.path, sha256Hex(JSON.stringify([file.etag, file.sizeBytes])).slice(0, 16));
  return { at, record: await recordAt(job, at) };
}

/** Whether the object of a record is in its place already: of an earlier (or concurrent) attempt. */
async function isDone(job: CopyJob, { at, record }: FilePlace): Promise<boolean> {
  return record !== undefined && (await job.store.head(job.folder + at))?.sizeBytes === record.sizeBytes;
}

interface Part {
  readonly number: number;
  readonly offset: number;
  readonly lengthBytes: number;
}

function partsOf(sizeBytes: number, partBytes: number): Part[] {
  const parts: Part[] = [];
  for (let offset = 0; offset < sizeBytes || parts.length === 0; offset += partBytes) {
    parts.push({ number: parts.length, offset, lengthBytes: Math.min(partBytes, sizeBytes - offset) });
  }
  return parts;
}

/** Moves all parts; resolves with the file's SHA-256 when every one is in the store. */
async function moveParts(job: CopyJob, file: ModelFile, upload: ObjectUpload, partBytes: number): Promise<string> {
  const { source, retry, slots } = job;
  const hash = createHash("sha256");
  let hashed: Promise<unknown> = Promise.resolve();
  const running: Promise<void>[] = [];
  let failed = false;
  for (const part of partsOf(file.sizeBytes, partBytes)) {
    // Places are taken in the order of the parts: who waits for its turn to be hashed waits only for a part that has a place.
    const release = await slots.take(retry.signal);
    if (failed) {
      release();
      break;
    }
    const fetched =
      part.lengthBytes === 0
        ? Promise.resolve(new Uint8Array(0))
        : withRetries(retry, () => source.read(file, part.offset, part.lengthBytes, retry.signal));
    hashed = Promise.all([fetched, hashed]).then(([bytes]) => void hash.update(bytes));
    const turn = hashed;
    const move = async (): Promise<void> => {
      try {
        const bytes = await fetched;
        await withRetries(retry, () => upload.part(part.number, bytes));
        await turn;
        job.onBytes(part.lengthBytes, true);
      } catch (error) {
        failed = true;
        throw error;
      } finally {
        release();
      }
    };
    turn.catch(() => undefined);
    running.push(move());
    running.at(-1)?.catch(() => undefined);
  }
  await settleAll(running);
  return hash.digest("hex");
}

/** Waits for all, then throws the first failure: nothing may still write when the caller cleans up. */
async function settleAll(work: readonly Promise<unknown>[]): Promise<void> {
  const results = await Promise.allSettled(work);
  const failure = results.find((result) => result.status === "rejected");
  if (failure) throw failure.reason;
}

/** Says what will stand at a place, before it does. Whoever is first says it for all: other bytes may not come there. */
async function announce(job: CopyJob, at: string, record: FileRecord): Promise<void> {
  const bytes = new TextEncoder().encode(recordText(record));
  const put = await job.store.put(job.folder + recordKey(at), bytes, { ifAbsent: true });
  if (put === "written") return;
  const stored = await recordAt(job, at);
  if (stored && recordText(stored) === recordText(record)) return;
  const what = `${job.folder}${at} is being written by another import from another state of the source`;
  throw new RetryError(new TerminalError("StoreError", what));
}

async function copyFile(job: CopyJob, file: ModelFile, { at }: FilePlace): Promise<FileRecord> {
  const { path, sizeBytes, etag } = file;
  const partBytes = partBytesOf(sizeBytes);
  const upload = await withRetries(job.retry, () => job.store.upload(job.folder + at, sizeBytes, partBytes));
  try {
    const sha256 = await moveParts(job, file, upload, partBytes);
    if (file.sha256 !== undefined && sha256 !== file.sha256) {
      const differs = `${path.slice(0, 200)} has SHA-256 ${sha256}, but the source states ${file.sha256}`;
      throw new RetryError(new TerminalError("ChecksumMismatch", differs));
    }
    const record = { path, sizeBytes, sha256, etag, key: `${String(numberOf(job.folder))}/${at}` };
    await withRetries(job.retry, () => announce(job, at, record));
    // "exists": the same bytes, by the record. Another import was first, or the answer to an earlier try was lost.
    if ((await upload.commit()) === "exists") await upload.abort().catch(() => undefined);
    return record;
  } catch (error) {
    await upload.abort().catch(() => undefined);
    throw error;
  }
}

/** Copies what is not there yet and returns the record of every file, in the order of `files`. */
export async function copyFiles(job: CopyJob): Promise<FileRecord[]> {
  await job.store.abortUploads(job.folder);
  const files = newSlots(filesAtOnce);
  let failed = false;
  const one = async (file: ModelFile): Promise<FileRecord | undefined> => {
    const release = await files.take(job.retry.signal);
    try {
      if (failed) return undefined;
      const place = await placeOf(job, file);
      const done = (await isDone(job, place)) ? place.record : undefined;
      if (done) job.onBytes(file.sizeBytes, false);
      const result = done ?? (await copyFile(job, file, place));
      job.onFile();
      return result;
    } catch (error) {
      failed = true;
      throw error;
    } finally {
      release();
    }
  };
  const work = job.files.map(one);
  await settleAll(work);
  return (await Promise.all(work)).filter((record) => record !== undefined);
}
