/**
 * Interfaces between the layers, and nothing else: what a layer needs from the world, in the words of that layer.
 * Implementations live in runtime/, adapters/ and transfer/; wire.ts puts them together.
 */

/** Time, injected so that nothing below wire.ts reads the machine's clock. */
export interface Clock {
  /** Milliseconds since the Unix epoch. Decides only when to look; never what is metered. */
  now(): number;
  /** Milliseconds that never run backwards. */
  monotonicMs(): number;
  /** Calls `run` once after `delayMs`; the returned function cancels it. */
  after(delayMs: number, run: () => void): () => void;
}

/** Structured log: constant lower-case message, facts in fields. */
export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
  child(fields: object): Log;
}

export interface OwnerReference {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
  readonly controller?: boolean;
  readonly blockOwnerDeletion?: boolean;
}

export interface ManagedFieldsEntry {
  readonly manager?: string;
  readonly operation?: string;
  readonly subresource?: string;
  readonly time?: string;
  readonly fieldsV1?: unknown;
}

export interface ObjectMeta {
  readonly name: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly resourceVersion?: string;
  readonly generation?: number;
  readonly creationTimestamp?: string;
  readonly deletionTimestamp?: string;
  readonly deletionGracePeriodSeconds?: number;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly finalizers?: readonly string[];
  readonly ownerReferences?: readonly OwnerReference[];
  readonly managedFields?: readonly ManagedFieldsEntry[];
}

export interface KubeObject {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata: ObjectMeta;
}

/** One REST resource: how a kind is addressed. `T` is the object's TypeScript shape. */
export interface Resource<T extends KubeObject = KubeObject> {
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly kind: string;
  readonly namespaced: boolean;
  /** Only for the type checker: never set. */
  readonly shape?: T;
}

/** Read side of one reflector's cache. Objects are frozen; they are as new as the last watch event or own write. */
export interface Store<T extends KubeObject = KubeObject> {
  get(namespace: string | undefined, name: string): T | undefined;
  byUid(uid: string): T | undefined;
  list(): readonly T[];
  /** `index` is a name registered with the reflector; unknown names throw. */
  byIndex(index: string, key: string): readonly T[];
  readonly size: number;
  readonly synced: boolean;
}

export interface ReadOptions {
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  readonly limit?: number;
}

/** Reads that go to the API server (quorum reads): rare, each one justified where it is called. */
export interface KubeReader {
  /** undefined when the object does not exist (404). */
  read<T extends KubeObject>(
    resource: Resource<T>,
    namespace: string | undefined,
    name: string,
  ): Promise<T | undefined>;
  list<T extends KubeObject>(
    resource: Resource<T>,
    namespace: string | undefined,
    options?: ReadOptions,
  ): Promise<{ readonly items: readonly T[]; readonly resourceVersion: string }>;
}

export interface WriteOptions {
  /** Field manager; each is named once in api/keys.ts. */
  readonly manager: string;
  readonly subresource?: "status" | "scale";
}

export interface DeleteOptions {
  readonly uid?: string;
  readonly resourceVersion?: string;
  readonly gracePeriodSeconds?: number;
  readonly propagationPolicy?: "Foreground" | "Background" | "Orphan";
}

/** Writes. Each answers with the object as the server stored it, which the caches take over at once. */
export interface KubeWriter {
  /** Server-side apply; `force` false lets a foreign owner of a field win (409 with the owner's name). */
  apply<T extends KubeObject>(
    resource: Resource<T>,
    body: T,
    options: WriteOptions & { readonly force?: boolean },
  ): Promise<T>;
  create<T extends KubeObject>(resource: Resource<T>, body: T, options: WriteOptions): Promise<T>;
  /** JSON merge patch; put `metadata.resourceVersion` into the body for optimistic locking. */
  mergePatch<T extends KubeObject>(
    resource: Resource<T>,
    namespace: string | undefined,
    name: string,
    body: object,
    options: WriteOptions,
  ): Promise<T>;
  /** 404 is success. */
  remove(resource: Resource, namespace: string | undefined, name: string, options?: DeleteOptions): Promise<void>;
}

/** An event for people (`kubectl describe`): aggregated, never needed for correctness. */
export interface EventRecorder {
  emit(
    about: KubeObject & { readonly apiVersion: string; readonly kind: string },
    event: {
      readonly type: "Normal" | "Warning";
      readonly reason: string;
      readonly message: string;
      readonly action?: string;
    },
  ): void;
}

/** What a reconcile tells the queue. Failures are thrown (runtime/errors.ts). */
export interface Outcome {
  /** Look again after this many milliseconds even if nothing happens. */
  readonly requeueAfterMs?: number;
}

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
  /** Fills the memory with a part that was found; absent where the store shows nothing of what is not committed. */
  readBack?(number: number, into: Uint8Array): Promise<void>;
  /**
   * Parts are numbered from 0, come in any order and side by side, and are `partBytes` long but for the last. When it resolves, the
   * part is in the store's journal: a later attempt finds it. The checksum is the CRC-32; where parts can be read back, any of 32 bits
   * that the caller counts again then.
   */
  part(number: number, bytes: Uint8Array, checksum: number): Promise<void>;
  /**
   * The same, but the service takes the bytes from another of its buckets, with the store's credentials; absent where it cannot. The
   * part counts only where the service states the CRC-32 that is given, of bytes that the caller has read himself. TerminalError
   * where it will not do so however often it is asked.
   */
  copyPart?(number: number, origin: CopyOrigin, range: ByteRange, crc32: number): Promise<void>;
  /** "exists": somebody else committed this key first, and theirs stays. `crc32` is of the whole object, undefined where nobody counted it. */
  commit(crc32: number | undefined): Promise<"written" | "exists">;
  /** Stops; what was brought waits for the next attempt. */
  leave(): Promise<void>;
  /** Forgets what was brought. */
  abort(): Promise<void>;
}

