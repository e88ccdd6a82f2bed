/**
 * The controller loop: takes keys from its queue, runs reconcile, and alone decides what a failure means for the next try.
 * Level-triggered: a key says "look", never what happened.
 */
import { randomUUID } from "node:crypto";
import { setImmediate as turnOfTheLoop } from "node:timers/promises";

import type { Clock, KubeObject, Log, Outcome } from "../ports.ts";
import { classify, messageOf } from "./errors.ts";
import type { Failure } from "./errors.ts";
import type { RuntimeMetrics } from "./metrics.ts";
import { newQueue, priority } from "./queue.ts";
import type { AddOptions, Lease, Queue } from "./queue.ts";
import type { Reflector } from "./reflector.ts";
import type { Change } from "./store.ts";
import type { Tidy } from "./tidy.ts";

export interface ControllerOptions {
  /** Label of all its metrics and log lines. */
  readonly name: string;
  /** Throws the errors of errors.ts. `log` carries controller, key and a reconcileId. */
  readonly reconcile: (key: string, log: Log) => Promise<Outcome>;
  /** Default 1. */
  readonly concurrency?: number;
  /** All keys that exist, for the resync; without it there is none. */
  readonly resyncKeys?: () => Iterable<string>;
  /** Default 10 h, ±10 %. */
  readonly resyncMs?: number;
  readonly backoffBaseMs?: number;
  readonly backoffCapMs?: number;
}

export interface ControllerDeps {
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: RuntimeMetrics;
  /** Told of each reconcile, so that memory is given back when they end. */
  readonly tidy?: Pick<Tidy, "worked">;
}

export interface Controller {
  readonly name: string;
  add(key: string, options?: AddOptions): void;
  /** Call it once the caches have synced. */
  start(): void;
  /** Running keys finish, no other begins (API server away, leadership in doubt). */
  pause(): void;
  /** Goes on; keys that wait for a retry are due within two seconds. */
  resume(): void;
  /** Resolves when the running keys have finished. */
  stop(): Promise<void>;
  readonly queue: Queue;
}

/** A bug does not pass by itself, yet the next version of an object may avoid it. */
const afterBugMs = 60_000;
const longestRetryAfterMs = 300_000;
/** Not a retry in the hope that it passes by itself: a look whether somebody has mended it. */
const terminalRetryMs = 60_000;
/** How long reconciles that never wait may keep the event loop for themselves. */
const longestTurnMs = 10;

/** Makes a controller with its own queue; it takes keys at once and works from start() on. */
export function newController(options: ControllerOptions, deps: ControllerDeps): Controller {
  const { name, backoffBaseMs, backoffCapMs } = options;
  const queue = newQueue({ name, clock: deps.clock, metrics: deps.metrics, backoffBaseMs, backoffCapMs });
  const worker = newWorker(options, deps, queue);
  let workers: readonly Promise<void>[] = [];
  let cancelResync = (): void => undefined;
  const scheduleResync = (): void => {
    const { resyncKeys, resyncMs = 36_000_000 } = options;
    if (!resyncKeys) return;
    cancelResync = deps.clock.after(resyncMs * (0.9 + Math.random() / 5), () => {
      for (const key of resyncKeys()) queue.add(key, { priority: priority.background });
      scheduleResync();
    });
  };
  initialise(deps.metrics, name, options.concurrency ?? 1);
  return {
    name,
    queue,
    add: (key, addOptions) => queue.add(key, addOptions),
    start() {
      if (workers.length > 0) return;
      workers = Array.from({ length: options.concurrency ?? 1 }, () => worker());
      scheduleResync();
    },
    pause: () => queue.pause(),
    resume() {
      queue.retrySoon(2_000);
      queue.resume();
    },
    async stop() {
      cancelResync();
      queue.shut();
      await Promise.all(workers);
    },
  };
}

/**
 * Adds a controller's keys for each change of a reflector: `keysOf` names them. The first list comes in the background,
 * behind live changes. Returns how to end it.
 */
export function feedController<T extends KubeObject>(
  reflector: Reflector<T>,
  controller: Pick<Controller, "add">,
  keysOf: (change: Change<T>) => Iterable<string>,
  addOptions: (change: Change<T>) => AddOptions = () => ({}),
): () => void {
  return reflector.onChange((change) => {
    const options = change.initial ? { priority: priority.background } : addOptions(change);
    for (const key of keysOf(change)) controller.add(key, options);
  });
}

