/**
 * Keyed work queue: a key is worked on by one worker at a time, waits at most once, and is never lost. Delays, per-key
 * backoff and priorities as in controller-runtime's priority queue. Knows keys, never objects; runs nothing itself.
 */
import type { Clock } from "../ports.ts";
import { Heap } from "./heap.ts";
import { newLevels } from "./levels.ts";
import type { Links } from "./levels.ts";
import type { RuntimeMetrics } from "./metrics.ts";

/** Higher first; any integer will do, these are the ones in use. */
export const priority = {
  /** The last step of an object: its result is reported before new work is begun. */
  finishing: 100,
  live: 0,
  /** First lists and resyncs. */
  background: -100,
} as const;

export interface AddOptions {
  /** Default `priority.live`. */
  readonly priority?: number;
  readonly delayMs?: number;
}

export interface FailedOptions {
  readonly priority?: number;
  /** Shortest delay, before the jitter. */
  readonly atLeastMs?: number;
  /** Up to this share of the delay is added at random, so that keys which failed together do not return together. */
  readonly jitter?: number;
}

/** A key that a worker holds until it calls done(). */
export interface Lease {
  readonly key: string;
  readonly priority: number;
}

export interface Queue {
  /** Waiting keys merge: the higher priority and the earlier time win. A held key runs once more after done(). */
  add(key: string, options?: AddOptions): void;
  /** Adds with the next backoff of this key; answers the delay. */
  addFailed(key: string, options?: FailedOptions): number;
  /** Ends the backoff of a key. */
  forget(key: string): void;
  /** Failures since the last forget(). */
  failures(key: string): number;
  /** The next due key, or undefined once the queue is shut. Waits while it is paused or empty. */
  next(): Promise<Lease | undefined>;
  /** Gives a key back. */
  done(key: string): void;
  /** next() waits from now on. */
  pause(): void;
  resume(): void;
  /** Makes keys that wait for a retry due within `withinMs`, spread evenly. */
  retrySoon(withinMs: number): void;
  /** No key is handed out any more; timers end. */
  shut(): void;
  /** Due keys that wait for a worker. */
  readonly depth: number;
  /** All waiting keys, delayed ones included. */
  readonly waiting: number;
}

export interface QueueOptions {
  readonly name: string;
  readonly clock: Clock;
  readonly metrics: RuntimeMetrics;
  /** First backoff; doubles per failure. Default 5. */
  readonly backoffBaseMs?: number;
  /** Default 5 minutes. */
  readonly backoffCapMs?: number;
}

interface Entry extends Links<Entry> {
  readonly key: string;
  priority: number;
  dueMs: number;
  readonly serial: number;
  place: number;
  /** When it became due; for the metric. */
  readySinceMs: number;
}

/** Makes an empty queue. */
export function newQueue(options: QueueOptions): Queue {
  return new KeyedQueue(options);
}

class KeyedQueue implements Queue {
  readonly #clock: Clock;
  readonly #metrics: RuntimeMetrics;
  readonly #labels: { readonly name: string; readonly controller: string };
  readonly #baseMs: number;
  readonly #capMs: number;
  readonly #waiting = new Map<string, Entry>();
  readonly #due = newLevels<Entry>();
  readonly #delayed = new Heap<Entry>();
  /** Held keys and since when. */
  readonly #held = new Map<string, number>();
  /** Adds to held keys, to be carried out by done(). */
  readonly #again = new Map<string, { priority: number; dueMs: number }>();
  readonly #failures = new Map<string, number>();
  readonly #takers: ((lease: Lease | undefined) => void)[] = [];
  #cancelTimer: (() => void) | undefined;
  #timerMs = Infinity;
  #serial = 0;
  #paused = false;
  #shut = false;

  constructor(options: QueueOptions) {
    this.#clock = options.clock;
    this.#metrics = options.metrics;
    this.#labels = { name: options.name, controller: options.name };
    this.#baseMs = options.backoffBaseMs ?? 5;
    this.#capMs = options.backoffCapMs ?? 300_000;
    this.#metrics.queueAdds.inc(this.#labels, 0);
    this.#metrics.queueRetries.inc(this.#labels, 0);
    this.#metrics.beforeScrape.add(this.#report);
  }

  get depth(): number {
    return this.#due.size;
  }

  get waiting(): number {
    return this.#waiting.size + this.#again.size;
  }

  add(key: string, options: AddOptions = {}): void {
    const delayMs = Math.max(0, options.delayMs ?? 0);
    this.#addAt(key, options.priority ?? priority.live, this.#clock.monotonicMs() + delayMs);
  }

  addFailed(key: string, options: FailedOptions = {}): number {
    const failures = this.failures(key);
    this.#failures.set(key, failures + 1);
    this.#metrics.queueRetries.inc(this.#labels);
    const backoffMs = Math.min(this.#capMs, this.#baseMs * 2 ** Math.min(failures, 40));
    const delayMs = Math.max(backoffMs, options.atLeastMs ?? 0) * (1 + (options.jitter ?? 0) * Math.random());
    this.add(key, { priority: options.priority, delayMs });
    return delayMs;
  }

  forget(key: string): void {
    this.#failures.delete(key);
  }

  failures(key: string): number {
    return this.#failures.get(key) ?? 0;
  }

  next(): Promise<Lease | undefined> {
    if (this.#shut) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      this.#takers.push(resolve);
      this.#serve();
    });
  }

