/** Objects in a ledger that nobody of Berth's writes. */
import {
  adjustmentOfKey,
  dayOf,
  dayRootKey,
  signatureKeyOf,
  startOfManifestKey,
  startOfSegmentKey,
} from "../plan/metering/windows.ts";
import type { Finding } from "./verifysegment.ts";

const dayFolder = /^v1\/dt=(\d{4}-\d{2}-\d{2})\//;

/**
 * By their keys alone. Pointers without a manifest are left by a process that died, and readers never see them; segments without one
 * are looked into (verifyuncommitted.ts); what retention is just removing is not looked at.
 */
export function strayFindings(keys: readonly string[], isGone: (windowStart: string) => boolean): Finding[] {
  const own = new Set<string>();
  for (const key of keys) {
    const start = startOfManifestKey(key);
    if (start === undefined) continue;
    const root = dayRootKey(dayOf({ start }));
    for (const one of [key, signatureKeyOf(key), root, signatureKeyOf(root)]) own.add(one);
  }
  return keys
    .filter(
      (key) =>
        !own.has(key) && startOfSegmentKey(key) === undefined && adjustmentOfKey(key) === undefined && !isFolder(key),
    )
    .filter((key) => !isGone(`${dayFolder.exec(key)?.[1] ?? "9999-12-31"}T00:00:00Z`))
    .map((key) => ({ key, problem: "is nothing that Berth writes here: it was put in" }));
}

/** Consoles of object stores make such. */
function isFolder(key: string): boolean {
  return key.endsWith("/");
}
