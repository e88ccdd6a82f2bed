/** What a ledger says of its sinks: how far each has come, what was set aside, which replays wait. Needs no running operator. */
import { quarantined, sinkReplay, sinkWithdrawal } from "../api/sinks.ts";
import type { Quarantined, SinkReplay } from "../api/sinks.ts";
import { canonicalBytes } from "../plan/metering/canonical.ts";
import { instantOfSeconds, startOfManifestKey } from "../plan/metering/windows.ts";
import { SINKS_PREFIX, ackKey, quarantinePrefix, replayPrefix, replayedKey } from "../plan/sinks/keys.ts";
import type { Ledger } from "../ports.ts";
import { inTurns } from "./closing.ts";
import { corrupt, sealedKeys } from "./ledgerreads.ts";

export interface SinkState {
  readonly sink: string;
  /** Begin of the newest window that it acknowledged; undefined where it took none. */
  readonly newestTaken: string | undefined;
  /** Windows after the first one taken that it has not acknowledged; undefined where it took none, so that nobody can tell. */
  readonly owed: number | undefined;
  readonly oldestOwed: string | undefined;
  readonly quarantined: number;
  /** Replays that were asked for and are not done. */
  readonly replaysWaiting: number;
  /** Their keys, each one that may be withdrawn. */
  readonly requests: readonly string[];
}

/** In the order of names: every sink that ever wrote into this ledger. */
export async function sinkStates(ledger: Ledger): Promise<readonly SinkState[]> {
  const keys = await ledger.list(SINKS_PREFIX);
  const manifests = await sealedKeys(ledger, 0, Infinity);
  const present = new Set(keys);
  const names = [...new Set(keys.flatMap((key) => key.split("/")[1] ?? []))].sort();
  return names.map((sink): SinkState => {
    const taken = manifests.filter((key) => present.has(ackKey(sink, key)));
    const [first] = taken;
    const owed =
      first === undefined ? undefined : manifests.filter((key) => key > first && !present.has(ackKey(sink, key)));
    const waiting = keys.filter((key) => key.startsWith(replayPrefix(sink)) && !present.has(replayedKey(sink, key)));
    return {
      sink,
      newestTaken: beginOf(taken.at(-1)),
      owed: owed?.length,
      oldestOwed: beginOf(owed?.[0]),
      quarantined: keys.filter((key) => key.startsWith(quarantinePrefix(sink))).length,
      replaysWaiting: waiting.length,
      requests: waiting,
    };
  });
}

function beginOf(manifestKey: string | undefined): string | undefined {
  const start = startOfManifestKey(manifestKey ?? "");
  return start === undefined ? undefined : instantOfSeconds(start);
}

/** Records that the sink refused for good, in the order of windows. */
export async function quarantinedRecords(ledger: Ledger, sink: string): Promise<readonly Quarantined[]> {
  const found = await inTurns(await ledger.list(quarantinePrefix(sink)), 16, async (key) => {
    const bytes = await ledger.get(key);
    // Taken by a replay meanwhile.
    if (!bytes) return [];
    const parsed = quarantined.safeParse(jsonOf(key, bytes));
    if (!parsed.success) throw corrupt(key, parsed.error);
    return [parsed.data];
  });
  const order = ({ manifest, recordId }: Quarantined): string => `${manifest} ${recordId}`;
  return found.flat().sort((a, b) => (order(a) < order(b) ? -1 : 1));
}

function jsonOf(key: string, bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes).toString());
  } catch (error) {
    throw corrupt(key, error);
  }
}

export interface ReplayAsked {
  readonly key: string;
  /** There once the operator has sent everything. */
  readonly doneKey: string;
  readonly windows: number;
}

/**
 * Writes a request that the operator's sink finds at its next look; `name` must be a new one. Undefined, and nothing written,
 * where no window is sealed in [from, to) seconds.
 */
export async function askForReplay(
  ledger: Ledger,
  sink: string,
  wish: { readonly name: string; readonly from: number; readonly to: number } & Pick<SinkReplay, "only" | "records">,
): Promise<ReplayAsked | undefined> {
  const { name, from, to, only, records } = wish;
  const windows = (await sealedKeys(ledger, from, to)).length;
  if (windows === 0) return undefined;
  const range = { from: instantOfSeconds(from), to: instantOfSeconds(to) };
  const request = { schema: "berth.dev/sink-replay.v1", ...range, ...(only && { only }), ...(records && { records }) };
  const key = `${replayPrefix(sink)}${name}.json`;
  await ledger.putOnce(key, canonicalBytes(sinkReplay.parse(request)));
  return { key, doneKey: replayedKey(sink, key), windows };
}

/** Ends a request; what was sent of it stays sent. False where the operator has done all of it before. */
export async function withdrawReplay(ledger: Ledger, sink: string, request: string): Promise<boolean> {
  const key = replayedKey(sink, request);
  const withdrawal = canonicalBytes(sinkWithdrawal.parse({ schema: "berth.dev/sink-withdrawal.v1", request }));
  await ledger.putOnce(key, withdrawal);
  return isWithdrawal((await ledger.get(key)) ?? Buffer.alloc(0));
}

/** Of what lies at the key of a request that is over. */
export function isWithdrawal(bytes: Uint8Array): boolean {
  return sinkWithdrawal.safeParse(JSON.parse(Buffer.from(bytes).toString() || "null")).success;
}
