/** What stands for windows that retention removed, as an auditor looks at it. */
import { checkpoint as checkpointSchema } from "../api/ledger.ts";
import type { Checkpoint } from "../api/ledger.ts";
import { canonicalBytes } from "../plan/metering/canonical.ts";
import {
  CHECKPOINTS_PREFIX,
  checkpointKey,
  endOfDay,
  secondsOf,
  signatureKeyOf,
  startOfManifestKey,
} from "../plan/metering/windows.ts";
import type { Ledger, TrustedKeys } from "../ports.ts";
import { signatureProblem } from "./signatures.ts";
import type { Before } from "./verify.ts";
import type { Finding } from "./verifysegment.ts";

export interface StoredCheckpoint {
  readonly key: string;
  readonly bytes: Uint8Array;
  readonly checkpoint: Checkpoint;
}

/** The newest one, if any; undefined in place of one that is none of Berth's. */
export async function newestCheckpoint(ledger: Ledger): Promise<StoredCheckpoint | string | undefined> {
  const keys = (await ledger.list(CHECKPOINTS_PREFIX)).filter((key) => !key.endsWith(".sig.json"));
  const key = keys.at(-1);
  const bytes = key === undefined ? undefined : await ledger.get(key);
  if (key === undefined || !bytes) return undefined;
  try {
    const checkpoint = checkpointSchema.parse(JSON.parse(Buffer.from(bytes).toString()));
    const right = key === checkpointKey(secondsOf(checkpoint.removedThrough));
    return right && Buffer.from(canonicalBytes(checkpoint)).equals(bytes) ? { key, bytes, checkpoint } : key;
  } catch {
    return key;
  }
}

/** The chain begins behind the newest checkpoint; what is left of windows before it, where removing was cut short, is not looked at. */
export async function newCheckpointCheck(ledger: Ledger, trust: TrustedKeys | undefined) {
  const found = await newestCheckpoint(ledger);
  const findings: Finding[] = [];
  if (typeof found === "string") findings.push({ key: found, problem: "is no checkpoint of Berth's" });
  if (found === undefined || typeof found === "string")
    return { findings, before: undefined, removedThrough: undefined, removed: () => false, isGone: () => false };
  const problem = trust && (await signatureProblem(ledger, found, trust));
  if (problem !== undefined) findings.push({ key: signatureKeyOf(found.key), problem });
  const { removedThrough, lastManifestSha256 } = found.checkpoint;
  const end = secondsOf(removedThrough);
  const before: Before = { windowEnd: removedThrough, sha256: lastManifestSha256, chains: undefined, chained: true };
  const removed = (key: string): boolean => (startOfManifestKey(key) ?? Infinity) < end;
  // Whole days go, with what later windows say of the hours in them.
  const daysEnd = endOfDay(end - 1);
  const isGone = (windowStart: string): boolean => secondsOf(windowStart) < daysEnd;
  return { findings, before, removedThrough, removed, isGone };
}
