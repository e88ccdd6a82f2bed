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

export function newPartFiller(filling: Filling & { readonly answers: Answers }, file: ModelFile): PartFiller {
  const { source, answers } = filling;
  const reader = source.reader?.(file);
  let before: Promise<unknown> = Promise.resolve();
  let waiting = 0;
  /** After the one before it; where that has failed, this fails alike, since the file does. */
  async function fillNext(offset: number, into: Uint8Array): Promise<void> {
    waiting++;
    try {
      await before;
      await fillPart({ ...filling, reader }, file, offset, into);
    } finally {
      waiting--;
      if (waiting === 0 && answers.now === "Parts") reader?.close();
    }
  }
  return {
    async fill(offset, into) {
      if (reader) answers.part(waiting > 0);
      if (!reader || answers.now === "Parts") return void (await fillPart(filling, file, offset, into));
      const filled = fillNext(offset, into);
      before = filled;
      filled.catch(() => undefined);
      return filled;
    },
    close: () => reader?.close(),
  };
}
