/** Prometheus series of the sealer. */
import { Counter, Gauge } from "prom-client";
import type { Registry } from "prom-client";

export interface CapacityValue {
  readonly labels: Readonly<Record<"namespace" | "deployment" | "deployment_uid" | "sku" | "basis", string>>;
  readonly value: number;
}

export type LedgerMetrics = ReturnType<typeof newLedgerMetrics>;

/** Registers the series; `lagSeconds` is asked at each scrape. */
export function newLedgerMetrics(registry: Registry) {
  let lagSeconds = (): number => 0;
  new Gauge({
    name: "berth_ledger_seal_lag_seconds",
    help: "Seconds since the end of the oldest window that is due and not sealed; 0 where nothing is due or another replica leads",
    registers: [registry],
    collect() {
      this.set(lagSeconds());
    },
  });
  let capacity = (): readonly CapacityValue[] => [];
  new Counter({
    name: "berth_capacity_node_seconds_total",
    help: "Node-seconds in sealed windows by basis, since the deployment began; the leader's, and the same after a restart",
    labelNames: ["namespace", "deployment", "deployment_uid", "sku", "basis"] as const,
    registers: [registry],
    collect() {
      this.reset();
      for (const { labels, value } of capacity()) this.inc(labels, value);
    },
  });
  return {
    followCapacity: (source: () => readonly CapacityValue[]): void => void (capacity = source),
    followLag: (source: () => number): void => void (lagSeconds = source),
    windowsSealed: new Counter({
      name: "berth_ledger_windows_sealed_total",
      help: "Windows sealed by this process",
      registers: [registry],
    }),
    conflicts: new Counter({
      name: "berth_ledger_conflicts_total",
      help: "Objects that were found in the ledger with other bytes than this process would have written; they were kept",
      registers: [registry],
    }),
    headMismatch: new Gauge({
      name: "berth_ledger_head_mismatch",
      help: "1 while the ledger's newest windows are not those that this cluster sealed last; nothing is sealed until that is settled",
      registers: [registry],
    }),
    unconditional: new Gauge({
      name: "berth_ledger_unconditional_writes",
      help: "1 while the ledger's store does not honour If-None-Match, so that objects are looked for before they are written",
      registers: [registry],
    }),
    failures: new Counter({
      name: "berth_ledger_failures_total",
      help: "Passes of the sealer that failed and are repeated",
      registers: [registry],
    }),
  };
}
