/**
 * Kubernetes Events (events.k8s.io/v1) for people: aggregated into series, bounded, written in the background. Nothing
 * depends on them, so nothing here throws or waits, and an equal repeat soon after costs no request.
 */
import type { Clock, EventRecorder, KubeObject, Log, Resource } from "../ports.ts";
import { apiVersionOf, pathOf } from "./client.ts";
import { ApiError, messageOf } from "./errors.ts";
import { microTime } from "./leader.ts";
import type { Transport } from "./transport.ts";

const events: Resource = {
  group: "events.k8s.io",
  version: "v1",
  plural: "events",
  kind: "Event",
  namespaced: true,
};

type Subject = Parameters<EventRecorder["emit"]>[0];
type Notice = Parameters<EventRecorder["emit"]>[1];

export interface EventOptions {
  /** Reporting controller, e.g. `berth.dev/operator`. */
  readonly controller: string;
  /** Reporting instance, e.g. the pod's name. */
  readonly instance: string;
  /** Namespace of events about cluster-scoped objects. Default `default`, as kubectl describe expects. */
  readonly clusterNamespace?: string;
}

export interface EventDeps {
  readonly transport: Transport;
  readonly clock: Clock;
  readonly log: Log;
}

export interface Recorder extends EventRecorder {
  /** Writes what is pending; resolves after at most `timeoutMs`. Nothing is recorded afterwards. */
  stop(timeoutMs?: number): Promise<void>;
}

interface Series {
  /** Path of the event that was made. */
  path: string | undefined;
  count: number;
  /** Repeats that the server has not been told of. */
  untold: number;
  lastMs: number;
  toldMs: number;
}

/** Equal events within this time are one series (events.k8s.io: six minutes without a repeat end it). */
const seriesMs = 360_000;
/** A running series is told of at most so often. */
const tellMs = 300_000;
const mostSeries = 4_096;
const mostQueued = 1_000;
/** Token bucket per object, as client-go's spam filter: 25 at once, then one every five minutes. */
const burst = 25;
const refillMs = 300_000;
const longestNote = 1_024;

/** Recorder over one transport. */
export function newRecorder(options: EventOptions, deps: EventDeps): Recorder {
  return new SeriesRecorder(options, deps);
}

class SeriesRecorder implements Recorder {
  readonly #options: EventOptions;
  readonly #deps: EventDeps;
  readonly #series = new Map<string, Series>();
  readonly #buckets = new Map<string, { tokens: number; sinceMs: number }>();
  readonly #pending: (() => Promise<void>)[] = [];
  #writing: Promise<void> | undefined;
  #serial = 0;
  #stopped = false;

  constructor(options: EventOptions, deps: EventDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  emit(about: Subject, event: Notice): void {
    if (this.#stopped) return;
    const nowMs = this.#deps.clock.now();
    const { namespace, name, uid } = about.metadata;
    const key = JSON.stringify([
      about.kind,
      namespace,
      name,
      uid,
      event.type,
      event.reason,
      event.action,
      event.message,
    ]);
    const series = this.#series.get(key);
    if (series && nowMs - series.lastMs < seriesMs) this.#repeat(series, nowMs);
    else this.#begin(key, about, event, nowMs);
  }

  async stop(timeoutMs = 2_000): Promise<void> {
    this.#stopped = true;
    const { promise, resolve } = Promise.withResolvers<void>();
    const cancel = this.#deps.clock.after(timeoutMs, resolve);
    await Promise.race([promise, this.#writing]);
    cancel();
    this.#pending.length = 0;
  }

  #begin(key: string, about: Subject, event: Notice, nowMs: number): void {
    const { namespace, uid, name } = about.metadata;
    if (!this.#mayWrite(uid ?? `${about.kind}/${namespace}/${name}`, nowMs)) return;
    const series: Series = { path: undefined, count: 1, untold: 0, lastMs: nowMs, toldMs: nowMs };
    // Moved to the end, so that the oldest is first when room is needed.
    this.#series.delete(key);
    this.#series.set(key, series);
    this.#forgetOldest();
    const body = this.#body(about, event, nowMs);
    const path = pathOf(events, body.metadata.namespace, undefined);
    this.#enqueue(async () => {
      await this.#send("POST", path, "application/json", body);
      series.path = pathOf(events, body.metadata.namespace, body.metadata.name);
    });
  }

  #repeat(series: Series, nowMs: number): void {
    series.count++;
    series.untold++;
    series.lastMs = nowMs;
    const { path } = series;
    if (path === undefined || nowMs - series.toldMs < tellMs) return;
    series.toldMs = nowMs;
    series.untold = 0;
    const body = { series: { count: series.count, lastObservedTime: microTime(nowMs) } };
    this.#enqueue(() => this.#send("PATCH", path, "application/merge-patch+json", body));
  }

  #mayWrite(subject: string, nowMs: number): boolean {
    const bucket = this.#buckets.get(subject) ?? { tokens: burst, sinceMs: nowMs };
    const refilled = Math.floor((nowMs - bucket.sinceMs) / refillMs);
    const tokens = Math.min(burst, bucket.tokens + refilled);
    this.#buckets.delete(subject);
    this.#buckets.set(subject, { tokens: Math.max(0, tokens - 1), sinceMs: bucket.sinceMs + refilled * refillMs });
    return tokens > 0;
  }

  #forgetOldest(): void {
    for (const map of [this.#series, this.#buckets]) {
      const [oldest] = map.keys();
      if (map.size > mostSeries && oldest !== undefined) map.delete(oldest);
    }
  }

  #body(about: Subject, event: Notice, nowMs: number) {
    const { namespace, name, uid, resourceVersion } = about.metadata;
    const eventNamespace = namespace ?? this.#options.clusterNamespace ?? "default";
    const { apiVersion, kind } = about;
    const serial = `${nowMs.toString(16)}.${(this.#serial++).toString(16)}`;
    return {
      apiVersion: apiVersionOf(events),
      kind: events.kind,
      metadata: { namespace: eventNamespace, name: `${name.slice(0, 200)}.${serial}` },
      eventTime: microTime(nowMs),
      reportingController: this.#options.controller,
      reportingInstance: this.#options.instance.slice(0, 128),
      type: event.type,
      reason: event.reason,
      action: event.action ?? event.reason,
      note: event.message.slice(0, longestNote),
      regarding: { apiVersion, kind, name, uid, resourceVersion, namespace },
    } satisfies KubeObject & Record<string, unknown>;
  }

  #enqueue(write: () => Promise<void>): void {
    if (this.#pending.length >= mostQueued) return;
    this.#pending.push(write);
    this.#writing ??= this.#drain();
  }

  async #drain(): Promise<void> {
    for (let write = this.#pending.shift(); write; write = this.#pending.shift()) {
      try {
        await write();
      } catch (error) {
        const status = error instanceof ApiError ? error.status : undefined;
        this.#deps.log.debug({ status, error: messageOf(error) }, "event was not recorded");
      }
    }
    this.#writing = undefined;
  }

  async #send(method: "POST" | "PATCH", path: string, contentType: string, body: object): Promise<void> {
    await this.#deps.transport.request({ method, path, contentType, body: JSON.stringify(body), timeoutMs: 5_000 });
  }
}
