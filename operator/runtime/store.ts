/**
 * Objects of one resource in memory, with indexes, and the rules that decide which version of an object is the newest.
 * Three sources meet here: watch events, full lists and the answers of our own writes. No network, no timers.
 */
import type { KubeObject, Store } from "../ports.ts";

/** What happened to one object. `initial` marks objects of the first list. */
export interface Change<T extends KubeObject = KubeObject> {
  readonly type: "added" | "updated" | "deleted";
  /** The new object; of a deletion the last one known. */
  readonly object: T;
  readonly old: T | undefined;
  readonly initial: boolean;
}

/** Keys of an object in one index; undefined or empty: not in it. */
export type IndexFunction<T extends KubeObject> = (object: T) => readonly string[] | string | undefined;

/** Index under which every store files objects by the UIDs of their owners. */
export const ownerIndex = "owner";

/** Store with its write side, which belongs to the reflector. */
export interface MutableStore<T extends KubeObject> extends Store<T> {
  /** A watch event; what is older than the cache is ignored. */
  event(type: "ADDED" | "MODIFIED" | "DELETED", object: T): void;
  /** This version, or a newer one, was in the cache already: mostly the answer of an own write that came before its event. */
  knows(object: T): boolean;
  /** A full list: what it lacks is gone, unless written after it. */
  replace(items: readonly T[], resourceVersion: string, initial: boolean): void;
  /** The answer of a write of ours; `mayAdd` false where it is unknown whether the selector takes the object. */
  ownWrite(object: T, mayAdd: boolean): void;
  /** A delete of ours that has taken full effect. */
  ownDelete(uid: string): void;
  /** The server has no events up to this version that were not delivered (bookmark). */
  advance(resourceVersion: string): void;
  /** Everything the server did up to here is in the cache. Empty before the first list. */
  readonly lastResourceVersion: string;
  markSynced(): void;
}

/**
 * Order of two resourceVersions of one cluster (they are etcd's revision, decimal; comparable by contract since
 * Kubernetes 1.35, in fact before). Negative when `a` is older.
 */
export function compareVersions(a: string, b: string): number {
  if (a.length !== b.length) return a.length - b.length;
  return a < b ? -1 : a > b ? 1 : 0;
}

/** `namespace/name`, or the name alone at cluster scope. */
export function keyOf(object: KubeObject): string {
  const { namespace, name } = object.metadata;
  return namespace ? `${namespace}/${name}` : name;
}

/** An empty store. `onChange` is called after the store has taken the change over. */
export function newStore<T extends KubeObject>(
  indexFunctions: Readonly<Record<string, IndexFunction<T>>>,
  onChange: (change: Change<T>) => void,
): MutableStore<T> {
  return new ObjectStore(indexFunctions, onChange);
}

class ObjectStore<T extends KubeObject> implements MutableStore<T> {
  synced = false;
  lastResourceVersion = "";
  readonly #onChange: (change: Change<T>) => void;
  readonly #objects = new Map<string, T>();
  readonly #uids = new Map<string, T>();
  readonly #indexes = new Map<string, ObjectIndex<T>>();
  /** Objects whose deletion we know of before the watch does, by UID. */
  readonly #buried = new Map<string, T>();
  /** The same by key: versions up to these are of the past. */
  readonly #buriedKeys = new Map<string, string>();
  #listed: readonly T[] | undefined;

  constructor(functions: Readonly<Record<string, IndexFunction<T>>>, onChange: (change: Change<T>) => void) {
    this.#onChange = onChange;
    this.#indexes.set(ownerIndex, new ObjectIndex((object) => object.metadata.ownerReferences?.map((o) => o.uid)));
    for (const [name, of] of Object.entries(functions)) this.#indexes.set(name, new ObjectIndex(of));
  }

  get size(): number {
    return this.#objects.size;
  }

  get(namespace: string | undefined, name: string): T | undefined {
    return this.#objects.get(namespace ? `${namespace}/${name}` : name);
  }

  byUid(uid: string): T | undefined {
    return this.#uids.get(uid);
  }

