/** Reading sealed windows: manifests, the newest of them, and the lines of segments, a line at a time. */
import {
  EVIDENCE_SCHEMA,
  evidence as evidenceSchema,
  firstManifest,
  manifest as manifestSchema,
  usageRecord,
} from "../api/ledger.ts";
import type { Manifest, UsageRecord } from "../api/ledger.ts";
import { newDigest, sha256Hex, shardOf } from "../plan/metering/identity.ts";
import { asManifest, isEvidence } from "../plan/metering/segment.ts";
import type { ChainHead, Line } from "../plan/metering/segment.ts";
import {
  adjustmentOfKey,
  instantOfSeconds,
  manifestKey,
  secondsOf,
  startOfManifestKey,
  windowFolder,
} from "../plan/metering/windows.ts";
import type { Window } from "../plan/metering/windows.ts";
import type { Ledger } from "../ports.ts";
import { TerminalError } from "../runtime/errors.ts";

/** The newest manifest. */
export interface Head extends ChainHead {
  readonly key: string;
  /** Begin of its window in seconds. */
  readonly start: number;
  /** SHA-256 of the manifest before; undefined in the first one and in those of older builds. */
  readonly previousSha256?: string;
}

/**
 * The newest sealed window, with all that the next manifest is chained to; undefined for a ledger without any. Read anew at each call:
 * what was there may be gone or another one. The first call lists the whole ledger, later ones from the newest on, as long as that
 * is there.
 */
export function newHead(ledger: Ledger): () => Promise<Head | undefined> {
  let last: string | undefined;
  const newestAfter = async (startAfter?: string): Promise<string | undefined> =>
    (await ledger.list("v1/", startAfter === undefined ? {} : { startAfter })).findLast(
      (key) => startOfManifestKey(key) !== undefined,
    );
  return async () => {
    // Without its last letter it sorts before itself, so that it is listed where it is still there.
    const since = last === undefined ? undefined : await newestAfter(last.slice(0, -1));
    last = since ?? (await newestAfter());
    return last === undefined ? undefined : headAt(ledger, last);
  };
}

export async function headAt(ledger: Ledger, key: string): Promise<Head> {
  const { manifest, sha256 } = await readManifest(ledger, key);
  const { chains, windowStart, windowEnd, previousManifestSha256: previousSha256 } = manifest;
  const window = { start: secondsOf(windowStart), end: secondsOf(windowEnd) };
  return { key, ...window, sha256, chains, ...(previousSha256 !== undefined && { previousSha256 }) };
}

/** Windows that were sealed, by their start in [from, to) seconds; keys of their manifests only. */
export async function sealedKeys(ledger: Ledger, from: number, to: number): Promise<readonly string[]> {
  return (await keysBetween(ledger, from, to)).filter((key) => startOfManifestKey(key) !== undefined);
}

/** A window of which the ledger holds records. */
export interface RecordedWindow {
  readonly start: number;
  /** Its manifest; undefined where nobody was known to have capacity when it passed, and adjustments say otherwise. */
  readonly key: string | undefined;
  /** Manifests of the later windows that hold adjustments to it. */
  readonly adjustedBy: readonly string[];
}

/** As sealedKeys, with where adjustments to each window lie, in the order of time. */
export async function recordedWindows(ledger: Ledger, from: number, to: number): Promise<readonly RecordedWindow[]> {
  const windows = new Map<number, { key: string | undefined; adjustedBy: string[] }>();
  const at = (start: number) => windows.get(start) ?? { key: undefined, adjustedBy: [] };
  for (const key of await keysBetween(ledger, from, to)) {
    const start = startOfManifestKey(key);
    if (start !== undefined) windows.set(start, { ...at(start), key });
    const adjusted = adjustmentOfKey(key);
    if (!adjusted) continue;
    const known = at(adjusted.start);
    windows.set(adjusted.start, { ...known, adjustedBy: [...known.adjustedBy, manifestKey(adjusted.by)] });
  }
  return [...windows].sort(([a], [b]) => a - b).map(([start, window]) => ({ start, ...window }));
}

async function keysBetween(ledger: Ledger, from: number, to: number): Promise<readonly string[]> {
  // "!" sorts before every key of the folder, and a window may be named by hour or by second.
  const startAfter = `${windowFolder({ start: Math.floor(from / 3600) * 3600, end: Infinity }).slice(0, -4)}!`;
  const keys = await ledger.list("v1/", { startAfter });
  return keys.filter((key) => {
    const start = startOfManifestKey(key) ?? adjustmentOfKey(key)?.start;
    return start !== undefined && start >= from && start < to;
  });
}

export interface ReadWindow {
  readonly window: Window;
  readonly manifest: Manifest;
  /** Of the manifest's stored bytes. */
  readonly sha256: string;
  /** Every record that the window's manifest commits, adjustments to earlier windows among them. */
  readonly records: readonly UsageRecord[];
}

/** One sealed window by its manifest's key; each segment's digest is checked against the manifest. */
export async function readSealed(ledger: Ledger, key: string, deploymentUID?: string): Promise<ReadWindow> {
  const { manifest, sha256 } = await readManifest(ledger, key);
  const records: UsageRecord[] = [];
  for await (const line of committedLines(ledger, manifest, deploymentUID)) if (!isEvidence(line)) records.push(line);
  const window = { start: secondsOf(manifest.windowStart), end: secondsOf(manifest.windowEnd) };
  return { window, manifest, sha256, records };
}

