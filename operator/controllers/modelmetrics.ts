/** Metrics of imports, in the registry of the process. */
import { Counter, Gauge, Histogram } from "prom-client";
import type { Registry } from "prom-client";

export type ImportMetrics = ReturnType<typeof newImportMetrics>;

export function newImportMetrics(registry: Registry) {
  const registers = [registry];
  return {
    bytes: new Counter({
      name: "berth_import_bytes_total",
      help: "Bytes of model files copied into the store",
      registers,
    }),
    seconds: new Histogram({
      name: "berth_import_seconds",
      help: "Duration of imports that copied a revision, from listing to commit",
      buckets: [1, 5, 15, 30, 60, 120, 300, 600, 1200, 2400, 3600, 7200, 14400],
      registers,
    }),
    active: new Gauge({
      name: "berth_import_active",
      help: "Models that are being inspected, copied or removed now",
      registers,
    }),
  };
}
