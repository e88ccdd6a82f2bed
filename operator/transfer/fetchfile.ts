/**
 * One file from the store: its parts come side by side and in any order, are written where they belong, and are hashed
 * in the order of the file before their memory is used again. So what is known of a file is always a prefix of it.
 */
import type { FileHandle } from "node:fs/promises";
import type { StoredFile } from "../plan/model/manifest.ts";
import type { Log } from "../ports.ts";
import type { Slots } from "./slots.ts";
import type { FetchFolder, Partial } from "./fetchfolder.ts";
import { newFileNotes } from "./fetchnotes.ts";
import type { HashThreads, ThreadHash } from "./hashthreads.ts";

export const FETCH_PART_BYTES = 8 << 20;

export interface FileWork {
  readonly folder: FetchFolder;
  /** Places for parts, shared by all files: memory is bounded by places × part. */
  readonly slots: Slots;
  /** Fills the buffer, trying again as long as it makes sense. */
  readonly fill: (sha256: string, offset: number, into: Uint8Array) => Promise<void>;
  readonly hashes: Pick<HashThreads, "open">;
  /** A shared buffer of FETCH_PART_BYTES; `lend` gives it back. */
  readonly borrow: () => Uint8Array;
  readonly lend: (buffer: Uint8Array) => void;
  /** Bytes that need not be fetched any more: they were read from the disk, or came and are hashed. */
  readonly onDone: (bytes: number) => void;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** Hashes `lengthBytes` from the beginning of what lies on the disk. */
async function hashPrefix(file: FileHandle, lengthBytes: number, hash: ThreadHash, work: FileWork): Promise<void> {
  const release = await work.slots.take(work.signal);
  const buffer = work.borrow();
  try {
    for (let at = 0; at < lengthBytes;) {
      work.signal.throwIfAborted();
      const { bytesRead } = await file.read(buffer, 0, Math.min(buffer.length, lengthBytes - at), at);
      if (bytesRead === 0) throw new Error("a file became shorter while it was read");
      await hash.update(buffer.subarray(0, bytesRead));
      at += bytesRead;
      work.onDone(bytesRead);
    }
  } finally {
    work.lend(buffer);
    release();
  }
}

/** True where the file stands under its name and is what the manifest says. One that is not is taken away. */
export async function isFinished(file: StoredFile, work: FileWork): Promise<boolean> {
  const found = await work.folder.finished(file);
  if (!found) return false;
  const hash = work.hashes.open();
  let counted = 0;
  const counting: FileWork = { ...work, onDone: (bytes) => work.onDone(((counted += bytes), bytes)) };
  try {
    await hashPrefix(found, file.sizeBytes, hash, counting);
  } finally {
    await found.close();
  }
  if ((await hash.digest()) === file.sha256) return true;
  work.onDone(-counted);
  await work.folder.remove(file);
  return false;
}

async function writeWhole(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    const { bytesWritten } = await file.write(bytes, at, bytes.length - at, position + at);
    at += bytesWritten;
  }
}

/**
 * Fetches what is missing of the file; resolves with the digest of all its bytes and with how many of them an earlier
 * run had left. It has its name only if the digest is the manifest's.
 */
export async function fetchFile(
  index: number,
  file: StoredFile,
  work: FileWork,
  fresh: boolean,
): Promise<{ readonly sha256: string; readonly resumedBytes: number }> {
  const partial = await work.folder.begin(index, file, fresh);
  try {
    const hash = work.hashes.open();
    await hashPrefix(partial.file, partial.haveBytes, hash, work);
    await fetchParts(index, file, partial, hash, work);
    const sha256 = await hash.digest();
    if (sha256 === file.sha256) await work.folder.finish(index, file, partial.file);
    return { sha256, resumedBytes: partial.haveBytes };
  } finally {
    await partial.file.close();
  }
}

/** What went before a part in its file. */
interface Before {
  readonly hashed: Promise<unknown>;
  /** Hashed and written. */
  readonly done: Promise<unknown>;
}

/** One part in memory: fetched, then written and hashed side by side, the hash in its turn. */
function movePart(
  { file, handle, hash, work }: { file: StoredFile; handle: FileHandle; hash: ThreadHash; work: FileWork },
  { offset, bytes }: { readonly offset: number; readonly bytes: Uint8Array },
  before: Before,
): Before {
  const filled = work.fill(file.sha256, offset, bytes);
  const written = filled.then(() => writeWhole(handle, bytes, offset));
  const hashed = Promise.all([filled, before.hashed]).then(() => hash.update(bytes));
  // All of it settles before the buffer is used again, also where another part has failed.
  const settled = Promise.allSettled([written, hashed]);
  const done = Promise.all([written, hashed, before.done])
    .then(() => work.onDone(bytes.length))
    .finally(() => settled);
  for (const promise of [hashed, done]) promise.catch(() => undefined);
  return { hashed, done };
}

async function fetchParts(
  index: number,
  file: StoredFile,
  { file: handle, haveBytes }: Partial,
  hash: ThreadHash,
  work: FileWork,
): Promise<void> {
  const running: Promise<unknown>[] = [];
  let failed = false;
  const notes = newFileNotes({ index, path: file.path, haveBytes }, work.folder, work.log);
  let before: Before = { hashed: Promise.resolve(), done: Promise.resolve() };
  for (let offset = haveBytes; offset < file.sizeBytes; offset += FETCH_PART_BYTES) {
    // Places are taken in the order of the parts: who waits for its turn waits only for a part that has a place.
    const release = await work.slots.take(work.signal);
    if (failed) {
      release();
      break;
    }
    const buffer = work.borrow();
    const bytes = buffer.subarray(0, Math.min(FETCH_PART_BYTES, file.sizeBytes - offset));
    before = movePart({ file, handle, hash, work }, { offset, bytes }, before);
    const end = offset + bytes.length;
    const settled = before.done
      // The whole file gets its name in place of a note.
      .then(() => void (end < file.sizeBytes && notes.reached(end)))
      .catch((error: unknown) => {
        failed = true;
        throw error;
      })
      .finally(() => {
        work.lend(buffer);
        release();
      });
    settled.catch(() => undefined);
    running.push(settled);
  }
  const failure = (await Promise.allSettled(running)).find((result) => result.status === "rejected");
  await notes.settled();
  if (failure) throw failure.reason;
}
