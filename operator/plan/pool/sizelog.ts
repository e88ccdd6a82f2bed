/** The size log: every desired size that was acted on, with the API server's time. The basis of what is billed. */
import type { GPUNodePoolSpec, SizeLogEntry } from "../../api/gpunodepool.ts";
import { canonicalJson } from "../identity.ts";

/** Bound of status.sizeLog in the CRD. */
export const LONGEST_SIZE_LOG = 500;

/**
 * The log with the current size, account and tags in it; the same list when nothing changed. Several changes in one
 * second collapse to the last. Entries that ended before `sealedThrough` are dropped, but only when another is appended.
 * A full log of unsealed entries stays as it is: the size is not changed again before the current one is in it.
 */
export function nextSizeLog(
  log: readonly SizeLogEntry[],
  spec: Pick<GPUNodePoolSpec, "size" | "account" | "tags">,
  since: string | undefined,
  sealedThrough: string | undefined,
): readonly SizeLogEntry[] {
  const last = log.at(-1);
  if (since === undefined || (last !== undefined && says(last, spec))) return log;
  const entry: SizeLogEntry = { since, size: spec.size, account: spec.account, tags: spec.tags };
  if (last === undefined) return [entry];
  if (Date.parse(since) <= Date.parse(last.since)) return [...log.slice(0, -1), { ...entry, since: last.since }];
  const kept = trimmed(log, sealedThrough);
  return kept.length < LONGEST_SIZE_LOG ? [...kept, entry] : log;
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
  return inForce > 0 ? log.slice(inForce) : log;
}