/** The platform's store (`s3://` or `file://`). Its faults are RetryError with reason StoreUnavailable in the cause. */
export interface PutOptions {
  readonly ifAbsent?: boolean;
  /** The caller tries again by itself where a fault may pass, and counts. */
  readonly isTriedOnce?: boolean;
}

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
  /** Uploads beneath `prefix` that nobody has finished, by their object's key or a name below it, and since when. */
  listUploads(prefix: string): AsyncIterable<ListedObject>;
  /** An object that is not there is success. */
  remove(key: string): Promise<void>;
  /** Forgets the uploads beneath `prefix` that nobody finished. */
  abortUploads(prefix: string): Promise<void>;
  close(): void;
}

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

export type ProviderName = "static" | "karpenter";

/** An instant and where it was read; `estimated` where only a last proof of life was left. */
export interface Evidence {
  readonly time: string;
  readonly evidence: string;
  readonly estimated?: boolean;
}

/** What a provider has to know of a pool; `template` is missing when the pool itself has vanished. */
export interface CapacityQuery {
  readonly poolUID: string;
  readonly template?: {
    readonly gpu: { readonly count: number; readonly resourceName: string };
    readonly provider: { readonly static?: { readonly nodeSelector: Readonly<Record<string, string>> } };
  };
  /** UID of the pool's namespace: nodes whose caches hold others' models are not for it. */
  readonly namespaceUID?: string;
  readonly size: number;
  /** Since when that size is wanted (RFC 3339). */
  readonly sizeSince?: string;
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** Age of a node's unreadiness from which its last proof of life is looked up. */
  readonly nodeLostMs: number;
  /** Everything before it is in the ledger (milliseconds since the epoch); undefined while nothing is known to be. */
  readonly sealedThroughMs?: number;
}

/**
 * One node in the life of a pool, whichever provider it comes from.
 * - `intended`: recorded or ordered, does not belong to the pool yet
 * - `held`: belongs to the pool
 * - `leaving`: belongs to the pool until the provider has taken it away
 * - `ended`: does not belong to the pool (any more)
 */
export interface CapacityUnit {
  /** Name of the CapacityClaim that stands for it. */
  readonly claimName: string;
  readonly ref: {
    readonly provider: ProviderName;
    readonly kind: "Node" | "NodeClaim";
    readonly name: string;
    readonly uid: string;
  };
  readonly state: "intended" | "held" | "leaving" | "ended";
  readonly nodeName?: string;
  readonly claimedAt?: Evidence;
  readonly readyAt?: Evidence;
  readonly releasedAt?: Evidence;
  /** Node Ready and all GPUs allocatable. */
  readonly ready: boolean;
  /** Why it is not ready, in the provider's or kubelet's words. */
  readonly problem?: string;
  /** Since when its node is not Ready (milliseconds since the epoch); undefined where it is, or never was there. */
  readonly unreadySince?: number;
  /** Last sign of life of a node that is gone or dead. */
  readonly proofOfLife?: Evidence;
  /** Somebody removed what marks it as ours (label, taint, finalizer): to be restored. */
  readonly damaged: boolean;
  /** It ended, and something of ours is still on the provider's object: to be taken off. */
  readonly residue: boolean;
  /** The provider's object as cached, for the writes of the plan. */
  readonly object?: KubeObject;
}

/** A node that can be had now. */
export interface CapacityOffer {
  readonly claimName: string;
  /** Running number of claims on this node. */
  readonly sequence: number;
  /** The claim was recorded already by a pass that did not come further. */
  readonly recorded: boolean;
  /** End of the node's claim before (RFC 3339): the new one begins no earlier. */
  readonly notBefore?: string;
  readonly ref: CapacityUnit["ref"];
  readonly object: KubeObject;
}

export interface CapacityObstacle {
  readonly reason: "OutOfStock" | "ForeignPods" | "KarpenterNotInstalled" | "ProviderError" | "Provisioning";
  /** In the provider's own words. */
  readonly message: string;
}

/** The pool's standing order at a provider that buys nodes by itself. */
export interface CapacityOrder {
  readonly object: KubeObject;
  readonly replicas: number;
  readonly leaving: boolean;
  /** Since when the provider could have acted on it (milliseconds since the epoch); undefined: it cannot yet. */
  readonly actionableSince?: number;
}

export interface CapacityFacts {
  readonly provider: ProviderName;
  readonly units: readonly CapacityUnit[];
  readonly order?: CapacityOrder;
  /** Why nodes that are wanted do not come, as far as the provider says so. */
  readonly obstacle?: CapacityObstacle;
}

/** Where nodes come from: API objects in, facts out. It decides nothing and writes nothing. */
export interface CapacityProvider {
  readonly name: ProviderName;
  /** The pool's nodes from the caches; a Lease is read only for a node that died or vanished. */
  observe(query: CapacityQuery): Promise<CapacityFacts>;
  /** Up to `count` nodes that the pool may take, reserved for it until `settle`, and what stands in the way of the others. */
  offers(
    query: CapacityQuery,
    count: number,
  ): Promise<{ readonly offers: readonly CapacityOffer[]; readonly obstacle?: CapacityObstacle }>;
  /** Ends the pool's reservations: its writes are in the caches, or have failed. */
  settle(poolUID: string): void;
}