function newWorker(options: ControllerOptions, deps: ControllerDeps, queue: Queue): () => Promise<void> {
  const { clock, metrics } = deps;
  const labels = { controller: options.name };
  const log = deps.log.child({ controller: options.name });
  let turnSinceMs = clock.monotonicMs();
  return async function work(): Promise<void> {
    for (let lease = await queue.next(); lease; lease = await queue.next()) {
      if (clock.monotonicMs() - turnSinceMs > longestTurnMs) {
        await turnOfTheLoop();
        turnSinceMs = clock.monotonicMs();
      }
      metrics.activeWorkers.inc(labels);
      const startedMs = clock.monotonicMs();
      const child = log.child({ key: lease.key, reconcileId: randomUUID() });
      try {
        settle(queue, lease, await options.reconcile(lease.key, child), options.name, metrics);
      } catch (error) {
        fail(queue, lease, classify(error), child, options.name, metrics);
      }
      metrics.activeWorkers.dec(labels);
      metrics.reconcileSeconds.observe(labels, (clock.monotonicMs() - startedMs) / 1000);
      deps.tidy?.worked();
      queue.done(lease.key);
    }
  };
}

function settle(queue: Queue, lease: Lease, outcome: Outcome, controller: string, metrics: RuntimeMetrics): void {
  queue.forget(lease.key);
  const { requeueAfterMs } = outcome;
  metrics.reconciles.inc({ controller, result: requeueAfterMs === undefined ? "success" : "requeue_after" });
  if (requeueAfterMs !== undefined) queue.add(lease.key, { priority: lease.priority, delayMs: requeueAfterMs });
}

function fail(
  queue: Queue,
  lease: Lease,
  failure: Failure,
  log: Log,
  controller: string,
  metrics: RuntimeMetrics,
): void {
  const again = (atLeastMs = 0, jitter = 0): number =>
    Math.round(queue.addFailed(lease.key, { priority: lease.priority, atLeastMs, jitter }));
  const fields = { error: messageOf(failure.error), cause: causeOf(failure.error) };
  metrics.reconciles.inc({ controller, result: failure.kind === "conflict" ? "requeue" : "error" });
  switch (failure.kind) {
    case "conflict":
      metrics.reconcileConflicts.inc({ controller });
      log.debug({ ...fields, retryMs: again() }, "object has moved on");
      return;
    case "terminal":
      queue.forget(lease.key);
      metrics.reconcileErrors.inc({ controller });
      metrics.terminalErrors.inc({ controller });
      log.error({ ...fields, reason: failure.error.reason }, "reconcile failed for good");
      // What a person mends outside the cluster (a bucket, a policy) makes no event.
      queue.add(lease.key, { priority: priority.background, delayMs: terminalRetryMs });
      return;
    case "retry": {
      metrics.reconcileErrors.inc({ controller });
      const retryMs = again(Math.min(longestRetryAfterMs, failure.error.afterMs ?? 0), 0.25);
      const failures = queue.failures(lease.key);
      // The first failures of a short outage say nothing that its metrics do not.
      log[failures > 3 ? "warn" : "debug"]({ ...fields, failures, retryMs }, "reconcile is retried");
      return;
    }
    case "bug": {
      metrics.reconcileErrors.inc({ controller });
      metrics.reconcilePanics.inc({ controller });
      const stack = failure.error instanceof Error ? failure.error.stack : undefined;
      log.error({ ...fields, stack, retryMs: again(afterBugMs) }, "reconcile failed by a bug");
    }
  }
}

function causeOf(error: unknown): string | undefined {
  return error instanceof Error && error.cause instanceof Error ? error.cause.name : undefined;
}

/** Series that exist from the start let an alert see their first increase. */
function initialise(metrics: RuntimeMetrics, controller: string, concurrency: number): void {
  for (const result of ["success", "error", "requeue", "requeue_after"])
    metrics.reconciles.inc({ controller, result }, 0);
  metrics.reconcileErrors.inc({ controller }, 0);
  metrics.terminalErrors.inc({ controller }, 0);
  metrics.reconcilePanics.inc({ controller }, 0);
  metrics.reconcileTimeouts.inc({ controller }, 0);
  metrics.reconcileConflicts.inc({ controller }, 0);
  metrics.activeWorkers.set({ controller }, 0);
  metrics.maxConcurrent.set({ controller }, concurrency);
}
