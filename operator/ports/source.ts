/** Where a model is imported from. */

/** An object of a bucket that a model is imported from. */
export interface SourceObject {
  readonly key: string;
  readonly sizeBytes: number;
  /** Opaque token of this exact content, quotes included; never taken for a checksum. */
  readonly etag: string;
  /** 64 hex digits that the source itself states for the content; the copy is compared with it. */
  readonly sha256?: string;
}

/** What a source states of the whole content of an object. */
export interface StatedChecksums {
  readonly crc32?: number;
  /** CRC-64/NVME. */
  readonly crc64?: bigint;
  /** 64 hex digits. */
  readonly sha256?: string;
}

/** What is said of what came into memory. */
export interface Filled {
  /** Empty where the read was not of the whole object, or nothing is stated. */
  readonly stated: StatedChecksums;
}

/** An object as another bucket of the same service finds it, in the state that was read. */
export interface CopyOrigin {
  readonly bucket: string;
  readonly key: string;
  readonly etag: string;
  /** Where the bucket keeps versions, and reads are pinned to one. */
  readonly versionId?: string;
}

/** Reads one object on and on: one answer for as many pieces of memory as follow one another. */
export interface ObjectReader {
  /**
   * Fills the memory with the bytes from `offset`, in the answer of the call before where that ended there, else in a new one. One call
   * at a time; fails as `ObjectSource.fill` does, and the next call then asks anew.
   */
  fill(offset: number, into: Uint8Array, signal?: AbortSignal): Promise<Filled>;
  /** Ends the answer that is open. */
  close(): void;
}

/** Read side of a tenant's bucket. Refusals are TerminalError, faults that pass by themselves RetryError (runtime/errors.ts). */
export interface ObjectSource {
  /** One page of at most 1,000 objects; `next` is passed back for the following page and absent on the last. */
  list(
    prefix: string,
    next?: string,
    signal?: AbortSignal,
  ): Promise<{ readonly objects: readonly SourceObject[]; readonly next?: string }>;
  /** Exactly `lengthBytes` (> 0) bytes from `offset`; fails with reason SourceChanged where the content is not `object.etag` any more. */
  read(object: SourceObject, offset: number, lengthBytes: number, signal?: AbortSignal): Promise<Uint8Array>;
  /** The same into memory of the caller's, filled whole: the way of large reads. `read` serves where absent. */
  fill?(object: SourceObject, offset: number, into: Uint8Array, signal?: AbortSignal): Promise<Filled>;
  /** For a large object that is read from one end to the other; `fill` serves where absent. */
  reader?(object: SourceObject): ObjectReader;
  /** Costs a request; absent where a source states nothing beyond its listing. */
  stated?(object: SourceObject, signal?: AbortSignal): Promise<StatedChecksums>;
  /** Of an S3 service, for its own copying; absent for other sources. */
  readonly service?: ObjectService;
  /** Where that service finds the object. */
  originOf?(object: SourceObject): CopyOrigin;
  close(): void;
}

/** An S3 service: equal names are one service, which can copy between its buckets. */
export type ObjectService = string;
