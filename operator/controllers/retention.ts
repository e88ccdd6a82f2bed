/** Retention: whole days go behind a checkpoint that is written, signed and read back first, so that the chain still verifies. */
import { CHECKPOINT_SCHEMA } from "../api/ledger.ts";
import type { Checkpoint } from "../api/ledger.ts";
import { canonicalBytes } from "../plan/metering/canonical.ts";
import { addQuantities } from "../plan/metering/fold.ts";
import {
  CHECKPOINTS_PREFIX,
  checkpointKey,
  dayOf,
  endOfDay,
  secondsOf,
  signatureKeyOf,
  startOfManifestKey,
} from "../plan/metering/windows.ts";
import { SINKS_PREFIX, ackKey, acksPrefix } from "../plan/sinks/keys.ts";
import type { Ledger, ManifestSigner } from "../ports.ts";
import { TerminalError } from "../runtime/errors.ts";
import { newestCheckpoint } from "./checkpoints.ts";
import { inTurns } from "./closing.ts";
import { readManifest } from "./ledgerreads.ts";
import { signManifest } from "./signatures.ts";

export interface RetentionPlan {
  readonly days: readonly string[];
  /** Manifests of those days, in the order of time. */
  readonly manifests: readonly string[];
  /** Everything that goes. */
  readonly keys: readonly string[];
  /** Windows that a sink has not acknowledged, by sink; nothing is removed while there are any. */
  readonly undelivered: Readonly<Record<string, readonly string[]>>;
  readonly signed: boolean;
}

/** A sink that is configured, and the second from which windows are its own; all of them where it has none. */
export interface OwedSink {
  readonly name: string;
  readonly startAt?: number;
}

/**
 * Days that end before `before` (seconds). The newest day with a window always stays, and so do days that a later window has adjusted
 * only if they are as young. `sinks` are those that are configured; every sink that ever acknowledged
 * anything counts as well, from the first window that it took.
 */
export async function planRetention(
  ledger: Ledger,
  {
    before,
    sinks,
    ignored,
  }: { readonly before: number; readonly sinks: readonly OwedSink[]; readonly ignored: readonly string[] },
): Promise<RetentionPlan> {
  const keys = await ledger.list("v1/");
  const manifests = keys.filter((key) => startOfManifestKey(key) !== undefined);
  const newest = startOfManifestKey(manifests.at(-1) ?? "");
  const limit = Math.min(before, newest === undefined ? 0 : startOfDay(dayOf({ start: newest })));
  const going = manifests.filter((key) => isOfDaysBefore(key, limit));
  // No further than the checkpoint reaches: a day without a window may hold pointers to adjustments that stay.
  const daysEnd = endOfDay(startOfManifestKey(going.at(-1) ?? "") ?? -Infinity);
  const known = await ledger.list(SINKS_PREFIX);
  const starts = new Map([...firstTaken(known), ...sinks.map(({ name, startAt = 0 }) => [name, startAt] as const)]);
  const acknowledged = new Set(known);
  const undelivered = [...starts]
    .filter(([name]) => !ignored.includes(name))
    .map(([name, startAt]) => {
      const own = going.filter((key) => (startOfManifestKey(key) ?? 0) >= startAt);
      return [name, own.filter((key) => !acknowledged.has(ackKey(name, key)))] as const;
    })
    .filter(([, owed]) => owed.length > 0);
  const present = new Set(keys);
  return {
    days: [...new Set(going.map((key) => key.slice(6, 16)))],
    manifests: going,
    keys: keys.filter((key) => isOfDaysBefore(key, daysEnd)),
    undelivered: Object.fromEntries(undelivered),
    signed: manifests.some((key) => present.has(signatureKeyOf(key))),
  };
}

/** Sinks that ever wrote, and since when: windows are delivered in the order of time, so a sink never owed those before its first. */
function firstTaken(keys: readonly string[]): ReadonlyMap<string, number> {
  const starts = new Map<string, number>();
  for (const key of keys) {
    const name = key.split("/")[1];
    if (name === undefined) continue;
    const prefix = acksPrefix(name);
    const folder = key.startsWith(prefix) ? key.slice(prefix.length).replace(/[^/]*$/, "") : "";
    const start = startOfManifestKey(`${folder}manifest.json`) ?? Infinity;
    starts.set(name, Math.min(start, starts.get(name) ?? Infinity));
  }
  return new Map([...starts].map(([name, start]) => [name, start === Infinity ? 0 : start]));
}

function isOfDaysBefore(key: string, end: number): boolean {
  const day = /^v1\/dt=(\d{4}-\d{2}-\d{2})\//.exec(key)?.[1];
  return day !== undefined && startOfDay(day) + 86_400 <= end;
}

function startOfDay(day: string): number {
  return secondsOf(`${day}T00:00:00Z`);
}

/** Removes what planRetention() named. May die anywhere: the checkpoint stands first, and the next run removes what is left. */
export async function retain(
  ledger: Ledger,
  plan: RetentionPlan,
  signer: ManifestSigner | undefined,
): Promise<Checkpoint> {
  const checkpoint = await checkpointOf(ledger, plan.manifests);
  const key = checkpointKey(secondsOf(checkpoint.removedThrough));
  const bytes = canonicalBytes(checkpoint);
  await ledger.putOnce(key, bytes);
  const stored = await ledger.get(key);
  if (!stored || !Buffer.from(bytes).equals(stored))
    throw new TerminalError(
      "LedgerObjectDamaged",
      `${key} holds another checkpoint than these windows give; nothing was removed`,
    );
  if (signer && (await signManifest(ledger, { key, bytes }, signer)) === "differs")
    throw new TerminalError(
      "LedgerObjectDamaged",
      `${signatureKeyOf(key)} is signed with another key; nothing was removed`,
    );
  await inTurns(plan.keys, 16, (one) => ledger.remove(one));
  const older = (await ledger.list(CHECKPOINTS_PREFIX)).filter((one) => one < key && one !== signatureKeyOf(key));
  await inTurns(older, 16, (one) => ledger.remove(one));
  return checkpoint;
}

/** Adds the windows to what earlier checkpoints stand for. Throws where the chain does not lead through them. */
async function checkpointOf(ledger: Ledger, manifests: readonly string[]): Promise<Checkpoint> {
  const found = await newestCheckpoint(ledger);
  if (typeof found === "string")
    throw new TerminalError("LedgerObjectDamaged", `${found} is no checkpoint of Berth's; nothing was removed`);
  let sum = found?.checkpoint;
  for (const key of manifests) {
    const { manifest, sha256 } = await readManifest(ledger, key);
    if (sum && manifest.windowEnd <= sum.removedThrough) continue;
    if (sum && manifest.previousManifestSha256 !== sum.lastManifestSha256)
      throw new TerminalError(
        "LedgerChainBroken",
        `${key} is not chained to what is before it: run berth ledger verify; nothing was removed`,
      );
    sum = {
      schema: CHECKPOINT_SCHEMA,
      cluster: manifest.cluster,
      removedThrough: manifest.windowEnd,
      lastManifestSha256: sha256,
      windows: (sum?.windows ?? 0) + 1,
      records: (sum?.records ?? 0) + manifest.records,
      totals: addQuantities(sum ? [sum.totals, manifest.totals] : [manifest.totals]),
    };
  }
  if (!sum) throw new RangeError("there is nothing to remove");
  return sum;
}
