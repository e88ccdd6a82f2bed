/** The parts of one large file, from the source into an upload: side by side, hashed in the order of the file. */
import type { ObjectUpload } from "../ports.ts";
import type { ModelFile } from "../plan/model/listing.ts";
import { combinedCrc32 } from "./crc.ts";
import type { Answers } from "./answers.ts";
import type { Filling } from "./fill.ts";
import type { HashThreads, ThreadHash } from "./hashthreads.ts";
import { newPartFiller } from "./partfiller.ts";
import type { PartFiller } from "./partfiller.ts";
import { intoStore } from "./retry.ts";
import type { PartSeals } from "./seals.ts";
import type { ServerCopy } from "./servercopy.ts";

export interface PartsMove extends Filling {
  readonly file: ModelFile;
  readonly upload: ObjectUpload;
  readonly partBytes: number;
  readonly hashes: Pick<HashThreads, "crc32" | "crc64" | "gmac32">;
  /** How the import asks the source for parts that follow one another. */
  readonly answers: Answers;
  /** Of this file. */
  readonly hash: ThreadHash;
  /** Whether the CRC-64/NVME is counted too. */
  readonly isCrc64Wanted: Promise<boolean>;
  /** Whether the CRC-32 is counted also where the store does not need it. */
  readonly isCrc32Wanted: Promise<boolean>;
  /** For a store that shows parts again, where only our own may be gone on with. */
  readonly seals?: PartSeals | undefined;
  /** Where the store's service may take the parts from the source itself. */
  readonly serverCopy?: ServerCopy | undefined;
  /** Numbers of parts that `onBytes` was called for, also by an earlier try of this file. */
  readonly told: Set<number>;
  /** Bytes that are in the store; `copied` is false for those that an earlier attempt had brought. */
  readonly onBytes: (bytes: number, copied: boolean) => void;
}