/** What the ledger says of one window alone: its own records, then the adjustments to it from later ones. */
export async function* recordsOfWindow(
  ledger: Ledger,
  { start, key, adjustedBy }: RecordedWindow,
  deploymentUID?: string,
): AsyncGenerator<UsageRecord> {
  const windowStart = instantOfSeconds(start);
  for (const from of new Set([key, ...adjustedBy])) {
    // A pointer whose manifest was never committed points to nothing.
    if (from === undefined || (from !== key && !(await ledger.get(from)))) continue;
    const { manifest } = await readManifest(ledger, from);
    for await (const line of committedLines(ledger, manifest, deploymentUID))
      if (!isEvidence(line) && line.windowStart === windowStart) yield line;
  }
}

export async function readRecorded(
  ledger: Ledger,
  window: RecordedWindow,
  deploymentUID?: string,
): Promise<readonly UsageRecord[]> {
  const records: UsageRecord[] = [];
  for await (const record of recordsOfWindow(ledger, window, deploymentUID)) records.push(record);
  return records;
}

/** All lines of a window, or those of one deployment, for which only its shard is read. Throws where a segment is not what was sealed. */
export async function* committedLines(
  ledger: Ledger,
  manifest: Manifest,
  deploymentUID?: string,
): AsyncGenerator<Line> {
  const wanted = deploymentUID === undefined ? undefined : shardOf(deploymentUID, manifest.shards);
  for (const { key, shard, sha256 } of manifest.segments) {
    if (wanted !== undefined && shard !== wanted) continue;
    const digest = newDigest();
    for await (const { line, text } of linesIn(ledger, key)) {
      digest.add(text);
      if (deploymentUID === undefined || line.deploymentUID === deploymentUID) yield line;
    }
    if (digest.hex() !== sha256) throw corrupt(key);
  }
}

/**
 * What is in the ledger about a window and meter, committed before the manifest at `until`; undefined where that cannot be read. What
 * is damaged is named where it lies; what is added up from it later need not be.
 */
export async function linesBefore(
  ledger: Ledger,
  record: UsageRecord,
  until: string,
): Promise<readonly Line[] | undefined> {
  const start = secondsOf(record.windowStart);
  const lines: Line[] = [];
  try {
    const [recorded] = await recordedWindows(ledger, start, start + 1);
    const keys = new Set([recorded?.key, ...(recorded?.adjustedBy ?? [])].filter((key) => key !== undefined));
    for (const key of [...keys].filter((one) => one < until).sort()) {
      const { manifest } = await readManifest(ledger, key);
      for await (const line of committedLines(ledger, manifest, record.deploymentUID))
        if (line.windowStart === record.windowStart && line.sku === record.sku) lines.push(line);
    }
  } catch (error) {
    const reasons = ["LedgerObjectDamaged", "LedgerObjectMissing", "LedgerKeyInvalid"];
    if (!(error instanceof TerminalError) || !reasons.includes(error.reason)) throw error;
    return undefined;
  }
  return lines;
}

/** Any form of manifest, as the present one. */
export async function readManifest(ledger: Ledger, key: string): Promise<{ manifest: Manifest; sha256: string }> {
  const bytes = await ledger.get(key);
  if (!bytes) throw missing(key);
  const json = parsed(key, () => JSON.parse(Buffer.from(bytes).toString()) as unknown);
  const read = parsed(key, () => asManifest(parseManifest(json)));
  return { manifest: read, sha256: sha256Hex(bytes) };
}

/** Throws where it is none. */
export function parseManifest(json: unknown) {
  const first = firstManifest.safeParse(json);
  return first.success ? first.data : manifestSchema.parse(json);
}

/** Lines of a segment with their text, line feed included. */
export async function* linesIn(ledger: Ledger, key: string): AsyncGenerator<{ line: Line; text: string }> {
  for await (const text of textLines(ledger, key)) yield { line: parsed(key, () => parseLine(text)), text };
}

export function parseLine(text: string): Line {
  const json = JSON.parse(text) as { schema?: unknown };
  return json.schema === EVIDENCE_SCHEMA ? evidenceSchema.parse(json) : usageRecord.parse(json);
}

/** Text of each line, line feed included; the last may lack it. */
export async function* textLines(ledger: Ledger, key: string): AsyncGenerator<string> {
  const pieces = await ledger.read(key);
  if (!pieces) throw missing(key);
  const decoder = new TextDecoder();
  let pending = "";
  for await (const piece of pieces) {
    const lines = (pending + decoder.decode(piece, { stream: true })).split("\n");
    pending = lines.pop() ?? "";
    for (const line of lines) yield `${line}\n`;
  }
  pending += decoder.decode();
  if (pending !== "") yield pending;
}

function parsed<T>(key: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw corrupt(key, error);
  }
}

function missing(key: string): TerminalError {
  return new TerminalError("LedgerObjectMissing", `${key} was stored in the ledger and is gone`);
}

export function corrupt(key: string, cause?: unknown): TerminalError {
  const message = `${key} in the ledger is not what Berth wrote; it was not touched: compare it with a copy and restore it`;
  return new TerminalError("LedgerObjectDamaged", message, { cause });
}

/** Is it what corrupt() and the ledger's own reads throw? */
export function isCorrupt(error: unknown): boolean {
  return error instanceof TerminalError && error.reason === "LedgerObjectDamaged";
}
