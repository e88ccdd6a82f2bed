/** Brings the parts of one file into memory, in the order of the file: out of one answer, or each with a request of its own. */
import type { ModelFile } from "../plan/model/listing.ts";
import type { Answers } from "./answers.ts";
import { fillPart } from "./fill.ts";
import type { Filling } from "./fill.ts";

export interface PartFiller {
  /** Call it in the order of the file; parts may be left out. Resolves when the memory is full. */
  fill(offset: number, into: Uint8Array): Promise<void>;
  /** Ends what is still open. */
  close(): void;
}

/**
 * `fromOffset`: what is before it is asked for part by part, since some of it is there already, which one answer would bring again.
 */
export function newPartFiller(
  filling: Filling & { readonly answers: Answers },
  file: ModelFile,
  fromOffset = 0,
): PartFiller {
  const { source, answers } = filling;
  const { clock } = filling.retry;
  const reader = source.reader?.(file);
  let before: Promise<unknown> = Promise.resolve();
  let waiting = 0;
  /** Since when the open answer waits for memory; undefined before there is one. */
  let restsSinceMs: number | undefined;
  /** After the one before it; where that has failed, this fails alike, since the file does. */
  async function fillNext(offset: number, into: Uint8Array): Promise<void> {
    waiting++;
    try {
      await before;
      const sinceMs = clock.monotonicMs();
      await fillPart({ ...filling, reader }, file, offset, into);
      const nowMs = clock.monotonicMs();
      if (restsSinceMs !== undefined) answers.filled(nowMs - sinceMs, sinceMs - restsSinceMs);
      restsSinceMs = nowMs;
    } finally {
      waiting--;
      if (waiting === 0 && answers.now === "Parts") reader?.close();
    }
  }
  return {
    async fill(offset, into) {
      if (!reader || offset < fromOffset) return void (await fillPart(filling, file, offset, into));
      if (answers.now === "Parts") return void (await fillPart(filling, file, offset, into));
      const filled = fillNext(offset, into);
      before = filled;
      filled.catch(() => undefined);
      return filled;
    },
    close: () => reader?.close(),
  };
}
