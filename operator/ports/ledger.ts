/** Where sealed records are kept, who vouches for them, and who receives them. */

/**
 * The system of record of metering: objects that are written once and never changed. Keys are relative paths of
 * `[A-Za-z0-9._=-]` segments. Failures are thrown in the taxonomy of runtime/errors.ts.
 */
export interface Ledger {
  /** Durable when it resolves. "exists": an object was there before (perhaps this very one, its acknowledgement lost): read it back. */
  putOnce(key: string, body: Uint8Array | Iterable<Uint8Array>): Promise<"created" | "exists">;
  /** undefined when there is no such object. */
  get(key: string): Promise<Uint8Array | undefined>;
  /**
   * As get(), a piece at a time: a segment may be far larger than its compressed form, which alone is held in memory. With
   * `wholeUpToBytes` one of at most that length may come as a single piece, which takes less work. Pieces belong to the caller.
   */
  read(key: string, options?: { readonly wholeUpToBytes?: number }): Promise<AsyncIterable<Uint8Array> | undefined>;
  /** Keys that begin with `prefix` and sort after `startAfter`, in the order of their bytes. */
  list(prefix: string, options?: { readonly startAfter?: string }): Promise<readonly string[]>;
  /** A missing object is success. */
  remove(key: string): Promise<void>;
  /** Finds out with an object of its own whether the store refuses to overwrite; where it does not, it is used with a look before each write. */
  probe(): Promise<{ readonly conditional: boolean }>;
}

/** A private key that vouches for manifests; `keyId` is the SHA-256 of its public key. */
export interface ManifestSigner {
  readonly keyId: string;
  /** The same bytes give the same signature. */
  sign(bytes: Uint8Array): Uint8Array;
  /** Whether a signature is this key's, of these bytes. */
  verify(bytes: Uint8Array, signature: Uint8Array): boolean;
  /** 32 secret bytes for a purpose of its own: the same key gives the same. */
  derive(purpose: string): Uint8Array;
}

/** Pinned public keys by their id: is this the key's signature of these bytes? */
export type TrustedKeys = ReadonlyMap<string, (bytes: Uint8Array, signature: Uint8Array) => boolean>;

/** What a sink said to a batch. `refused`: it will never take these records as they are; the words are the receiver's. */
export type SinkAnswer = { readonly accepted: true } | { readonly accepted: false; readonly refused: string };

/** The sealed window that a batch comes from; in whole seconds since the epoch. */
export interface SinkWindow {
  readonly start: number;
  readonly end: number;
  /** End of the window that was sealed before; undefined for the first one. */
  readonly previousEnd: number | undefined;
  /** Where each of its records stands in it, by id, counted from 0 over all segments. */
  readonly positions: ReadonlyMap<string, number>;
}

/** A receiver of sealed records. At least once: whoever receives tells repeats by their ids. */
export interface SinkTarget<T> {
  /** Throws RetryError for what may pass by itself, or what is wrong with the sink as a whole (address, credentials). */
  deliver(records: readonly T[], window: SinkWindow): Promise<SinkAnswer>;
  close(): void;
}
