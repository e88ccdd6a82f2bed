/** Metrics of imports, in the registry of the process. */
import { Counter, Gauge, Histogram } from "prom-client";
import type { Registry } from "prom-client";

export const importOutcomes = ["imported", "unchanged", "inspected", "refused", "failed", "stopped"] as const;
export type ImportOutcome = (typeof importOutcomes)[number];
export type ImportMetrics = ReturnType<typeof newImportMetrics>;

export function newImportMetrics(registry: Registry) {
  const registers = [registry];
  const labelNames = ["outcome"] as const;
  const metrics = {
    bytes: new Counter({
      name: "berth_import_bytes_total",
      help: "Bytes of model files: copied into the store, resumed because an earlier attempt had copied them, or reused because an earlier revision holds them",
      labelNames,
      registers,
    }),
    partsRetried: new Counter({
      name: "berth_import_parts_retried_total",
      help: "Further tries of parts of files (a small file is one part) whose reading or storing failed in a way that passes",
      registers,
    }),
    seconds: new Histogram({
      name: "berth_import_seconds",
      help: "Duration of looks at a source, from listing to their end: imported, unchanged, inspected, refused, failed or stopped",
      labelNames,
      buckets: [1, 5, 15, 30, 60, 120, 300, 600, 1200, 2400, 3600, 7200, 14400],
      registers,
    }),
    active: new Gauge({
      name: "berth_import_active",
      help: "Models that are being inspected, copied or removed now",
      registers,
    }),
  };
  for (const outcome of ["copied", "resumed", "reused"]) metrics.bytes.inc({ outcome }, 0);
  for (const outcome of importOutcomes) metrics.seconds.zero({ outcome });
  return metrics;
}
