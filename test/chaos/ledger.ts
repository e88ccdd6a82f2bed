// The sealed windows of a directory ledger, read without any code of Berth's.
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import type { Seconds } from "./count.ts";

export interface LedgerRecord {
  readonly id: string;
  readonly deploymentUID: string;
  readonly windowStart: string;
  readonly from: string;
  readonly to: string;
  readonly claimedNodeSeconds: number;
  readonly desiredNodeSeconds: number;
  readonly billableNodeSeconds: number;
  readonly estimatedNodeSeconds: number;
  readonly claims: readonly { readonly id: string; readonly claimedAt: string; readonly releasedAt?: string }[];
}

/** Paths below the folder, '/' between segments. */
export function filesOf(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .sort();
}

/** Records of every window whose manifest (its commit) is there. */
export function sealedRecords(folder: string): LedgerRecord[] {
  return sealedLines(folder).map((line) => JSON.parse(line) as LedgerRecord);
}

/** The same as they stand there. */
export function sealedLines(folder: string): string[] {
  const manifests = filesOf(folder).filter((path) => path.endsWith("/manifest.json"));
  return manifests.flatMap((path) => {
    const { segment, segments = [] } = JSON.parse(readFileSync(join(folder, path), "utf8")) as Manifest;
    const keys = segment === undefined ? segments.map(({ key }) => key) : [segment];
    const lines = keys.flatMap((key) => linesOf(gunzipSync(readFileSync(join(folder, key))).toString("utf8")));
    return lines.filter((line) => (JSON.parse(line) as { schema: string }).schema === "berth.dev/capacity.v1");
  });
}

/** One segment, or one a shard. */
interface Manifest {
  readonly segment?: string;
  readonly segments?: readonly { readonly key: string }[];
}

/** The records of the events that a sink of JSON lines wrote, every delivery of it. */
export function deliveredLines(folder: string): string[] {
  const files = filesOf(folder).filter((path) => path.endsWith(".ndjson"));
  const events = files.flatMap((path) => linesOf(readFileSync(join(folder, path), "utf8")));
  return events.map((line) => JSON.stringify((JSON.parse(line) as { data: object }).data));
}

function linesOf(text: string): string[] {
  return text.split("\n").filter((line) => line !== "");
}

/** Sums by deployment UID. */
export function totals(records: readonly LedgerRecord[]): Map<string, Seconds> {
  const sums = new Map<string, Seconds>();
  for (const record of records) {
    const { claimed, desired, billable } = sums.get(record.deploymentUID) ?? { claimed: 0, desired: 0, billable: 0 };
    sums.set(record.deploymentUID, {
      claimed: claimed + record.claimedNodeSeconds,
      desired: desired + record.desiredNodeSeconds,
      billable: billable + record.billableNodeSeconds,
    });
  }
  return sums;
}
