/**
 * Windows of metering: half-open stretches of whole UTC seconds, their place in the ledger and the moment at which one
 * may be sealed. POSIX days have 86,400 s, so neither leap seconds nor daylight saving time exist here.
 */

/** `start` inclusive, `end` exclusive, both in whole seconds since the Unix epoch. */
export interface Window {
  readonly start: number;
  readonly end: number;
}

/** Whole seconds of an RFC 3339 instant; a fraction is dropped. Throws RangeError on anything else. */
export function secondsOf(instant: string): number {
  const ms = Date.parse(instant);
  if (Number.isNaN(ms)) throw new RangeError(`not an RFC 3339 instant: ${instant.slice(0, 40)}`);
  return Math.floor(ms / 1000);
}

/** The only form of time in the ledger: RFC 3339 in UTC with whole seconds. */
export function instantOfSeconds(seconds: number): string {
  return new Date(seconds * 1000).toISOString().replace(".000Z", "Z");
}

/**
 * The window of `lengthSeconds` that contains `at`, aligned to the epoch. `notBefore` is the end of what is sealed: after a
 * change of length the first window is cut there, so that windows still tile.
 */
export function windowAt(at: number, lengthSeconds: number, notBefore = -Infinity): Window {
  const aligned = Math.floor(at / lengthSeconds) * lengthSeconds;
  return { start: Math.max(aligned, notBefore), end: aligned + lengthSeconds };
}

/** Folder of a window in the ledger; the order of these keys is the order of time. */
export function windowFolder(window: Window): string {
  const [day = "", time = ""] = instantOfSeconds(window.start).slice(0, -1).split("T");
  const [hours = "", minutes = "", seconds = ""] = time.split(":");
  const wholeHour = window.start % 3600 === 0 && window.end - window.start === 3600;
  return `v1/dt=${day}/hr=${wholeHour ? hours : `${hours}${minutes}${seconds}`}`;
}

/** One shard has no folder of its own. */
export function segmentKey(window: Window, shard = 0, shards = 1): string {
  const folder = shards === 1 ? "" : `shard=${String(shard).padStart(2, "0")}/`;
  return `${windowFolder(window)}/${folder}segment-r0.ndjson.gz`;
}

/** Says in the folder of `window` that a later window holds adjustments to it: an index, not a truth. */
export function adjustedKey(window: Window, by: Window): string {
  return `${windowFolder(window)}/adjusted-by=${by.start}-${by.end - by.start}.json`;
}

const folderPattern = "^v1/dt=(\\d{4}-\\d{2}-\\d{2})/hr=(\\d{2})(\\d{2})?(\\d{2})?/";
const adjustedPattern = new RegExp(`${folderPattern}adjusted-by=(\\d{1,12})-(\\d{1,9})\\.json$`);
const manifestPattern = new RegExp(`${folderPattern}manifest\\.json$`);
const segmentPattern = new RegExp(`${folderPattern}(?:shard=\\d{2,}/)?segment-r0\\.ndjson\\.gz$`);

/** What such a key says: begin in seconds of the window that is adjusted, and the window that holds the adjustments. */
export function adjustmentOfKey(key: string): { readonly start: number; readonly by: Window } | undefined {
  const match = adjustedPattern.exec(key);
  const start = match ? startOfMatch(match) : undefined;
  if (!match || start === undefined) return undefined;
  const from = Number(match[5]);
  return { start, by: { start: from, end: from + Number(match[6]) } };
}

function startOfMatch(match: RegExpExecArray): number | undefined {
  const [, day, hours, minutes = "00", seconds = "00"] = match;
  const ms = Date.parse(`${day}T${hours}:${minutes}:${seconds}Z`);
  return Number.isNaN(ms) ? undefined : ms / 1000;
}

/** UTC day of a window's begin, like 2026-11-21. */
export function dayOf(window: Pick<Window, "start">): string {
  return instantOfSeconds(window.start).slice(0, 10);
}

/** End of the UTC day that holds the second `at`. */
export function endOfDay(at: number): number {
  return (Math.floor(at / 86_400) + 1) * 86_400;
}

export function dayRootKey(day: string): string {
  return `v1/dt=${day}/root.json`;
}

/** Place of what stands for removed windows; their order is that of time. */
export const CHECKPOINTS_PREFIX = "checkpoints/";

export function checkpointKey(removedThrough: number): string {
  return `${CHECKPOINTS_PREFIX}${instantOfSeconds(removedThrough).replace(/[-:]/g, "")}.json`;
}

export function manifestKey(window: Window): string {
  return `${windowFolder(window)}/manifest.json`;
}

/** Place of the signature of the manifest at `key`. */
export function signatureKeyOf(key: string): string {
  return key.replace(/\.json$/, ".sig.json");
}

/** Start in seconds of the window that a manifest's key stands for; undefined for other keys. */
export function startOfManifestKey(key: string): number | undefined {
  const match = manifestPattern.exec(key);
  return match ? startOfMatch(match) : undefined;
}

/** As startOfManifestKey, of a segment's key. */
export function startOfSegmentKey(key: string): number | undefined {
  const match = segmentPattern.exec(key);
  return match ? startOfMatch(match) : undefined;
}

export interface SealTimes {
  readonly windowSeconds: number;
  /** Late facts are waited for so long after a window's end. */
  readonly graceSeconds: number;
  /** Offset of this cluster within the spread, so that many clusters do not write to one store at the same second. */
  readonly offsetSeconds: number;
}

/** End of the newest window that may be sealed at `now` (seconds): everything before it is due. */
export function dueThrough(now: number, times: SealTimes): number {
  const ripe = now - times.graceSeconds - times.offsetSeconds;
  return Math.floor(ripe / times.windowSeconds) * times.windowSeconds;
}

/** Seconds at which the window after those that are due at `now` becomes due. */
export function nextDueAt(now: number, times: SealTimes): number {
  return dueThrough(now, times) + times.windowSeconds + times.graceSeconds + times.offsetSeconds;
}

/** Seconds since the end of the oldest window that is due and, `done` being the end of the newest dealt with, waits. */
export function sealLag(done: number | undefined, now: number, times: SealTimes): number {
  if (done === undefined || dueThrough(now, times) <= done) return 0;
  return Math.max(0, now - done - times.windowSeconds);
}
