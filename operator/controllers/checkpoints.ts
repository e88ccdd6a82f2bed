/** Reading the checkpoints that stand for windows which retention removed. */
import { checkpoint as checkpointSchema } from "../api/ledger.ts";
import type { Checkpoint } from "../api/ledger.ts";
import { canonicalBytes } from "../plan/metering/canonical.ts";
import { CHECKPOINTS_PREFIX, checkpointKey, secondsOf } from "../plan/metering/windows.ts";
import type { Ledger } from "../ports.ts";

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
