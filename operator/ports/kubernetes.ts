/** The cluster: objects, caches, reads, writes and events, and what a reconcile answers. */

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
    /** Whole duration, repeats included. Default 10 s. */
    options?: { readonly timeoutMs?: number },
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
  /** Whole duration, repeats included. Default 30 s. */
  readonly timeoutMs?: number;
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
