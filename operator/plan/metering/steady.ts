/**
 * A deployment that goes on unchanged has, window after window, the same two lines but for the window's own instants. Once both were
 * computed in full, the next ones are known by their text; so a month of them is verified without parsing each.
 */
import type { Evidence, Quantities, UsageRecord } from "../../api/ledger.ts";
import { canonicalJson } from "./canonical.ts";
import { recordId } from "./identity.ts";
import { secondsOf } from "./windows.ts";

export interface SteadyMeter {
  /** Its line of evidence up to the window's own instants, which come last. */
  readonly evidence: string;
  readonly record: UsageRecord;
  readonly quantities: Quantities;
  /** Where its lines stand in a segment. */
  readonly place: string;
  /** The text that comes before, between and after begin, id, end, windowEnd and windowStart of its record. */
  readonly pieces: readonly string[];
}

const instantLength = "2026-11-21T10:00:00Z".length;
/** `,"windowEnd":"…","windowStart":"…"}`; lines come without their line feed here. */
const windowLength = `,"windowEnd":"","windowStart":""}`.length + 2 * instantLength;

export interface WindowNames {
  readonly windowStart: string;
  readonly windowEnd: string;
  readonly windowSeconds: number;
}

/** Order of a window's own meters in a segment; they come before all adjustments. */
export function ownPlace({ deploymentUID, sku }: Pick<UsageRecord, "deploymentUID" | "sku">): string {
  return `0 ${canonicalJson([deploymentUID, sku])}`;
}

/** undefined where something happened within the window, so that the next one may look different. */
export function steadyMeter(line: Evidence, record: UsageRecord): SteadyMeter | undefined {
  const start = secondsOf(line.windowStart);
  const old = (at: string | undefined): boolean => at === undefined || secondsOf(at) <= start;
  const calm =
    line.endedAt === undefined &&
    line.steps.length === 1 &&
    line.steps.every(({ since }) => old(since)) &&
    line.claims.every((claim) => old(claim.claimedAt.time) && old(claim.readyAt?.time) && !claim.releasedAt);
  // An estimate marks the window in which it lies, and no later one.
  const marked = line.claims.some((claim) => claim.claimedAt.estimated && secondsOf(claim.claimedAt.time) >= start);
  if (!calm || marked || record.from !== line.windowStart || record.to !== line.windowEnd) return undefined;
  const { from, id, to, windowEnd, windowStart, ...rest } = record;
  const holes = [from, id, to, windowEnd, windowStart].map((_, i) => `\u0000${i}`);
  const text = canonicalJson({
    ...rest,
    from: holes[0],
    id: holes[1],
    to: holes[2],
    windowEnd: holes[3],
    windowStart: holes[4],
  });
  const pieces = text.split(/\\u0000\d/).map(copied);
  if (pieces.length !== 6) return undefined;
  return {
    evidence: copied(evidenceHead(canonicalJson(line))),
    record,
    quantities: record,
    place: ownPlace(line),
    pieces,
  };
}

/** The text of a line of evidence without its window. */
export function evidenceHead(text: string): string {
  return text.slice(0, -windowLength);
}

/** Is this the line of evidence of an unchanged meter in this window? */
export function isSteadyEvidence(text: string, meter: SteadyMeter, window: WindowNames): boolean {
  const { evidence, record } = meter;
  const { windowStart, windowEnd, windowSeconds } = window;
  return (
    windowSeconds === record.windowSeconds &&
    text.length === evidence.length + windowLength &&
    text.startsWith(evidence) &&
    text.endsWith(`,"windowEnd":"${windowEnd}","windowStart":"${windowStart}"}`)
  );
}

/** Is this its record in this window, by its text alone? */
export function isSteadyRecord(text: string, { record, pieces }: SteadyMeter, window: WindowNames): boolean {
  const { windowStart, windowEnd } = window;
  const id = recordId({ ...record, windowStart, windowEnd });
  const values = [windowStart, id, windowEnd, windowEnd, windowStart, ""];
  let at = 0;
  for (let i = 0; i < pieces.length; i++) {
    for (const part of [pieces[i] ?? "", values[i] ?? ""]) {
      if (!text.startsWith(part, at)) return false;
      at += part.length;
    }
  }
  return at === text.length;
}

/** A slice of a text keeps the whole alive. */
function copied(text: string): string {
  return Buffer.from(text).toString();
}