  done(key: string): void {
    const sinceMs = this.#held.get(key);
    if (sinceMs === undefined) throw new Error("done() for a key that nobody holds");
    this.#held.delete(key);
    this.#metrics.workSeconds.observe(this.#labels, (this.#clock.monotonicMs() - sinceMs) / 1000);
    const again = this.#again.get(key);
    this.#again.delete(key);
    if (again) this.#addAt(key, again.priority, again.dueMs);
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#serve();
  }

  retrySoon(withinMs: number): void {
    const nowMs = this.#clock.monotonicMs();
    const failed = [...this.#delayed].filter((entry) => this.#failures.has(entry.key));
    failed.forEach((entry, at) => {
      this.#addAt(entry.key, entry.priority, nowMs + (withinMs * at) / failed.length);
    });
  }

  shut(): void {
    this.#shut = true;
    this.#cancelTimer?.();
    this.#metrics.beforeScrape.delete(this.#report);
    for (const take of this.#takers.splice(0)) take(undefined);
  }

  #addAt(key: string, level: number, dueMs: number): void {
    if (this.#shut) return;
    if (this.#held.has(key)) {
      const before = this.#again.get(key);
      this.#again.set(key, {
        priority: Math.max(level, before?.priority ?? level),
        dueMs: Math.min(dueMs, before?.dueMs ?? dueMs),
      });
      return;
    }
    const entry = this.#waiting.get(key);
    if (entry) this.#merge(entry, level, dueMs);
    else this.#insert(this.#newEntry(key, level, dueMs));
    this.#serve();
  }

  #newEntry(key: string, level: number, dueMs: number): Entry {
    const serial = this.#serial++;
    return { key, priority: level, dueMs, serial, place: -1, readySinceMs: 0, before: undefined, after: undefined };
  }

  #insert(entry: Entry): void {
    this.#waiting.set(entry.key, entry);
    if (entry.dueMs <= this.#clock.monotonicMs()) this.#makeDue(entry);
    else {
      this.#delayed.add(entry);
      this.#schedule();
    }
  }

  #merge(entry: Entry, level: number, dueMs: number): void {
    const isDue = entry.place === -1;
    if (level <= entry.priority && (isDue || dueMs >= entry.dueMs)) return;
    if (isDue) {
      this.#due.remove(entry, entry.priority);
      this.#gauge(entry.priority);
    } else this.#delayed.remove(entry);
    entry.priority = Math.max(entry.priority, level);
    entry.dueMs = Math.min(entry.dueMs, dueMs);
    if (isDue) this.#enter(entry);
    else this.#insert(entry);
  }

  #makeDue(entry: Entry): void {
    entry.readySinceMs = this.#clock.monotonicMs();
    this.#metrics.queueAdds.inc(this.#labels);
    this.#enter(entry);
  }

  #enter(entry: Entry): void {
    this.#due.append(entry, entry.priority);
    this.#gauge(entry.priority);
  }

  #gauge(level: number): void {
    this.#metrics.queueDepth.set({ ...this.#labels, priority: String(level) }, this.#due.sizeOf(level));
  }

  #schedule(): void {
    const first = this.#delayed.first();
    if (!first || (this.#cancelTimer && this.#timerMs <= first.dueMs)) return;
    this.#cancelTimer?.();
    this.#timerMs = first.dueMs;
    this.#cancelTimer = this.#clock.after(first.dueMs - this.#clock.monotonicMs(), () => {
      this.#cancelTimer = undefined;
      this.#ripen();
      this.#serve();
    });
  }

  #ripen(): void {
    const nowMs = this.#clock.monotonicMs();
    for (let entry = this.#delayed.first(); entry && entry.dueMs <= nowMs; entry = this.#delayed.first()) {
      this.#delayed.remove(entry);
      this.#makeDue(entry);
    }
    this.#schedule();
  }

  #serve(): void {
    while (this.#takers.length > 0 && !this.#paused && !this.#shut) {
      const entry = this.#due.take();
      if (!entry) return;
      const nowMs = this.#clock.monotonicMs();
      this.#waiting.delete(entry.key);
      this.#held.set(entry.key, nowMs);
      this.#gauge(entry.priority);
      this.#metrics.queueSeconds.observe(this.#labels, (nowMs - entry.readySinceMs) / 1000);
      this.#takers.shift()?.({ key: entry.key, priority: entry.priority });
    }
  }

  readonly #report = (): void => {
    const nowMs = this.#clock.monotonicMs();
    const ages = [...this.#held.values()].map((sinceMs) => (nowMs - sinceMs) / 1000);
    this.#metrics.unfinishedSeconds.set(
      this.#labels,
      ages.reduce((sum, age) => sum + age, 0),
    );
    this.#metrics.longestRunningSeconds.set(this.#labels, Math.max(0, ...ages));
  };
}