  list(): readonly T[] {
    return (this.#listed ??= Object.freeze([...this.#objects.values()]));
  }

  byIndex(index: string, key: string): readonly T[] {
    const found = this.#indexes.get(index);
    if (!found) throw new Error(`no index ${index}: register it with the reflector`);
    return found.get(key);
  }

  markSynced(): void {
    this.synced = true;
  }

  advance(resourceVersion: string): void {
    if (compareVersions(resourceVersion, this.lastResourceVersion) > 0) this.lastResourceVersion = resourceVersion;
  }

  knows(object: T): boolean {
    const stored = this.#objects.get(keyOf(object));
    return compareVersions(versionOf(object), this.#seenVersion(object, stored)) <= 0;
  }

  event(type: "ADDED" | "MODIFIED" | "DELETED", object: T): void {
    const { uid = "", resourceVersion = "" } = object.metadata;
    const stored = this.#objects.get(keyOf(object));
    const age = compareVersions(resourceVersion, this.#seenVersion(object, stored));
    if (type === "DELETED") {
      this.#unbury(uid);
      // An own write may already have put a successor, or a newer version, under this name.
      if (stored && age >= 0) this.#drop(stored, object, false);
    } else if (age > 0 && !this.#buried.has(uid)) this.#put(object, stored, false);
    this.advance(resourceVersion);
  }

  replace(items: readonly T[], resourceVersion: string, initial: boolean): void {
    // A quorum list older than what was delivered before: etcd was restored from a backup, and versions count anew.
    const restored = compareVersions(resourceVersion, this.lastResourceVersion) < 0;
    const listed = new Set<string>();
    const gone: T[] = [];
    const uids = new Set(items.map((item) => item.metadata.uid ?? ""));
    for (const item of items) listed.add(keyOf(item));
    for (const [uid, { metadata }] of this.#buried) {
      const covered = restored || compareVersions(metadata.resourceVersion ?? "", resourceVersion) <= 0;
      if (covered && !uids.has(uid)) this.#unbury(uid);
    }
    for (const [key, stored] of this.#objects) {
      const covered = restored || compareVersions(versionOf(stored), resourceVersion) <= 0;
      if (covered && !listed.has(key)) gone.push(stored);
    }
    this.lastResourceVersion = resourceVersion;
    for (const stored of gone) this.#drop(stored, stored, initial);
    for (const item of items) {
      // The list may be from before a delete of ours that has taken effect since.
      if (this.#buried.has(item.metadata.uid ?? "")) continue;
      const stored = this.#objects.get(keyOf(item));
      const age = compareVersions(versionOf(item), this.#seenVersion(item, stored));
      if (age > 0 || (restored && age < 0)) this.#put(item, stored, initial);
    }
  }

  ownWrite(object: T, mayAdd: boolean): void {
    const version = versionOf(object);
    const stored = this.#objects.get(keyOf(object));
    const known = stored !== undefined && stored.metadata.uid === object.metadata.uid;
    if (compareVersions(version, this.#seenVersion(object, stored)) <= 0) return;
    if (!known) {
      // All events up to the last version are in: an object of that time which is not here has been deleted since.
      const past = compareVersions(version, this.lastResourceVersion) <= 0;
      const buried = this.#buried.has(object.metadata.uid ?? "");
      if (!mayAdd || !this.synced || past || buried) return;
    }
    this.#put(object, stored, false);
  }

  ownDelete(uid: string): void {
    const stored = this.#uids.get(uid);
    if (!stored) return;
    this.#buried.set(uid, stored);
    this.#buriedKeys.set(keyOf(stored), versionOf(stored));
    this.#drop(stored, stored, false);
  }

  #unbury(uid: string): void {
    const buried = this.#buried.get(uid);
    if (buried && this.#buriedKeys.get(keyOf(buried)) === versionOf(buried)) this.#buriedKeys.delete(keyOf(buried));
    this.#buried.delete(uid);
  }

  /** The newest version that was ever in the cache under this object's name. */
  #seenVersion(object: T, stored: T | undefined): string {
    return stored ? versionOf(stored) : (this.#buriedKeys.get(keyOf(object)) ?? "");
  }

  #put(object: T, stored: T | undefined, initial: boolean): void {
    if (stored && stored.metadata.uid !== object.metadata.uid) {
      this.#drop(stored, stored, initial);
      return this.#put(object, undefined, initial);
    }
    this.#listed = undefined;
    this.#objects.set(keyOf(object), object);
    if (object.metadata.uid) this.#uids.set(object.metadata.uid, object);
    for (const index of this.#indexes.values()) index.move(stored, object);
    this.#onChange({ type: stored ? "updated" : "added", object, old: stored, initial });
  }

  #drop(stored: T, last: T, initial: boolean): void {
    this.#listed = undefined;
    this.#objects.delete(keyOf(stored));
    if (stored.metadata.uid) this.#uids.delete(stored.metadata.uid);
    for (const index of this.#indexes.values()) index.move(stored, undefined);
    this.#onChange({ type: "deleted", object: last, old: stored, initial });
  }
}

function versionOf(object: KubeObject): string {
  return object.metadata.resourceVersion ?? "";
}

class ObjectIndex<T extends KubeObject> {
  readonly #keysOf: IndexFunction<T>;
  readonly #buckets = new Map<string, Map<string, T>>();

  constructor(keysOf: IndexFunction<T>) {
    this.#keysOf = keysOf;
  }

  get(key: string): readonly T[] {
    const bucket = this.#buckets.get(key);
    return bucket ? [...bucket.values()] : [];
  }

  move(from: T | undefined, to: T | undefined): void {
    const before = from ? this.#keys(from) : [];
    const after = to ? this.#keys(to) : [];
    for (const key of before) if (from && !after.includes(key)) this.#remove(key, keyOf(from));
    for (const key of after) if (to) this.#bucket(key).set(keyOf(to), to);
  }

  #keys(object: T): readonly string[] {
    const keys = this.#keysOf(object);
    return keys === undefined || keys === "" ? [] : typeof keys === "string" ? [keys] : keys;
  }

  #bucket(key: string): Map<string, T> {
    const bucket = this.#buckets.get(key) ?? new Map<string, T>();
    this.#buckets.set(key, bucket);
    return bucket;
  }

  #remove(key: string, objectKey: string): void {
    const bucket = this.#buckets.get(key);
    bucket?.delete(objectKey);
    if (bucket?.size === 0) this.#buckets.delete(key);
  }
}
