/** Gathers things that are written together, so that many small ones cost few requests or flushes; what is lost with the process is bounded. */
import type { Clock } from "../ports.ts";

/** Written or not yet begun with: so many may be lost, and who brings one more waits. */
export const MOST_UNWRITTEN = 64;
/** Half, so that things can come while others are being written. */
const DUE_THINGS = MOST_UNWRITTEN / 2;
const LONGEST_WAIT_MS = 1_000;

export interface Batches<T> {
  /**
   * Resolves when the thing is among those that are written next; waits while as many as may be lost are not written. Rejects
   * once a write has failed.
   */
  add(thing: T): Promise<void>;
  /** Throws what a write has failed with. */
  throwIfFailed(): void;
  /** Resolves when everything that was added is written, also what a write has failed with; rejects where that fails. */
  flush(): Promise<void>;
}

/** `write` runs once at a time. What it could not write it gets once more, before all others. */
export function newBatches<T>(write: (things: readonly T[]) => Promise<void>, clock: Clock): Batches<T> {
  let things: T[] = [];
  /** With those that are being written. */
  let unwritten = 0;
  const waiting: { readonly thing: T; readonly added: PromiseWithResolvers<void> }[] = [];
  let failure: { readonly error: unknown } | undefined;
  let sinceMs = clock.monotonicMs();
  let writing: Promise<void> = Promise.resolve();
  let isWriting = false;

  const isDue = (): boolean =>
    waiting.length > 0 || things.length >= DUE_THINGS || clock.monotonicMs() - sinceMs >= LONGEST_WAIT_MS;
  const admit = (): void => {
    for (const { thing, added } of waiting.splice(0, MOST_UNWRITTEN - unwritten)) {
      unwritten++;
      things.push(thing);
      added.resolve();
    }
  };
  /** Its things may still be lost, so that they count as before, and there is room for nobody else. */
  const fail = (error: unknown, batch: readonly T[]): void => {
    things = [...batch, ...things];
    failure ??= { error };
    for (const { added } of waiting.splice(0)) added.reject(error);
  };
  /** Goes on while more is due. */
  async function writeAll(all: boolean): Promise<void> {
    isWriting = true;
    try {
      while (things.length > 0 && (all || isDue())) {
        const batch = things;
        things = [];
        sinceMs = clock.monotonicMs();
        await write(batch).catch((error: unknown) => {
          fail(error, batch);
          throw error;
        });
        unwritten -= batch.length;
        admit();
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
    // Who waits or comes later is told.
    void begin(false).catch(() => undefined);
  };
  const throwIfFailed = (): void => {
    if (failure) throw failure.error;
  };
  return {
    async add(thing) {
      throwIfFailed();
      const added = Promise.withResolvers<void>();
      waiting.push({ thing, added });
      admit();
      beginWhereDue();
      return added.promise;
    },
    throwIfFailed,
    flush: () => begin(true),
  };
}
