/** One file from the source into its place in the store, with the proof that it is the one that was listed. */
import { crc32 } from "node:zlib";
import type { ObjectSource, ObjectStore, ObjectUpload, StatedChecksums } from "../ports.ts";
import type { FileRecord } from "../plan/model/manifest.ts";
import type { ModelFile } from "../plan/model/listing.ts";
import { RetryError, TerminalError } from "../runtime/errors.ts";
import type { Answers } from "./answers.ts";
import { inTime } from "./deadline.ts";
import { fillPart } from "./fill.ts";
import { sha256Hex } from "./hash.ts";
import type { HashThreads } from "./hashthreads.ts";
import { moveParts } from "./moveparts.ts";
import type { PartPlaces } from "./places.ts";
import { inTheWay } from "./records.ts";
import type { FilePlace, Records } from "./records.ts";
import { intoStore, withRetries } from "./retry.ts";
import type { RetryOptions } from "./retry.ts";
import type { Seals } from "./seals.ts";
import type { ServerCopy } from "./servercopy.ts";
import { againIfDead } from "./thread.ts";

/** S3 allows 10,000 parts. */
const maxParts = 9_000;
/** Larger ones are hashed by a thread. */
const LARGEST_HASHED_HERE = 256 << 10;

export interface FileCopy {
  readonly source: ObjectSource;
  readonly store: ObjectStore;
  readonly folder: string;
  readonly retry: RetryOptions;
  readonly places: PartPlaces;
  readonly hashes: HashThreads;
  readonly answers: Answers;
  readonly records: Records;
  readonly seals: Seals;
  /** For large files alone: the bytes of a small one are in memory, and its key is taken on a condition that no copy knows everywhere. */
  readonly serverCopy?: ServerCopy | undefined;
  readonly onBytes: (bytes: number, copied: boolean) => void;
  /** The source refuses to say what it states of the file. */
  readonly onUnstated: (path: string, because: string) => void;
}

interface Checksums {
  readonly sha256: string;
  /** Not counted where neither source nor store asks for it. */
  readonly crc32: number | undefined;
  /** Counted only where the source states one, and no SHA-256. */
  readonly crc64?: bigint | undefined;
}

function partBytesOf(sizeBytes: number, leastBytes: number): number {
  return Math.max(leastBytes, Math.ceil(sizeBytes / maxParts / (1 << 20)) * (1 << 20));
}

const hex = (crc: number | bigint, digits = 8): string => crc.toString(16).padStart(digits, "0");

/** It costs more CPU than the SHA-256, which says more. */
const wantsCrc64 = (file: ModelFile, stated: StatedChecksums): boolean =>
  stated.crc64 !== undefined && stated.sha256 === undefined && file.sha256 === undefined;

/** Compares what came with what the source says of it: in its listing, in lists of checksums, in its own metadata. */
function checkStated(file: ModelFile, came: Checksums, stated: StatedChecksums): void {
  const differs = (kind: string, has: string, says: string): RetryError =>
    new RetryError(
      new TerminalError(
        "ChecksumMismatch",
        `${file.path.slice(0, 200)} has ${kind} ${has}, but the source states ${says}`,
      ),
    );
  for (const sha256 of [file.sha256, stated.sha256])
    if (sha256 !== undefined && sha256 !== came.sha256) throw differs("SHA-256", came.sha256, sha256);
  if (stated.crc32 !== undefined && came.crc32 !== undefined && stated.crc32 !== came.crc32)
    throw differs("CRC-32", hex(came.crc32), hex(stated.crc32));
  if (stated.crc64 !== undefined && came.crc64 !== undefined && stated.crc64 !== came.crc64)
    throw differs("CRC-64/NVME", hex(came.crc64, 16), hex(stated.crc64, 16));
}

/** Puts the file where it belongs, or beside what another state of the source has put there; resolves with the place. */
async function putSmall(copy: FileCopy, file: ModelFile, to: FilePlace, bytes: Uint8Array, sha256: string) {
  const { store, folder, retry, records } = copy;
  const isThere = async ({ at }: FilePlace): Promise<boolean> => {
    const put = () => store.put(folder + at, bytes, { ifAbsent: true, isTriedOnce: true });
    if ((await intoStore(copy, put)) === "written") return true;
    // Another import was first, or an earlier attempt that could not take it down, or the answer to an earlier try was lost.
    if ((await withRetries(retry, () => store.head(folder + at)))?.sizeBytes !== bytes.length) return false;
    const stored = await withRetries(retry, () => store.get(folder + at, bytes.length));
    return stored !== undefined && sha256Hex(stored) === sha256;
  };
  if (to.record && to.record.sha256 !== sha256) throw inTheWay(folder + to.at);
  if (await isThere(to)) return to;
  const second = await records.secondPlaceOf(file);
  if (second.at === to.at || !(await isThere(second))) throw inTheWay(folder + second.at);
  return second;
}

