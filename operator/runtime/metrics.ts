/**
 * Metrics under controller-runtime's and client-go's names, so that existing dashboards and alerts work. A registry is a
 * value: one per process object, none global.
 */
import { Counter, Gauge, Histogram, Registry } from "prom-client";

const reconcileBuckets = [
  0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.25, 1.5, 1.75, 2,
  2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9, 10, 15, 20, 25, 30, 40, 50, 60,
];
const queueBuckets = [1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1, 10, 100, 1000];
const requestBuckets = [0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60];
const sizeBuckets = [64, 256, 512, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216];

/** Every series of the runtime; `newRuntimeMetrics` makes them, each module fills its own. */
export type RuntimeMetrics = ReturnType<typeof newRuntimeMetrics>;

/** Registers all series of the runtime in `registry` (a fresh one by default). */
export function newRuntimeMetrics(registry: Registry = new Registry()) {
  const beforeScrape = new Set<() => void>();
  return {
    registry,
    /** Called at each scrape: ages are computed then, not kept up to date in between. */
    beforeScrape,
    // Before the queue's: a scrape goes through the series in the order of their registration.
    ...reflectorMetrics(registry, beforeScrape),
    ...controllerMetrics(registry),
    ...queueMetrics(registry),
    ...clientMetrics(registry),
    ...leaderMetrics(registry),
  };
}

function controllerMetrics(registry: Registry) {
  const counter = (name: string, help: string) =>
    new Counter({
      name: `controller_runtime_${name}`,
      help,
      labelNames: ["controller"] as const,
      registers: [registry],
    });
  const gauge = (name: string, help: string) =>
    new Gauge({ name: `controller_runtime_${name}`, help, labelNames: ["controller"] as const, registers: [registry] });
  return {
    reconciles: new Counter({
      name: "controller_runtime_reconcile_total",
      help: "Reconciliations per controller and result",
      labelNames: ["controller", "result"] as const,
      registers: [registry],
    }),
    reconcileErrors: counter("reconcile_errors_total", "Reconciliations that failed and are retried"),
    terminalErrors: counter("terminal_reconcile_errors_total", "Reconciliations that failed for good"),
    reconcilePanics: counter("reconcile_panics_total", "Reconciliations that failed by a bug of ours"),
    reconcileTimeouts: counter(
      "reconcile_timeouts_total",
      "Reconciliations that timed out (there is no time limit: 0)",
    ),
    reconcileConflicts: counter(
      "reconcile_conflicts_total",
      "Reconciliations that met a newer object and are repeated",
    ),
    maxConcurrent: gauge("max_concurrent_reconciles", "Reconciliations that may run at once"),
    activeWorkers: gauge("active_workers", "Reconciliations that run now"),
    reconcileSeconds: new Histogram({
      name: "controller_runtime_reconcile_time_seconds",
      help: "Duration of reconciliations",
      labelNames: ["controller"] as const,
      buckets: reconcileBuckets,
      registers: [registry],
    }),
  };
}

function queueMetrics(registry: Registry) {
  const labelNames = ["name", "controller"] as const;
  const histogram = (name: string, help: string) =>
    new Histogram({ name, help, labelNames, buckets: queueBuckets, registers: [registry] });
  const gauge = (name: string, help: string) => new Gauge({ name, help, labelNames, registers: [registry] });
  const counter = (name: string, help: string) => new Counter({ name, help, labelNames, registers: [registry] });
  return {
    queueDepth: new Gauge({
      name: "workqueue_depth",
      help: "Keys that are due and wait for a worker",
      labelNames: ["name", "controller", "priority"] as const,
      registers: [registry],
    }),
    queueAdds: counter("workqueue_adds_total", "Keys that became due"),
    queueRetries: counter("workqueue_retries_total", "Keys added again with backoff"),
    queueSeconds: histogram("workqueue_queue_duration_seconds", "How long a due key waited for a worker"),
    workSeconds: histogram("workqueue_work_duration_seconds", "How long a worker held a key"),
    unfinishedSeconds: gauge("workqueue_unfinished_work_seconds", "Age of all keys held now, added up"),
    longestRunningSeconds: gauge("workqueue_longest_running_processor_seconds", "Age of the key held longest"),
  };
}

function clientMetrics(registry: Registry) {
  const labelNames = ["verb", "host"] as const;
  const histogram = (name: string, help: string, buckets: number[]) =>
    new Histogram({ name, help, labelNames, buckets, registers: [registry] });
  return {
    requests: new Counter({
      name: "rest_client_requests_total",
      help: "Requests to the API server by status code",
      labelNames: ["code", "method", "host"] as const,
      registers: [registry],
    }),
    requestRetries: new Counter({
      name: "rest_client_request_retries_total",
      help: "Requests repeated because the server asked for it",
      labelNames: ["code", "verb", "host"] as const,
      registers: [registry],
    }),
    requestSeconds: histogram("rest_client_request_duration_seconds", "Duration of requests", requestBuckets),
    requestBytes: histogram("rest_client_request_size_bytes", "Size of request bodies", sizeBuckets),
    responseBytes: histogram("rest_client_response_size_bytes", "Size of response bodies", sizeBuckets),
    rateLimiterSeconds: histogram(
      "rest_client_rate_limiter_duration_seconds",
      "Waiting time imposed by the client (there is no client-side limit: empty)",
      requestBuckets,
    ),
  };
}

function reflectorMetrics(registry: Registry, beforeScrape: ReadonlySet<() => void>) {
  const labelNames = ["name"] as const;
  const counter = (name: string, help: string) => new Counter({ name, help, labelNames, registers: [registry] });
  const gauge = (name: string, help: string) => new Gauge({ name, help, labelNames, registers: [registry] });
  return {
    relists: counter("reflector_lists_total", "Full lists, the first one included"),
    watches: counter("reflector_watches_total", "Watches opened"),
    watchFailures: counter("reflector_watch_failures_total", "Lists and watches that failed"),
    watchEvents: counter("reflector_events_total", "Watch events received, bookmarks included"),
    cacheObjects: gauge("reflector_objects", "Objects in the cache"),
    lastEventSeconds: new Gauge({
      name: "reflector_last_event_age_seconds",
      help: "Age of the last sign of life of the watch",
      labelNames,
      registers: [registry],
      collect() {
        for (const refresh of beforeScrape) refresh();
      },
    }),
  };
}

function leaderMetrics(registry: Registry) {
  const labelNames = ["name"] as const;
  return {
    leaderStatus: new Gauge({
      name: "leader_election_master_status",
      help: "1 while this process holds the Lease",
      labelNames,
      registers: [registry],
    }),
    leaderSlowpath: new Counter({
      name: "leader_election_slowpath_total",
      help: "Renewals that had to read the Lease first",
      labelNames,
      registers: [registry],
    }),
  };
}