interface Part {
  readonly number: number;
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** Waits for all, then throws the first failure: nothing may still write when the caller cleans up. */
export async function settleAll(work: readonly Promise<unknown>[]): Promise<void> {
  const results = await Promise.allSettled(work);
  const failure = results.find((result) => result.status === "rejected");
  if (failure) throw failure.reason;
}

/** Of a part. */
interface Sums {
  /** Of the store's journal. */
  readonly journal: number;
  readonly seal?: string;
  readonly crc32: number | undefined;
}

/**
 * A store that shows parts again compares nothing itself: what is cheapest does for its journal, and a seal (such as the one that is
 * given, where these are its bytes) has such a checksum in it.
 */
async function sumsOf(move: PartsMove, { number, bytes }: Part, like?: string): Promise<Sums> {
  const { upload, hashes, seals } = move;
  const isNeeded = !upload.readBack || (await move.isCrc32Wanted);
  const crc32 = isNeeded ? await hashes.crc32(bytes) : undefined;
  if (!upload.readBack && crc32 !== undefined) return { journal: crc32, crc32 };
  if (!seals) return { journal: await hashes.gmac32(bytes), crc32 };
  const seal = await seals.of(number, bytes, like);
  return { journal: Number.parseInt(seal.slice(-8), 16), seal, crc32 };
}

/** The sums of the part, where the store shows it and it is the one of the journal. */
async function readBack(move: PartsMove, part: Part, wanted: number): Promise<Sums | undefined> {
  const { upload, seals } = move;
  const seal = upload.seals?.get(part.number);
  if (!upload.readBack || (seals && seal === undefined)) return undefined;
  // What the disk does not give back is written anew: it would else hold up every further import of the file.
  const isRead = await upload.readBack(part.number, part.bytes).then(() => true, () => false); // prettier-ignore
  if (!isRead) return undefined;
  const sums = await sumsOf(move, part, seal);
  return sums.journal === wanted && (!seals || sums.seal === seal) ? sums : undefined;
}

/** Brings what was read into the store. */
async function store(move: PartsMove, { number, offset, bytes }: Part, { journal, seal, crc32 }: Sums): Promise<void> {
  const { upload, file, places, serverCopy } = move;
  const read = { upload, file, places, number, offset, lengthBytes: bytes.length };
  if (crc32 !== undefined && (await serverCopy?.part({ ...read, crc32 }))) return;
  await intoStore(move, () => upload.part(number, bytes, journal, seal));
}

/** The byte behind all that an earlier attempt has brought, where that need not be read again. */
function behindFound({ upload, partBytes }: PartsMove): number {
  return upload.readBack
    ? [...upload.found.keys()].reduce((most, number) => Math.max(most, number + 1), 0) * partBytes
    : 0;
}

/** Brings the part into memory and the store; resolves with its sums. `filled` is called as soon as the memory is. */
async function bring(move: PartsMove, part: Part, filler: PartFiller, filled: () => void): Promise<Sums> {
  const { upload } = move;
  const found = upload.found.get(part.number);
  const shown = found === undefined || !upload.readBack ? undefined : await readBack(move, part, found);
  if (shown) {
    filled();
    return shown;
  }
  await filler.fill(part.offset, part.bytes);
  filled();
  const came = await sumsOf(move, part);
  // A part that the store has and cannot show was read again for its hash alone.
  if (came.journal !== found || upload.readBack) await store(move, part, came);
  return came;
}

/** Feeds the part to both checksums, side by side; resolves with the CRC-64/NVME so far, 0 where none is wanted. */
async function hashPart(move: PartsMove, bytes: Uint8Array, before: bigint): Promise<bigint> {
  const count = async (): Promise<bigint> => ((await move.isCrc64Wanted) ? move.hashes.crc64(bytes, before) : 0n);
  const [crc64] = await Promise.all([count(), move.hash.update(bytes)]);
  return crc64;
}

function movePart(move: PartsMove, filler: PartFiller, part: Part, before: Promise<bigint>) {
  const filled = Promise.withResolvers<void>();
  const brought = bring(move, part, filler, filled.resolve);
  brought.catch(filled.reject);
  const hashed = Promise.all([filled.promise, before]).then(([, crc64]) => hashPart(move, part.bytes, crc64));
  const done = Promise.all([brought, hashed]).then(([{ journal, crc32 }]) => {
    if (!move.told.has(part.number)) move.onBytes(part.bytes.length, journal !== move.upload.found.get(part.number));
    move.told.add(part.number);
    return crc32;
  });
  for (const promise of [hashed, done]) promise.catch(() => undefined);
  // The memory is in use until both have ended, well or badly.
  return { hashed, done, settled: Promise.allSettled([brought, hashed]) };
}

export interface PartsMoved {
  readonly sha256: string;
  /** Where the store or somebody else wanted it. */
  readonly crc32: number | undefined;
  /** Where it was wanted. */
  readonly crc64: bigint | undefined;
}

/** Well below what anybody waits before garbage is collected. */
const TOUCH_EVERY_MS = 10 * 60_000;

/** For parts that are only read again: for hours no new one may come, and what nobody seems to be at work on is collected as garbage. */
function newTouch({ upload, retry: { clock } }: PartsMove): () => Promise<void> {
  let lastMs = -Infinity;
  return async () => {
    if (clock.monotonicMs() - lastMs < TOUCH_EVERY_MS) return;
    lastMs = clock.monotonicMs();
    // What hinders it hinders the next part as well, which is tried again and fails with words.
    await upload.touch().catch(() => undefined);
  };
}

/** Resolves with the checksums of the file when every part is in the store. */
export async function moveParts(move: PartsMove): Promise<PartsMoved> {
  const { file, partBytes, places, retry } = move;
  const running: Promise<number | undefined>[] = [];
  const ended: Promise<unknown>[] = [];
  let failed = false;
  let stopped: unknown;
  let hashed = Promise.resolve(0n);
  const touch = newTouch(move);
  const filler = newPartFiller(move, file, behindFound(move));
  for (let offset = 0; offset < file.sizeBytes && !failed; offset += partBytes) {
    const lengthBytes = Math.min(partBytes, file.sizeBytes - offset);
    // Places are taken in the order of the parts: who waits for its turn to be hashed waits only for a part that has a place.
    const place = await places.take(lengthBytes, retry.signal).catch((error: unknown) => {
      stopped = error;
    });
    if (!place || failed) {
      place?.release();
      break;
    }
    if (move.upload.found.has(running.length)) await touch();
    const moved = movePart(move, filler, { number: running.length, offset, bytes: place.buffer }, hashed);
    ({ hashed } = moved);
    running.push(moved.done);
    moved.done.catch(() => (failed = true));
    ended.push(moved.settled.then(() => place.release()));
  }
  await Promise.all(ended);
  filler.close();
  await settleAll(running);
  if (stopped !== undefined) throw stopped;
  const crcs = await Promise.all(running);
  const lengthOf = (number: number): number => Math.min(partBytes, file.sizeBytes - number * partBytes);
  const crc32 = crcs.reduce<number | undefined>(
    (sum, crc, number) =>
      sum === undefined || crc === undefined ? undefined : combinedCrc32(sum, crc, lengthOf(number)),
    0,
  );
  const crc64 = (await move.isCrc64Wanted) ? await hashed : undefined;
  return { sha256: await move.hash.digest(), crc32, crc64 };
}