async function copySmall(copy: FileCopy, file: ModelFile, to: FilePlace): Promise<FileRecord> {
  const place = await copy.places.take(file.sizeBytes, copy.retry.signal);
  try {
    copy.records.throwIfFailed(file);
    const { stated } = await fillPart(copy, file, 0, place.buffer);
    const came = await checksumsOf(copy, place.buffer);
    const crc64 = wantsCrc64(file, stated) ? await copy.hashes.crc64(place.buffer, 0n) : undefined;
    checkStated(file, { ...came, crc64 }, stated);
    const stands = await putSmall(copy, file, to, place.buffer, came.sha256);
    copy.onBytes(file.sizeBytes, true);
    // Before the memory is free for another: what is not taken down yet counts as on its way.
    return await copy.records.note(stands, file, came.sha256);
  } finally {
    place.release();
  }
}

async function checksumsOf({ hashes }: FileCopy, bytes: Uint8Array): Promise<Checksums> {
  if (bytes.length <= LARGEST_HASHED_HERE) return { sha256: sha256Hex(bytes), crc32: crc32(bytes) };
  const [sum, sha256] = await Promise.all([hashes.crc32(bytes), hashes.sha256(bytes)]);
  return { sha256, crc32: sum };
}

/** What the source's own metadata states; of one that refuses to tell, or cannot, nothing is known, which people are told. */
async function statedOf({ source, retry, onUnstated }: FileCopy, file: ModelFile): Promise<StatedChecksums> {
  const { stated } = source;
  if (!stated) return {};
  return withRetries(retry, () =>
    inTime(retry, { what: `what is stated of ${file.path}`, lengthBytes: 0 }, (signal) => stated(file, signal)),
  ).catch((error: unknown) => {
    const isOfSource = error instanceof TerminalError || error instanceof RetryError;
    if (!isOfSource || isSpoiled(error)) throw error;
    onUnstated(file.path, error.message);
    return {};
  });
}

/** Bytes that are of no use for another attempt. */
function isSpoiled(error: unknown): boolean {
  const cause = error instanceof RetryError ? error.cause : error;
  return cause instanceof TerminalError && ["SourceChanged", "ChecksumMismatch"].includes(cause.reason);
}

/** Another import would read the whole file again for its hash, where the store shows nothing of what is not committed. */
function commit(upload: ObjectUpload, retry: RetryOptions, { crc32 }: Pick<Checksums, "crc32">) {
  const tries = upload.canCommitAgain ? retry.tries : 1;
  return withRetries({ ...retry, tries }, () => upload.commit(crc32, retry.signal));
}

/** `told`: parts that an earlier try has counted. */
async function tryLarge(copy: FileCopy, file: ModelFile, to: FilePlace, told: Set<number>): Promise<FileRecord> {
  const { store, retry, records } = copy;
  const partBytes = partBytesOf(file.sizeBytes, copy.places.partBytes);
  const plan = { sizeBytes: file.sizeBytes, partBytes, content: `${file.etag} ${file.key}` };
  const upload = await withRetries(retry, () => store.upload(copy.folder + to.at, plan));
  try {
    const stating = statedOf(copy, file);
    const isWanted = (wants: (stated: StatedChecksums) => boolean): Promise<boolean> =>
      stating.then(wants, () => false);
    const isCrc64Wanted = isWanted((stated) => wantsCrc64(file, stated));
    const isCrc32Wanted = isWanted(({ crc32 }) => crc32 !== undefined);
    const hash = copy.hashes.open();
    const seals = copy.seals.parts(copy.folder + to.at, plan, copy.hashes);
    const moving = moveParts({ ...copy, seals, file, upload, partBytes, hash, told, isCrc64Wanted, isCrc32Wanted });
    const [came, stated] = await Promise.all([moving, stating]).catch(async (error: unknown) => {
      await moving.catch(() => undefined);
      throw error;
    });
    checkStated(file, came, stated);
    // Before the file has its name: whoever finds both after a kill reads nothing of it again.
    const record = await records.announce(to, file, came.sha256);
    // "exists": the same bytes, by the record; but for one of another size, which was small enough to come without.
    if ((await commit(upload, retry, came)) === "exists" && !(await records.isDone({ ...to, record })))
      throw inTheWay(copy.folder + to.at);
    return record;
  } catch (error) {
    await (isSpoiled(error) ? upload.abort() : upload.leave()).catch(() => undefined);
    throw error;
  }
}

/** Where the thread died that hashed it: what is in the store stays there, and is read once more for the hash alone. */
function copyLarge(copy: FileCopy, file: ModelFile, to: FilePlace): Promise<FileRecord> {
  const told = new Set<number>();
  return againIfDead(() => tryLarge(copy, file, to, told));
}

/** Copies the file unless it is there, and returns its record. */
export async function copyFile(copy: FileCopy, file: ModelFile): Promise<FileRecord> {
  const isSmall = file.sizeBytes <= copy.places.partBytes;
  const place = await copy.records.placeOf(file, isSmall);
  if (place.record && (await copy.records.isDone(place))) {
    copy.onBytes(file.sizeBytes, false);
    return place.record;
  }
  return isSmall ? copySmall(copy, file, place) : copyLarge(copy, file, place);
}
