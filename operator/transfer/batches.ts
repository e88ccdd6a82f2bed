/** Gathers things that are written together, so that many small ones cost few requests or flushes; what is lost with the process is bounded. */
import type { Clock } from "../ports.ts";

const MOST_THINGS = 64;
/** Bytes that the things stand for: as many as one part has. */
const MOST_BYTES = 16 << 20;
const LONGEST_WAIT_MS = 1_000;

export interface Batches<T> {
  add(thing: T, bytes: number): void;
  /** Resolves when everything that was added is written; rejects where that fails. */
  flush(): Promise<void>;
}

/** `write` runs once at a time. */
export function newBatches<T>(write: (things: readonly T[]) => Promise<void>, clock: Clock): Batches<T> {
  let things: T[] = [];
  let bytes = 0;
  let sinceMs = clock.monotonicMs();
  let writing: Promise<void> = Promise.resolve();
  let isWriting = false;

  const isDue = (): boolean =>
    things.length >= MOST_THINGS || bytes >= MOST_BYTES || clock.monotonicMs() - sinceMs >= LONGEST_WAIT_MS;
  /** Goes on while more is due. */
  async function writeAll(all: boolean): Promise<void> {
    isWriting = true;
    try {
      while (things.length > 0 && (all || isDue())) {
        const batch = things;
        things = [];
        bytes = 0;
        sinceMs = clock.monotonicMs();
        await write(batch);
      }
    } finally {
      isWriting = false;
    }
  }
  const begin = (all: boolean): Promise<void> => {
    const next = (): Promise<void> => writeAll(all);
    writing = writing.then(next, next);
    return writing;
  };
  return {
    add(thing, sizeBytes) {
      things.push(thing);
      bytes += sizeBytes;
      if (!isWriting && isDue()) void begin(false).catch(() => undefined);
    },
    flush: () => begin(true),
  };
}
