/** Gathers things that are written together, so that many small ones cost few requests or flushes; what is lost with the process is bounded. */
import type { Clock } from "../ports.ts";

/** Written or not yet begun with: so many may be lost, and who brings one more waits. */
export const MOST_UNWRITTEN = 64;
/** Half, so that things can come while others are being written. */
const DUE_THINGS = MOST_UNWRITTEN / 2;
const LONGEST_WAIT_MS = 1_000;

export interface Batches<T> {
  /** Resolves when the thing is among those that are written next; waits while as many as may be lost are not written. */
  add(thing: T): Promise<void>;
  /** Resolves when everything that was added is written; rejects where that fails. */
  flush(): Promise<void>;
}

/** `write` runs once at a time. */
export function newBatches<T>(write: (things: readonly T[]) => Promise<void>, clock: Clock): Batches<T> {
  let things: T[] = [];
  /** With those that are being written. */
  let unwritten = 0;
  const waiting: (() => void)[] = [];
  let sinceMs = clock.monotonicMs();
  let writing: Promise<void> = Promise.resolve();
  let isWriting = false;

  const isDue = (): boolean =>
    waiting.length > 0 || things.length >= DUE_THINGS || clock.monotonicMs() - sinceMs >= LONGEST_WAIT_MS;
  const admit = (): void => {
    while (waiting.length > 0 && unwritten < MOST_UNWRITTEN) {
      unwritten++;
      waiting.shift()?.();
    }
  };
  /** Goes on while more is due. */
  async function writeAll(all: boolean): Promise<void> {
    isWriting = true;
    try {
      while (things.length > 0 && (all || isDue())) {
        const batch = things;
        things = [];
        sinceMs = clock.monotonicMs();
        await write(batch).finally(() => {
          unwritten -= batch.length;
          admit();
        });
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
  const beginWhereDue = (): void => {
    if (isWriting || things.length === 0 || !isDue()) return;
    // Where a write failed its things are lost, but those who wait must not be.
    void begin(false).catch(beginWhereDue);
  };
  return {
    add(thing) {
      const added = Promise.withResolvers<void>();
      waiting.push(() => {
        things.push(thing);
        added.resolve();
      });
      admit();
      beginWhereDue();
      return added.promise;
    },
    flush: () => begin(true),
  };
}
