/**
 * Sealed windows in the ledger: writing one (segment, read back, manifest, read back) and reading them again. The manifest is
 * the commit; what was stored first wins. Nothing is ever overwritten.
 */
import { manifest as manifestSchema, usageRecord } from "../api/ledger.ts";
import type { Manifest, UsageRecord } from "../api/ledger.ts";
import { sha256Hex } from "../plan/metering/identity.ts";
import { manifestBytes, manifestOf, segmentBytes } from "../plan/metering/records.ts";
import { manifestKey, secondsOf, segmentKey, startOfManifestKey, windowFolder } from "../plan/metering/windows.ts";
import type { Window } from "../plan/metering/windows.ts";
import type { Ledger } from "../ports.ts";
import { TerminalError } from "../runtime/errors.ts";

export interface SealedWindow {
  readonly window: Window;
  readonly manifest: Manifest;
  readonly records: readonly UsageRecord[];
}

export interface SealResult extends SealedWindow {
  /** Keys at which something else was stored than we would have written; what is stored was kept. */
  readonly differing: readonly string[];
  /** Of the manifest's stored bytes: what the next manifest is chained to. */
  readonly manifestSha256: string;
}

/** Writes one window so that a crash at any point, or another writer, leads to one and the same result. */
export async function sealWindow(
  ledger: Ledger,
  input: {
    readonly window: Window;
    readonly records: readonly UsageRecord[];
    readonly clusterId: string;
    /** End of the last sealed window in seconds. */
    readonly sealedThrough: number | undefined;
    /** Digest of the manifest that was sealed last. */
    readonly previousManifestSha256?: string | undefined;
  },
): Promise<SealResult> {
  const { window, sealedThrough, previousManifestSha256, clusterId } = input;
  const differing: string[] = [];
  const ours = segmentBytes(input.records);
  const put = await ledger.putOnce(segmentKey(window), ours);
  const stored = await readSegment(ledger, segmentKey(window));
  if (sha256Hex(stored) !== sha256Hex(ours)) {
    if (put === "created") throw corrupt(segmentKey(window));
    differing.push(segmentKey(window));
  }
  const records = parseRecords(segmentKey(window), stored);
  const wanted = manifestOf(window, records, { clusterId, sealedThrough, previousManifestSha256 });
  const putManifest = await ledger.putOnce(manifestKey(window), manifestBytes(wanted));
  const { manifest, sha256: manifestSha256 } = await readManifest(ledger, manifestKey(window));
  if (manifestSha256 !== sha256Hex(manifestBytes(wanted))) {
    if (putManifest === "created") throw corrupt(manifestKey(window));
    differing.push(manifestKey(window));
  }
  return { window, manifest, records, differing, manifestSha256 };
}

/**
 * End in seconds of the newest sealed window, undefined for a ledger without any. The first call lists the whole ledger, later
 * ones only what came since; what it remembers is no truth of its own.
 */
export function newWatermark(ledger: Ledger): () => Promise<number | undefined> {
  const head = newHead(ledger);
  return async () => (await head())?.end;
}

/** The newest manifest: end of its window in seconds and the digest of its stored bytes. */
export interface Head {
  readonly key: string;
  readonly end: number;
  readonly sha256: string;
}

/** As newWatermark, with all that the next manifest is chained to. */
export function newHead(ledger: Ledger): () => Promise<Head | undefined> {
  let newest: Head | undefined;
  return async () => {
    const keys = await ledger.list("v1/", newest ? { startAfter: newest.key } : {});
    const key = keys.findLast((one) => startOfManifestKey(one) !== undefined);
    if (key !== undefined) {
      const { manifest, sha256 } = await readManifest(ledger, key);
      newest = { key, end: secondsOf(manifest.windowEnd), sha256 };
    }
    return newest;
  };
}

/** Windows that were sealed, by their start in [from, to) seconds; keys only. */
export async function sealedKeys(ledger: Ledger, from: number, to: number): Promise<readonly string[]> {
  // "!" sorts before every key of the folder, and a window may be named by hour or by second.
  const startAfter = `${windowFolder({ start: Math.floor(from / 3600) * 3600, end: Infinity }).slice(0, -4)}!`;
  const keys = await ledger.list("v1/", { startAfter });
  return keys.filter((key) => {
    const start = startOfManifestKey(key);
    return start !== undefined && start >= from && start < to;
  });
}

/** One sealed window by its manifest's key; the segment's digest is checked against the manifest. */
export async function readSealed(ledger: Ledger, key: string): Promise<SealedWindow> {
  const { manifest } = await readManifest(ledger, key);
  const stored = await readSegment(ledger, manifest.segment);
  if (sha256Hex(stored) !== manifest.sha256) throw corrupt(manifest.segment);
  const window = { start: secondsOf(manifest.windowStart), end: secondsOf(manifest.windowEnd) };
  return { window, manifest, records: parseRecords(manifest.segment, stored) };
}

async function readManifest(ledger: Ledger, key: string): Promise<{ manifest: Manifest; sha256: string }> {
  const bytes = await ledger.get(key);
  if (!bytes) throw new TerminalError("LedgerObjectMissing", `${key} was stored in the ledger and is gone`);
  const read = parsed(key, () => manifestSchema.parse(JSON.parse(Buffer.from(bytes).toString())));
  return { manifest: read, sha256: sha256Hex(bytes) };
}

async function readSegment(ledger: Ledger, key: string): Promise<Uint8Array> {
  const bytes = await ledger.get(key);
  if (!bytes) throw new TerminalError("LedgerObjectMissing", `${key} was stored in the ledger and is gone`);
  return bytes;
}

function parseRecords(key: string, bytes: Uint8Array): UsageRecord[] {
  const lines = Buffer.from(bytes).toString().split("\n").slice(0, -1);
  return parsed(key, () => lines.map((line) => usageRecord.parse(JSON.parse(line))));
}

function parsed<T>(key: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw corrupt(key, error);
  }
}

function corrupt(key: string, cause?: unknown): TerminalError {
  const message = `${key} in the ledger is not what Berth wrote; it was not touched: compare it with a copy and restore it`;
  return new TerminalError("LedgerObjectDamaged", message, { cause });
}
