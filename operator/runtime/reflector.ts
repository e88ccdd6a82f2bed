/**
 * Keeps a store equal to the server's objects of one resource: list, watch, and a way back from every failure. Nothing
 * here is terminal but stop(). Protocol: kubernetes.io/docs/reference/using-api/api-concepts (watch, bookmarks, 410).
 */
import type { Clock, KubeObject, Log, ManagedFieldsEntry, Resource, Store } from "../ports.ts";
import { newBackoff } from "./backoff.ts";
import type { Backoff } from "./backoff.ts";
import { asObject, listAll, pathOf } from "./client.ts";
import { pause } from "./clock.ts";
import { ApiError, messageOf } from "./errors.ts";
import type { WriteFeed } from "./feed.ts";
import { deepFreeze } from "./freeze.ts";
import type { RuntimeMetrics } from "./metrics.ts";
import { labelMatcher } from "./selector.ts";
import { compareVersions, newStore } from "./store.ts";
import type { Change, IndexFunction, MutableStore } from "./store.ts";
import type { Transport } from "./transport.ts";

export interface ReflectorOptions<T extends KubeObject> {
  readonly resource: Resource<T>;
  /** One namespace only; all by default. */
  readonly namespace?: string;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  /** Own indexes by name; `owner` (owners' UIDs) is always there. */
  readonly indexes?: Readonly<Record<string, IndexFunction<T>>>;
  /** `managedFields` entries of these managers are kept; all others are dropped. */
  readonly keepManagers?: readonly string[];
  /** Further `managedFields` entries to keep, for example those that own one field whose time matters. */
  readonly keepEntry?: (entry: ManagedFieldsEntry) => boolean;
  /** Drops what nobody reads, before the object is frozen; must not change its argument. */
  readonly transform?: (object: T) => T;
  /** Only `metadata` is fetched: for objects whose existence is all that matters. */
  readonly metadataOnly?: boolean;
  /** Longest silence of a watch; the server sends a bookmark about every minute. Default 150 s. */
  readonly silenceMs?: number;
  /**
   * For kinds of which the server keeps no watch cache and so sends no bookmarks (Events: kube-apiserver caches all others):
   * each watch ends after so many seconds, and that it ended in order is the sign of life.
   */
  readonly quietWatchSeconds?: number;
  /** How often to look whether an absent resource (its CRD) has come. Default 30 s. */
  readonly absentRetryMs?: number;
}

export interface ReflectorDeps {
  readonly transport: Transport;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: RuntimeMetrics;
  /** Own writes are taken over from here. */
  readonly feed?: WriteFeed;
}

export interface Reflector<T extends KubeObject = KubeObject> {
  readonly resource: Resource<T>;
  readonly store: Store<T>;
  /** Starts to list and watch; once. */
  start(): void;
  /** Ends the watch; no event comes afterwards. */
  stop(): Promise<void>;
  /** Callbacks run synchronously after the store was updated and may only enqueue keys. Returns how to unsubscribe. */
  onChange(callback: (change: Change<T>) => void): () => void;
  /** Resolves once the store holds the first full list, or the resource is known to be absent. */
  readonly synced: Promise<void>;
  /** The server does not serve this resource (its CRD is not installed). */
  readonly absent: boolean;
  /** Somebody heard that an absent resource may have come, or that the server is back: no need to wait for the next try. */
  lookAgain(): void;
  /** Everything the server did up to here is in the store (bookmarks included); empty before the first list. */
  readonly lastResourceVersion: string;
  /** True once the store is at least as new as `resourceVersion`; false when `timeoutMs` passed first. */
  waitUntilAtLeast(resourceVersion: string, timeoutMs: number): Promise<boolean>;
  readonly health: () => ReflectorHealth;
}

export interface ReflectorHealth {
  readonly name: string;
  readonly synced: boolean;
  readonly absent: boolean;
  /** Milliseconds since the server last gave a sign of life for this resource; undefined before the first. */
  readonly lastEventAgeMs: number | undefined;
}

const firstBackoffMs = 800;
const longestBackoffMs = 30_000;
/** In-stream errors in a row after which a fresh list is safer than the old position. */
const errorsBeforeRelist = 5;

/** Makes a reflector; nothing happens before start(). */
export function newReflector<T extends KubeObject>(options: ReflectorOptions<T>, deps: ReflectorDeps): Reflector<T> {
  return new ListWatchLoop(options, deps);
}

class ListWatchLoop<T extends KubeObject> implements Reflector<T> {
  readonly resource: Resource<T>;
  readonly store: MutableStore<T>;
  readonly synced: Promise<void>;
  absent = false;
  readonly #options: ReflectorOptions<T>;
  readonly #deps: ReflectorDeps;
  readonly #name: string;
  readonly #log: Log;
  readonly #stopping = new AbortController();
  #hint = new AbortController();
  readonly #callbacks = new Set<(change: Change<T>) => void>();
  readonly #waiting = new Set<() => void>();
  readonly #backoff: Backoff = newBackoff(firstBackoffMs, longestBackoffMs);
  readonly #markSynced: () => void;
  readonly #selects: (labels: Readonly<Record<string, string>> | undefined) => boolean;
  #running: Promise<void> | undefined;
  #unsubscribe: () => void = () => undefined;
  #needsList = true;
  #errorsInRow = 0;
  #lastEventMs: number | undefined;

