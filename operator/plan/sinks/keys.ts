/** Keys of a sink in the ledger. Written once like everything there; the cursor is the newest acknowledgement. */
import { sha256Hex } from "../metering/identity.ts";
import { instantOfSeconds } from "../metering/windows.ts";

export const SINKS_PREFIX = "sinks/";

const windowOf = (manifestKey: string): string => manifestKey.replace(/\/manifest\.json$/, "");

export function acksPrefix(sink: string): string {
  return `${SINKS_PREFIX}${sink}/acks/`;
}

/** There once every record of the window was accepted or quarantined. */
export function ackKey(sink: string, manifestKey: string): string {
  return `${acksPrefix(sink)}${windowOf(manifestKey)}/done.json`;
}

/** There once these records (positions in the window, `end` exclusive) were; only for windows of several batches. */
export function partKey(
  sink: string,
  manifestKey: string,
  range: { readonly start: number; readonly end: number },
): string {
  const digits = (value: number) => String(value).padStart(7, "0");
  return `${acksPrefix(sink)}${windowOf(manifestKey)}/part-${digits(range.start)}-${digits(range.end)}.json`;
}

/** Positions that a part's key names. */
export function rangeOfPartKey(key: string): { readonly start: number; readonly end: number } | undefined {
  const match = /\/part-(\d+)-(\d+)\.json$/.exec(key);
  return match ? { start: Number(match[1]), end: Number(match[2]) } : undefined;
}

export function quarantinePrefix(sink: string): string {
  return `${SINKS_PREFIX}${sink}/quarantine/`;
}

export function quarantineKey(sink: string, recordId: string): string {
  return `${quarantinePrefix(sink)}${recordId}.json`;
}

export function replayPrefix(sink: string): string {
  return `${SINKS_PREFIX}${sink}/replay/`;
}

export function replayedPrefix(sink: string): string {
  return `${SINKS_PREFIX}${sink}/replayed/`;
}

/** There once the replay of that name is done. */
export function replayedKey(sink: string, requestKey: string): string {
  return `${replayedPrefix(sink)}${requestKey.slice(replayPrefix(sink).length)}`;
}

/** Where the prices of a list's version are kept as the sink first used them; names of lists may hold characters that keys may not. */
export function pricesKey(sink: string, list: string, version: string): string {
  const digest = sha256Hex(Buffer.from(JSON.stringify([list, version])));
  return `${SINKS_PREFIX}${sink}/prices/${digest.slice(0, 32)}.json`;
}

/** Name of a window's FOCUS file: by the month in which it is billed, the day and the second of its begin. */
export function focusFileKey({ start }: { readonly start: number }): string {
  const [day = "", time = ""] = instantOfSeconds(start).slice(0, -1).split("T");
  return `period=${day.slice(0, 7)}/dt=${day}/hr=${time.replaceAll(":", "")}.csv`;
}
