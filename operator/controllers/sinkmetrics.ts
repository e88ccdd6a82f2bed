/** Prometheus series of the sinks. */
import { Counter, Gauge } from "prom-client";
import type { Registry } from "prom-client";

export type SinkMetrics = ReturnType<typeof newSinkMetrics>;

/** Registers the series; lags are asked at each scrape. */
export function newSinkMetrics(registry: Registry) {
  const lags = new Map<string, () => number>();
  new Gauge({
    name: "berth_sink_oldest_unacked_seconds",
    help: "Seconds since the end of the oldest sealed window that a sink has not acknowledged; 0 where none is owed",
    labelNames: ["sink"] as const,
    registers: [registry],
    collect() {
      for (const [sink, lag] of lags) this.set({ sink }, lag());
    },
  });
  const records = new Counter({
    name: "berth_sink_records_total",
    help: "Records that sinks took or refused for good, by this process",
    labelNames: ["sink", "result"] as const,
    registers: [registry],
  });
  return {
    followLag(sink: string, lag: () => number): void {
      lags.set(sink, lag);
      // Prometheus sees a series grow only from a value that it has seen.
      for (const result of ["delivered", "quarantined"]) records.inc({ sink, result }, 0);
    },
    records,
    failures: new Counter({
      name: "berth_sink_failures_total",
      help: "Deliveries that failed and are repeated",
      labelNames: ["sink"] as const,
      registers: [registry],
    }),
  };
}
