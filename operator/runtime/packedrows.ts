/** Many small values that are gone through in order and seldom: deflated JSON in blocks, of which one is unpacked at a time. */
import { deflateRawSync, inflateRawSync } from "node:zlib";

/** Some hundred kB before they are packed: enough to find what rows have in common. */
const rowsInBlock = 128;

/** Can be gone through again and again, with new values each time; fields that are undefined are absent. */
export function packRows<T>(rows: Iterable<T>): Iterable<T> {
  const blocks: Uint8Array[] = [];
  let block: T[] = [];
  const pack = (): void => {
    if (block.length === 0) return;
    // A copy of the right length: zlib's own buffer is one of 16 kB.
    blocks.push(Uint8Array.from(deflateRawSync(JSON.stringify(block), { level: 1 })));
    block = [];
  };
  for (const row of rows) if (block.push(row) === rowsInBlock) pack();
  pack();
  return {
    *[Symbol.iterator]() {
      for (const packed of blocks) yield* JSON.parse(inflateRawSync(packed).toString()) as T[];
    },
  };
}
