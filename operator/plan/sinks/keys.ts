/** Keys of a sink in the ledger. Written once like everything there; the cursor is the newest acknowledgement. */

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

/** There once the replay of that name is done. */
export function replayedKey(sink: string, requestKey: string): string {
  return `${SINKS_PREFIX}${sink}/replayed/${requestKey.slice(replayPrefix(sink).length)}`;
}
