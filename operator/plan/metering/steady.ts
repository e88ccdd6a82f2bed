/**
 * A deployment that goes on unchanged has, window after window, the same two lines but for the window's own instants and the id that
 * follows from them. Once both were computed in full, the next ones are written beside it and compared as bytes; so a month of them is
 * verified without parsing each.
 */
import type { Evidence, Quantities, UsageRecord } from "../../api/ledger.ts";
import { canonicalJson } from "./canonical.ts";
import { recordIds } from "./identity.ts";
import { secondsOf } from "./windows.ts";

export interface SteadyMeter {
  /** Its two lines, line feeds included, as they stand in the window that was written into them last. */
  readonly lines: Buffer;
  readonly quantities: Quantities;
  /** Where its lines stand in a segment. */
  readonly place: string;
  readonly windowSeconds: number;
  /** Begin of the window in which it was computed in full: it says nothing of earlier ones. */
  readonly since: string;
  /** Where begins, ends and the id stand in its lines, in bytes. */
  readonly startsAt: readonly number[];
  readonly endsAt: readonly number[];
  readonly idAt: number;
  readonly writeId: ReturnType<typeof recordIds>;
}

const instantLength = "2026-11-21T10:00:00Z".length;

export interface WindowNames {
  readonly windowStart: string;
  readonly windowEnd: string;
  readonly windowSeconds: number;
}

/** A window's instants as they are written into lines. */
export interface WindowBytes extends WindowNames {
  readonly start: Uint8Array;
  readonly end: Uint8Array;
}

export function windowBytes({ windowStart, windowEnd, windowSeconds }: WindowNames): WindowBytes {
  return { windowStart, windowEnd, windowSeconds, start: Buffer.from(windowStart), end: Buffer.from(windowEnd) };
}

/** Order of a window's own meters in a segment; they come before all adjustments. */
export function ownPlace({ deploymentUID, sku }: Pick<UsageRecord, "deploymentUID" | "sku">): string {
  return `0 ${canonicalJson([deploymentUID, sku])}`;
}

/** Of two lines that are right; undefined where something happened within the window, so that the next one may look different. */
export function steadyMeter(line: Evidence, record: UsageRecord): SteadyMeter | undefined {
  if (!isCalm(line) || record.from !== line.windowStart || record.to !== line.windowEnd) return undefined;
  const { from, id, to, windowEnd, windowStart, ...rest } = record;
  const values = [from, id, to, windowEnd, windowStart];
  const holes = values.map((_, i) => `\u0000${i}`);
  const holed = { from: holes[0], id: holes[1], to: holes[2], windowEnd: holes[3], windowStart: holes[4] };
  const pieces = canonicalJson({ ...rest, ...holed }).split(/\\u0000\d/);
  const evidence = `${canonicalJson(line)}\n`;
  // A tag may hold what marks a hole.
  if (pieces.length !== 6 || !evidence.endsWith(`,"windowEnd":"${windowEnd}","windowStart":"${windowStart}"}\n`))
    return undefined;
  const lines = Buffer.from(`${evidence}${pieces.map((piece, i) => piece + (values[i] ?? "")).join("")}\n`);
  const evidenceEnd = Buffer.byteLength(evidence);
  let at = evidenceEnd;
  const [fromAt = 0, idAt = 0, toAt = 0, endAt = 0, startAt = 0] = values.map((value, i) => {
    const here = at + Buffer.byteLength(pieces[i] ?? "");
    at = here + value.length;
    return here;
  });
  const lastInstant = evidenceEnd - `"}\n`.length - instantLength;
  return {
    lines,
    quantities: record,
    place: ownPlace(line),
    windowSeconds: record.windowSeconds,
    since: windowStart,
    startsAt: [lastInstant, fromAt, startAt],
    endsAt: [lastInstant - `","windowStart":"`.length - instantLength, toAt, endAt],
    idAt,
    writeId: recordIds(record),
  };
}

function isCalm(line: Evidence): boolean {
  const start = secondsOf(line.windowStart);
  const old = (at: string | undefined): boolean => at === undefined || secondsOf(at) <= start;
  const calm =
    line.endedAt === undefined &&
    line.steps.length === 1 &&
    line.steps.every(({ since }) => old(since)) &&
    line.claims.every((claim) => old(claim.claimedAt.time) && old(claim.readyAt?.time) && !claim.releasedAt);
  // An estimate marks the window in which it lies, and no later one.
  const marked = line.claims.some((claim) => claim.claimedAt.estimated && secondsOf(claim.claimedAt.time) >= start);
  return calm && !marked;
}

/** Do the meter's two lines in this window stand at `at`? Writes the window into `meter.lines`. */
export function isSteadyAt(meter: SteadyMeter, window: WindowBytes, bytes: Buffer, at: number): boolean {
  const { lines, since, windowSeconds, startsAt, endsAt } = meter;
  if (window.windowSeconds !== windowSeconds || window.windowStart < since) return false;
  for (const place of startsAt) lines.set(window.start, place);
  for (const place of endsAt) lines.set(window.end, place);
  meter.writeId(window.start, window.end, lines, meter.idAt);
  return lines.compare(bytes, at, at + lines.length) === 0;
}
