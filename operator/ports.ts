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
}

/** Read side of a tenant's bucket. Refusals are TerminalError, faults that pass by themselves RetryError (runtime/errors.ts). */
export interface ObjectSource {
  /** One page of at most 1,000 objects; `next` is passed back for the following page and absent on the last. */
  list(prefix: string, next?: string): Promise<{ readonly objects: readonly SourceObject[]; readonly next?: string }>;
  /** Exactly `lengthBytes` (> 0) bytes from `offset`; fails with reason SourceChanged where the content is not `object.etag` any more. */
  read(object: SourceObject, offset: number, lengthBytes: number, signal?: AbortSignal): Promise<Uint8Array>;
  close(): void;
}

/** An object of the platform's own store; keys are relative to the store's URL and never begin with '/'. */
export interface StoredObject {
  readonly key: string;
  readonly sizeBytes: number;
}

/** One object on its way into the store; nothing of it can be seen before `commit`. */
export interface ObjectUpload {
  /** Parts are numbered from 0, come in any order and side by side, and are `partBytes` long but for the last. */
  part(number: number, bytes: Uint8Array): Promise<void>;
  /** "exists": somebody else committed this key first, and theirs stays. */
  commit(): Promise<"written" | "exists">;
  abort(): Promise<void>;
}

/** The platform's store (`s3://` or `file://`). Its faults are RetryError with reason StoreUnavailable in the cause. */
export interface ObjectStore {
  /** The store's URL, for people; carries no credentials. */
  readonly url: string;
  head(key: string): Promise<StoredObject | undefined>;
  /** The whole object, undefined where there is none; larger than `maxBytes` is an error. */
  get(key: string, maxBytes: number): Promise<Uint8Array | undefined>;
  /** A part of an object: fewer bytes than asked for only where the object ends. */
  read(key: string, offset: number, lengthBytes: number): Promise<Uint8Array>;
  put(
    key: string,
    bytes: Uint8Array,
    options?: { readonly ifAbsent?: boolean },
  ): Promise<"written" | "exists">;
  /** Begins an object of `sizeBytes` in parts of `partBytes` (at least 5 MiB where there is more than one). */
  upload(key: string, sizeBytes: number, partBytes: number): Promise<ObjectUpload>;
  /** All objects whose key begins with `prefix` (which ends with '/' or is empty), in no promised order. */
  list(prefix: string): AsyncIterable<StoredObject>;
  /** An object that is not there is success. */
  remove(key: string): Promise<void>;
  /** Forgets the uploads beneath `prefix` that nobody finished. */
  abortUploads(prefix: string): Promise<void>;
  close(): void;
}
