/** The size log: every desired size that was acted on, with the API server's time. The basis of what is billed. */
import type { GPUNodePool, GPUNodePoolSpec, SizeLogEntry } from "../../api/gpunodepool.ts";
import { fieldManagers } from "../../api/keys.ts";
import { foldedSizes } from "../../api/sizelog.ts";
import { canonicalJson } from "../identity.ts";

/** Bound of status.sizeLog in the CRD. */
export const LONGEST_SIZE_LOG = 500;

/** What all folded steps of a log may take, in characters. */
const MOST_FOLDED = 600_000;

/** What a log may take in all: an object of etcd must stay well below 1.5 MB, and tags of one step alone may be 9 kB. */
export const MOST_LOG_BYTES = 1_000_000;

/** The API server's time of the newest size, account or tags; undefined where a restore from backup lost it. */
export function sizeSetAt({ metadata }: GPUNodePool): string | undefined {
  return metadata.managedFields?.find(({ manager }) => manager === fieldManagers.size)?.time;
}

/**
 * The log with the current size, account and tags in it; the same list when nothing changed. Several changes in one
 * second collapse to the last. Without bounds: what is counted, and never what is stored.
 */
export function sizesUntilNow(
  log: readonly SizeLogEntry[],
  spec: Pick<GPUNodePoolSpec, "size" | "account" | "tags">,
  since: string | undefined,
): readonly SizeLogEntry[] {
  const last = log.at(-1);
  if (since === undefined || (last !== undefined && says(last, spec))) return log;
  const entry: SizeLogEntry = { since, size: spec.size, account: spec.account, tags: spec.tags };
  if (last === undefined) return [entry];
  if (Date.parse(since) <= Date.parse(last.since)) return [...log.slice(0, -1), { ...entry, since: last.since }];
  return [...log, entry];
}

/**
 * The same to be stored. Entries that ended before `sealedThrough` are dropped, but only when another is appended.
 * A full log folds the hours that are over into an entry each, so that a ledger that is away for weeks neither fills etcd nor
 * stops anybody's scaling. A log that is full even so stays as it is: the size is not changed again before it is in the log.
 */
export function nextSizeLog(
  log: readonly SizeLogEntry[],
  spec: Pick<GPUNodePoolSpec, "size" | "account" | "tags">,
  since: string | undefined,
  sealedThrough: string | undefined,
): readonly SizeLogEntry[] {
  const whole = sizesUntilNow(log, spec, since);
  const entry = whole.at(-1);
  if (whole.length <= log.length || !entry) return hasRoom(whole) ? whole : log;
  const kept = trimmed(log, sealedThrough);
  if (hasRoom([...kept, entry])) return [...kept, entry];
  const folded = foldedSizes(kept, entry.since, sameLabel);
  const taken = folded.reduce((sum, one) => sum + (one.folded?.length ?? 0), 0);
  return hasRoom([...folded, entry]) && taken <= MOST_FOLDED ? [...folded, entry] : log;
}

/** Tags are the tenant's text: only their bytes say how much an entry takes. The rest of one is short. */
function hasRoom(log: readonly SizeLogEntry[]): boolean {
  if (log.length > LONGEST_SIZE_LOG) return false;
  const bytes = ({ folded = "", tags = {} }: SizeLogEntry): number =>
    200 + folded.length + Buffer.byteLength(JSON.stringify(tags));
  return log.reduce((sum, entry) => sum + bytes(entry), 0) <= MOST_LOG_BYTES;
}

function sameLabel(a: SizeLogEntry, b: SizeLogEntry): boolean {
  return a.account === b.account && canonicalJson(a.tags ?? {}) === canonicalJson(b.tags ?? {});
}

function says(entry: SizeLogEntry, spec: Pick<GPUNodePoolSpec, "size" | "account" | "tags">): boolean {
  return (
    entry.size === spec.size &&
    entry.account === spec.account &&
    canonicalJson(entry.tags ?? {}) === canonicalJson(spec.tags ?? {})
  );
}

/** Without the entries that were over before the watermark: each of those has a successor that began before it, too. */
function trimmed(log: readonly SizeLogEntry[], sealedThrough: string | undefined): readonly SizeLogEntry[] {
  if (sealedThrough === undefined) return log;
  const watermark = Date.parse(sealedThrough);
  const inForce = log.findLastIndex((entry) => Date.parse(entry.since) <= watermark);
  // A folded hour holds its later steps, too: it goes when the entry after it has begun.
  return inForce > 0 ? log.slice(inForce) : log;
}
