/**
 * What inspection has read, as digests: configuration, templates, the index, the headers of weights. The copy reads the same objects
 * again, and a server may answer a second time with other bytes under the same ETag; only what was inspected may be stored.
 */
import type { ModelFile } from "../plan/model/listing.ts";
import type { ObjectSource, ObjectStore, SourceObject } from "../ports.ts";
import { RetryError, TerminalError } from "../runtime/errors.ts";
import { sha256Hex } from "./hash.ts";
import { withRetries } from "./retry.ts";
import type { RetryOptions } from "./retry.ts";

/** Parts are compared block by block, in whatever order they come: their boundaries are boundaries of blocks. */
const BLOCK_BYTES = 1 << 20;

interface Beginning {
  readonly lengthBytes: number;
  /** SHA-256 of each block. */
  readonly digests: readonly string[];
  /** Blocks that nobody has compared yet. */
  readonly unseen: Set<number>;
}

interface StoredPlace {
  readonly store: ObjectStore;
  readonly retry: RetryOptions;
}

export interface Inspected {
  /** The first bytes of an object, or all of them, as inspection took them. */
  note(object: SourceObject, bytes: Uint8Array): void;
  /** The same source; what it brings that differs from what was noted is SourceChanged. */
  held(source: ObjectSource): ObjectSource;
  /** Whether what the store holds under that key begins with what was noted. */
  isStored(place: StoredPlace, key: string, file: ModelFile): Promise<boolean>;
  /** The same of the object that the copy has written: what the source brought for it is compared already. */
  isBrought(place: StoredPlace, key: string, file: ModelFile): Promise<boolean>;
}

/** Nothing that is asked again soon will be better. */
export const otherBytes = ({ key }: SourceObject): RetryError =>
  new RetryError(
    new TerminalError(
      "SourceChanged",
      `${key.slice(0, 200)} is not what was inspected, although its ETag is the same: upload it again`,
    ),
  );

const blockOf = ({ lengthBytes }: Beginning, number: number) => {
  const from = number * BLOCK_BYTES;
  return { from, to: Math.min(from + BLOCK_BYTES, lengthBytes) };
};

function beginningOf(bytes: Uint8Array): Beginning {
  const digests: string[] = [];
  for (let from = 0; from < bytes.length; from += BLOCK_BYTES)
    digests.push(sha256Hex(bytes.subarray(from, from + BLOCK_BYTES)));
  return { lengthBytes: bytes.length, digests, unseen: new Set(digests.keys()) };
}

async function isBegunBy(
  { store, retry }: StoredPlace,
  key: string,
  beginning: Beginning,
  blocks: Iterable<number>,
): Promise<boolean> {
  for (const number of blocks) {
    const { from, to } = blockOf(beginning, number);
    const bytes = await withRetries(retry, () => store.read(key, from, to - from));
    if (sha256Hex(bytes) !== beginning.digests[number]) return false;
  }
  return true;
}

/** The whole beginning, of an object of the file's size. */
async function isObjectBegunBy(place: StoredPlace, key: string, file: ModelFile, beginning?: Beginning) {
  if (!beginning) return true;
  const found = await withRetries(place.retry, () => place.store.head(key));
  return found?.sizeBytes === file.sizeBytes && isBegunBy(place, key, beginning, beginning.digests.keys());
}

export function newInspected(): Inspected {
  const noted = new Map<string, Beginning>();

  function compare(object: SourceObject, offset: number, bytes: Uint8Array): void {
    const beginning = noted.get(object.key);
    if (!beginning) return;
    for (let number = Math.ceil(offset / BLOCK_BYTES); number < beginning.digests.length; number++) {
      const { from, to } = blockOf(beginning, number);
      if (to > offset + bytes.length) return;
      if (sha256Hex(bytes.subarray(from - offset, to - offset)) !== beginning.digests[number]) throw otherBytes(object);
      beginning.unseen.delete(number);
    }
  }
  return {
    note: (object, bytes) => void noted.set(object.key, beginningOf(bytes)),
    held: (source) => {
      const { fill, reader } = source;
      return {
        ...source,
        async read(object, offset, ...rest) {
          const bytes = await source.read(object, offset, ...rest);
          compare(object, offset, bytes);
          return bytes;
        },
        ...(fill && {
          async fill(object, offset, into, signal) {
            const filled = await fill(object, offset, into, signal);
            compare(object, offset, into);
            return filled;
          },
        }),
        ...(reader && {
          reader(object) {
            const one = reader(object);
            return {
              ...one,
              async fill(offset, into, signal) {
                const filled = await one.fill(offset, into, signal);
                compare(object, offset, into);
                return filled;
              },
            };
          },
        }),
      };
    },
    isStored: (place, key, file) => isObjectBegunBy(place, key, file, noted.get(file.key)),
    async isBrought(place, key, file) {
      const beginning = noted.get(file.key);
      return !beginning || isBegunBy(place, key, beginning, beginning.unseen);
    },
  };
}
