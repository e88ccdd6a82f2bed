/**
 * A sealed record as a CloudEvent 1.0 (JSON format). Everything is a function of the record and of its place in the ledger, so that
 * a second delivery carries the same id and the same bytes: receivers that know an id forget the second.
 */
import type { UsageRecord } from "../../api/ledger.ts";
import type { SinkWindow } from "../../ports.ts";
import { canonicalJson } from "../metering/canonical.ts";

/** The batch's bare media type: OpenMeter compares it as a whole, so no charset may follow. */
export const BATCH_CONTENT_TYPE = "application/cloudevents-batch+json";

/** Intermediaries must forward events of this size (CloudEvents 1.0 §Size Limits); above it claims are left out. */
const longestEventBytes = 64 * 1024;
const highestPosition = 99_999_999;

export interface UsageEvent {
  readonly specversion: "1.0";
  readonly type: string;
  readonly source: string;
  readonly id: string;
  /** Whom the usage is charged to. */
  readonly subject: string;
  /** Begin of the window: late deliveries still fall into the right hour. */
  readonly time: string;
  /** Sorts all events of a source in the order in which they were sealed; an adjustment stands in the window that brought it. */
  readonly sequence: string;
  readonly datacontenttype: "application/json";
  readonly data: object;
}

/** What a window has to say of its records. */
export type Places = Pick<SinkWindow, "start" | "positions">;

export function eventOf(record: UsageRecord, places: Places): UsageEvent {
  const event = (data: object): UsageEvent => ({
    specversion: "1.0",
    type: `dev.berth.capacity.${record.kind}.v1`,
    source: `//berth.dev/clusters/${record.cluster}/modeldeployments/${record.deploymentUID}`,
    id: record.id,
    subject: record.account,
    time: record.windowStart,
    sequence: sequenceOf(record, places),
    datacontenttype: "application/json",
    data,
  });
  const whole = event(record);
  if (Buffer.byteLength(canonicalJson(whole)) <= longestEventBytes) return whole;
  const { claims, ...rest } = record;
  return event({ ...rest, claimsLeftOut: claims.length });
}

/**
 * 12 digits of the begin of the window that carries the record, in seconds, and 8 of its position there: text that sorts like them.
 * Windows are sealed in the order of time and never changed, so neither a replay nor another size of batches gives another one.
 */
function sequenceOf({ id }: UsageRecord, { start, positions }: Places): string {
  const position = positions.get(id);
  if (position === undefined || position > highestPosition)
    throw new RangeError(`record ${id} has no place in its window`);
  return `${String(start).padStart(12, "0")}${String(position).padStart(8, "0")}`;
}

/** A JSON array, as `BATCH_CONTENT_TYPE` asks for. */
export function batchBody(records: readonly UsageRecord[], places: Places): string {
  return `[${records.map((record) => canonicalJson(eventOf(record, places))).join(",")}]`;
}

export function jsonLines(records: readonly UsageRecord[], places: Places): string {
  return records.map((record) => `${canonicalJson(eventOf(record, places))}\n`).join("");
}
