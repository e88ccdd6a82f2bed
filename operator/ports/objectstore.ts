/** Where imported models are kept. */
import type { CopyOrigin, ObjectService } from "./source.ts";

/** An object of the platform's own store; keys are relative to the store's URL and never begin with '/'. */
export interface StoredObject {
  readonly key: string;
  readonly sizeBytes: number;
}

/** The same as a listing shows it; the time (epoch milliseconds) is the store's. */
export interface ListedObject extends StoredObject {
  readonly modifiedAtMs: number;
}

/** What is about to be brought into the store. */
export interface UploadPlan {
  readonly sizeBytes: number;
  /** At least 5 MiB where there is more than one part. */
  readonly partBytes: number;
  /** Names the exact content: an unfinished upload of the same key goes on only where its plan was the same. */
  readonly content: string;
}

export interface ByteRange {
  readonly offset: number;
  readonly lengthBytes: number;
}

/** One object on its way into the store; nothing of it can be seen before `commit`. */
export interface ObjectUpload {
  /** Checksums of the parts that an earlier attempt at the same plan brought, by number. They need not be brought again. */
  readonly found: ReadonlyMap<number, number>;
  /** Seals that came with those, by number; absent where the store shows nothing of what is not committed. */
  readonly seals?: ReadonlyMap<number, string>;
  /** Fills the memory with a part that was found; absent where the store shows nothing of what is not committed. */
  readBack?(number: number, into: Uint8Array): Promise<void>;
  /**
   * Parts are numbered from 0, come in any order and side by side, and are `partBytes` long but for the last. When it resolves, the
   * part is in the store's journal: a later attempt finds it. The checksum is the CRC-32; where parts can be read back, any of 32 bits
   * that the caller counts again then. A store that shows seals keeps that too: up to 64 hex digits that mean something to the caller.
   */
  part(number: number, bytes: Uint8Array, checksum: number, seal?: string): Promise<void>;
  /**
   * The same, but the service takes the bytes from another of its buckets, with the store's credentials; absent where it cannot. The
   * part counts only where the service states the CRC-32 that is given, of bytes that the caller has read himself. TerminalError
   * where it will not do so however often it is asked.
   */
  copyPart?(number: number, origin: CopyOrigin, range: ByteRange, crc32: number): Promise<void>;
  /** Says that somebody is at work on the upload, where no part has come for a while; see `listUploads`. */
  touch(): Promise<void>;
  /**
   * "exists": somebody else committed this key first, and theirs stays; or an earlier call here did, whose answer was lost. `crc32` is of
   * the whole object, undefined where nobody counted it. May take minutes, which the signal ends: whether the object comes is open then.
   */
  commit(crc32: number | undefined, signal?: AbortSignal): Promise<"written" | "exists">;
  /** True where a commit that has failed can be asked for again; absent where what was brought is gone with it. */
  readonly canCommitAgain?: true;
  /** Stops; what was brought waits for the next attempt. */
  leave(): Promise<void>;
  /** Forgets what was brought. */
  abort(): Promise<void>;
}

export interface PutOptions {
  readonly ifAbsent?: boolean;
  /** The caller tries again by itself where a fault may pass, and counts. */
  readonly isTriedOnce?: boolean;
}

/** The platform's store (`s3://` or `file://`). Its faults are RetryError with reason StoreUnavailable in the cause. */
export interface ObjectStore {
  /** The store's URL, for people; carries no credentials. */
  readonly url: string;
  /** The S3 service that holds it; absent for a directory. */
  readonly service?: ObjectService;
  head(key: string): Promise<StoredObject | undefined>;
  /** The whole object, undefined where there is none; larger than `maxBytes` is an error. */
  get(key: string, maxBytes: number): Promise<Uint8Array | undefined>;
  /** A part of an object: fewer bytes than asked for only where the object ends. */
  read(key: string, offset: number, lengthBytes: number): Promise<Uint8Array>;
  /**
   * The same part (`lengthBytes` > 0) as it comes, without holding it in memory. Resolves when the first byte is about to
   * come; an object that is not there or has no such byte rejects. Leaving the loop early frees what it holds.
   */
  stream(key: string, offset: number, lengthBytes: number, signal?: AbortSignal): Promise<AsyncIterable<Uint8Array>>;
  /** A URL that lets its holder read this object for `seconds`, without a credential; absent where there is none (a directory). */
  presign?(key: string, seconds: number): Promise<string>;
  put(key: string, bytes: Uint8Array, options?: PutOptions): Promise<"written" | "exists">;
  /** Begins an object, or goes on with what an attempt that was killed left of it. */
  upload(key: string, plan: UploadPlan): Promise<ObjectUpload>;
  /** Whether parts of an unfinished upload can be read back (ObjectUpload.readBack). */
  readonly readsBack: boolean;
  /** All objects whose key begins with `prefix` (which ends with '/' or is empty), in no promised order. */
  list(prefix: string): AsyncIterable<ListedObject>;
  /** Uploads beneath `prefix` that nobody has finished, by their object's key or a name below it, and when somebody was last at work on them. */
  listUploads(prefix: string): AsyncIterable<ListedObject>;
  /**
   * Resolves when no crash can take the names of these objects any more, whoever gave them and may have died or failed before the flush.
   * Absent where what stands is durable; an object that is not there is passed over.
   */
  settle?(keys: readonly string[]): Promise<void>;
  /** An object that is not there is success. */
  remove(key: string): Promise<void>;
  /** Forgets the uploads beneath `prefix` that nobody finished. */
  abortUploads(prefix: string): Promise<void>;
  close(): void;
}
