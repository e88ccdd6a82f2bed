/**
 * A sealed record as a CloudEvent 1.0 (JSON format). Everything is a function of the record, so that a second delivery carries
 * the same id and the same bytes: receivers that know an id forget the second.
 */
import type { UsageRecord } from "../../api/ledger.ts";
import { canonicalJson } from "../metering/canonical.ts";
import { secondsOf } from "../metering/windows.ts";

/** The batch's bare media type: OpenMeter compares it as a whole, so no charset may follow. */
export const BATCH_CONTENT_TYPE = "application/cloudevents-batch+json";

/** Intermediaries must forward events of this size (CloudEvents 1.0 §Size Limits); above it claims are left out. */
const longestEventBytes = 64 * 1024;

export interface UsageEvent {
  readonly specversion: "1.0";
  readonly type: string;
  readonly source: string;
  readonly id: string;
  /** Whom the usage is charged to. */
  readonly subject: string;
  /** Begin of the window: late deliveries still fall into the right hour. */
  readonly time: string;
  /** Sorts windows, parts and revisions of one deployment and SKU; an adjustment sorts with the hour that it corrects. */
  readonly sequence: string;
  readonly datacontenttype: "application/json";
  readonly data: object;
}

export function eventOf(record: UsageRecord): UsageEvent {
  const event = (data: object): UsageEvent => ({
    specversion: "1.0",
    type: `dev.berth.capacity.${record.kind}.v1`,
    source: `//berth.dev/clusters/${record.cluster}/modeldeployments/${record.deploymentUID}`,
    id: record.id,
    subject: record.account,
    time: record.windowStart,
    sequence: sequenceOf(record),
    datacontenttype: "application/json",
    data,
  });
  const whole = event(record);
  if (Buffer.byteLength(canonicalJson(whole)) <= longestEventBytes) return whole;
  const { claims, ...rest } = record;
  return event({ ...rest, claimsLeftOut: claims.length });
}

/** 12 digits of the window's begin in seconds, 4 of the part, 4 of the revision: text that sorts like them. */
function sequenceOf({ windowStart, part, rev }: UsageRecord): string {
  return [
    String(secondsOf(windowStart)).padStart(12, "0"),
    String(part).padStart(4, "0"),
    String(rev).padStart(4, "0"),
  ].join("");
}

/** A JSON array, as `BATCH_CONTENT_TYPE` asks for. */
export function batchBody(records: readonly UsageRecord[]): string {
  return `[${records.map((record) => canonicalJson(eventOf(record))).join(",")}]`;
}

export function jsonLines(records: readonly UsageRecord[]): string {
  return records.map((record) => `${canonicalJson(eventOf(record))}\n`).join("");
}
