/** Records of a window rebuilt from the evidence that lies in the ledger, beside the records themselves. */
import type { Quantities, UsageRecord } from "../api/ledger.ts";
import { newestEvidence } from "../plan/metering/adjust.ts";
import { canonicalJson } from "../plan/metering/canonical.ts";
import { addQuantities, quantityNames } from "../plan/metering/fold.ts";
import { meterRecords } from "../plan/metering/records.ts";
import { isEvidence } from "../plan/metering/segment.ts";
import type { Line } from "../plan/metering/segment.ts";
import { instantOfSeconds, secondsOf } from "../plan/metering/windows.ts";
import type { Ledger } from "../ports.ts";
import { committedLines, readManifest } from "./ledgerreads.ts";
import type { RecordedWindow } from "./ledgerreads.ts";

export interface Recomputed {
  readonly windowStart: string;
  readonly windowEnd: string;
  readonly namespace: string;
  readonly deploymentName: string;
  readonly deploymentUID: string;
  readonly sku: string;
  /** Sum of the window's records, adjustments included. */
  readonly recorded: Quantities;
  /** What the newest evidence gives; undefined where there is none (a build before it). */
  readonly recomputed: Quantities | undefined;
  readonly same: boolean;
  /** Lines of evidence, for whoever wants to count by hand. */
  readonly evidence: readonly Line[];
}

/** One answer a deployment and SKU, in the ledger's order. */
export async function* recompute(
  ledger: Ledger,
  { start, key, adjustedBy }: RecordedWindow,
  deploymentUID?: string,
): AsyncGenerator<Recomputed> {
  const windowStart = instantOfSeconds(start);
  const meters = new Map<string, Line[]>();
  for (const one of new Set([key, ...adjustedBy].filter((name) => name !== undefined))) {
    if (!(await ledger.get(one))) continue;
    const { manifest } = await readManifest(ledger, one);
    for await (const line of committedLines(ledger, manifest, deploymentUID)) {
      if (line.windowStart !== windowStart) continue;
      const meter = canonicalJson([line.deploymentUID, line.sku]);
      const known = meters.get(meter);
      if (known) known.push(line);
      else meters.set(meter, [line]);
    }
  }
  for (const lines of meters.values()) {
    const again = recomputeMeter(lines);
    if (again) yield again;
  }
}

function recomputeMeter(lines: readonly Line[]): Recomputed | undefined {
  const records = lines.filter((line): line is UsageRecord => !isEvidence(line));
  const evidence = lines.filter(isEvidence);
  const [first] = lines;
  if (!first) return undefined;
  const { windowStart, windowEnd, namespace, deploymentName, deploymentUID, sku } = first;
  const window = { start: secondsOf(windowStart), end: secondsOf(windowEnd) };
  const recorded = addQuantities(records);
  const at = { window, cut: window, clusterId: records[0]?.cluster ?? "" };
  const truth = evidence.length === 0 ? undefined : meterRecords(newestEvidence(lines), at);
  const recomputed = truth && addQuantities(truth);
  const same = recomputed !== undefined && quantityNames.every((name) => recomputed[name] === recorded[name]);
  return {
    windowStart,
    windowEnd,
    namespace,
    deploymentName,
    deploymentUID,
    sku,
    recorded,
    recomputed,
    same,
    evidence,
  };
}