  constructor(options: ReflectorOptions<T>, deps: ReflectorDeps) {
    this.#options = options;
    this.#deps = deps;
    const { resource } = options;
    this.resource = resource;
    this.#name = resource.group ? `${resource.plural}.${resource.group}` : resource.plural;
    this.#log = deps.log.child({ reflector: this.#name });
    this.#selects = labelMatcher(options.labelSelector ?? "");
    this.store = newStore(options.indexes ?? {}, (change) => this.#tell(change));
    const { promise, resolve } = Promise.withResolvers<void>();
    this.synced = promise;
    this.#markSynced = resolve;
  }

  get lastResourceVersion(): string {
    return this.store.lastResourceVersion;
  }

  readonly health = (): ReflectorHealth => ({
    name: this.#name,
    synced: this.store.synced,
    absent: this.absent,
    lastEventAgeMs: this.#lastEventMs === undefined ? undefined : this.#deps.clock.monotonicMs() - this.#lastEventMs,
  });

  readonly #reportAge = (): void => {
    const ageMs = this.health().lastEventAgeMs;
    if (ageMs !== undefined) this.#deps.metrics.lastEventSeconds.set({ name: this.#name }, ageMs / 1000);
  };

  start(): void {
    this.#unsubscribe =
      this.#deps.feed?.subscribe(this.#options.resource, {
        written: (object) => this.#takeOwnWrite(object as T),
        removed: (uid) => this.store.ownDelete(uid),
      }) ?? this.#unsubscribe;
    this.#deps.metrics.beforeScrape.add(this.#reportAge);
    this.#running ??= this.#run();
  }

  async stop(): Promise<void> {
    this.#unsubscribe();
    this.#deps.metrics.beforeScrape.delete(this.#reportAge);
    this.#callbacks.clear();
    this.#stopping.abort(new Error("the reflector stops"));
    await this.#running;
  }

  onChange(callback: (change: Change<T>) => void): () => void {
    this.#callbacks.add(callback);
    return () => void this.#callbacks.delete(callback);
  }

  async waitUntilAtLeast(resourceVersion: string, timeoutMs: number): Promise<boolean> {
    const reached = (): boolean => compareVersions(this.lastResourceVersion, resourceVersion) >= 0;
    if (reached()) return true;
    const arrived = new AbortController();
    const look = (): void => void (reached() && arrived.abort());
    this.#waiting.add(look);
    await pause(this.#deps.clock, timeoutMs, arrived.signal);
    this.#waiting.delete(look);
    return reached();
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      let waitMs: number;
      try {
        if (this.#needsList) await this.#list();
        waitMs = this.absent ? this.#absentRetryMs() : await this.#watch();
      } catch (error) {
        if (signal.aborted) return;
        waitMs = this.#afterFailure(error);
      }
      await pause(this.#deps.clock, waitMs, AbortSignal.any([signal, this.#hint.signal]));
      this.#hint = new AbortController();
    }
  }

  lookAgain(): void {
    this.#hint.abort();
  }

  #absentRetryMs(): number {
    return (this.#options.absentRetryMs ?? 30_000) * (1 + Math.random() / 4);
  }

  async #list(): Promise<void> {
    const { resource, namespace, labelSelector, fieldSelector, metadataOnly } = this.#options;
    this.#deps.metrics.relists.inc({ name: this.#name });
    const accept = metadataOnly ? metadataAccept("PartialObjectMetadataList") : undefined;
    try {
      const list = await listAll(this.#deps.transport, resource, namespace, { labelSelector, fieldSelector }, accept);
      if (this.#stopping.signal.aborted) return;
      if (this.absent) this.#log.info({}, "resource is served now");
      this.absent = false;
      this.#replace(
        list.items.map((item) => this.#admit(item)),
        list.resourceVersion,
      );
      this.#needsList = false;
    } catch (error) {
      if (!(error instanceof ApiError && error.status === 404)) throw error;
      if (!this.absent) this.#log.info({}, "resource is not served");
      this.absent = true;
      this.#replace([], "");
    }
  }

  #replace(items: readonly T[], resourceVersion: string): void {
    this.store.replace(items, resourceVersion, !this.store.synced);
    this.store.markSynced();
    this.#alive();
    this.#markSynced();
  }

  /** One watch until the server ends it; the time to wait before the next. */
  async #watch(): Promise<number> {
    const { resource, namespace, labelSelector, fieldSelector, metadataOnly, quietWatchSeconds } = this.#options;
    const timeoutSeconds = quietWatchSeconds ?? Math.round(300 + 300 * Math.random());
    const { silenceMs = quietWatchSeconds === undefined ? 150_000 : quietWatchSeconds * 1000 + 15_000 } = this.#options;
    const query = {
      watch: true,
      resourceVersion: this.lastResourceVersion,
      allowWatchBookmarks: true,
      timeoutSeconds,
      labelSelector,
      fieldSelector,
    };
    this.#deps.metrics.watches.inc({ name: this.#name });
    const openedMs = this.#deps.clock.monotonicMs();
    let lines = 0;
    await this.#deps.transport.stream({
      path: pathOf(resource, namespace, undefined, undefined, query),
      accept: metadataOnly ? metadataAccept("PartialObjectMetadata") : undefined,
      signal: this.#stopping.signal,
      silenceMs,
      onLine: (line) => {
        lines++;
        this.#line(line);
      },
    });
    const lived = this.#deps.clock.monotonicMs() - openedMs;
    if (quietWatchSeconds !== undefined && lived > quietWatchSeconds * 900) this.#recovered();
    // A server or proxy that ends watches at once must not be asked in a tight loop.
    return lines > 0 || lived > firstBackoffMs ? 0 : this.#backoff.nextMs();
  }

  #line(line: string): void {
    const event = JSON.parse(line) as { type?: string; object?: unknown };
    if (event.type === "ERROR") throw streamError(event.object);
    const { resource } = this.#options;
    const object = asObject<T>(event.object, resource);
    switch (event.type) {
      case "BOOKMARK":
        this.store.advance(object.metadata.resourceVersion ?? "");
        break;
      case "ADDED":
      case "MODIFIED":
      case "DELETED":
        if (event.type !== "DELETED" && this.store.knows(object)) {
          this.store.advance(object.metadata.resourceVersion ?? "");
        } else this.store.event(event.type, this.#admit(object));
        break;
      default:
        throw new Error(`unknown watch event ${String(event.type)}`);
    }
    this.#deps.metrics.watchEvents.inc({ name: this.#name });
    this.#recovered();
  }

  #recovered(): void {
    this.#backoff.reset();
    this.#errorsInRow = 0;
    this.#alive();
  }

  #alive(): void {
    this.#lastEventMs = this.#deps.clock.monotonicMs();
    for (const look of this.#waiting) look();
  }

  #afterFailure(error: unknown): number {
    this.#deps.metrics.watchFailures.inc({ name: this.#name });
    const status = error instanceof ApiError ? error.status : undefined;
    this.#errorsInRow++;
    const waitMs = Math.max(this.#backoff.nextMs(), error instanceof ApiError ? (error.retryAfterMs ?? 0) : 0);
    // 404: the resource went away; the list will tell.
    if (status === 410 || status === 404 || this.#errorsInRow >= errorsBeforeRelist) this.#needsList = true;
    const fields = { status, error: messageOf(error), waitMs: Math.round(waitMs), relist: this.#needsList };
    if (this.#errorsInRow > 2) this.#log.warn(fields, "watch failed");
    else this.#log.debug(fields, "watch failed");
    // The first relist after a 410 is due at once: the cache is stale until then.
    return status === 410 && this.#errorsInRow === 1 ? 0 : waitMs;
  }

  #takeOwnWrite(object: T): void {
    const { namespace, fieldSelector, metadataOnly } = this.#options;
    if (metadataOnly || (namespace !== undefined && object.metadata.namespace !== namespace)) return;
    const mayAdd = fieldSelector === undefined && this.#selects(object.metadata.labels);
    this.store.ownWrite(this.#admit(object), mayAdd);
  }

  /** What enters the cache: without managedFields (but for the managers asked for), transformed, frozen. */
  #admit(object: T): T {
    const { keepManagers = [], keepEntry, transform } = this.#options;
    const { managedFields, ...metadata } = object.metadata;
    const kept =
      keepManagers.length > 0 || keepEntry
        ? managedFields?.filter((entry) => keepManagers.includes(entry.manager ?? "") || keepEntry?.(entry))
        : undefined;
    const slim = { ...object, metadata: kept && kept.length > 0 ? { ...metadata, managedFields: kept } : metadata };
    return deepFreeze(transform ? transform(slim) : slim);
  }

  #tell(change: Change<T>): void {
    this.#deps.metrics.cacheObjects.set({ name: this.#name }, this.store.size);
    for (const callback of this.#callbacks) {
      try {
        callback(change);
      } catch (error) {
        this.#log.error({ error: messageOf(error) }, "change callback threw");
      }
    }
  }
}

function metadataAccept(kind: string): string {
  return `application/json;as=${kind};g=meta.k8s.io;v=v1`;
}

/** An ERROR event carries a metav1.Status. */
function streamError(object: unknown): ApiError {
  const {
    code = 500,
    reason = "Unknown",
    message = "watch error",
    details,
  } = (object ?? {}) as {
    code?: number;
    reason?: string;
    message?: string;
    details?: { retryAfterSeconds?: number };
  };
  const expired = reason === "Expired" || reason === "Gone";
  return new ApiError({
    status: expired ? 410 : code,
    reason,
    message,
    retryAfterMs: details?.retryAfterSeconds === undefined ? undefined : details.retryAfterSeconds * 1000,
  });
}
