/** Keys that end in `.gz` are stored as gzip: transport only, so that digests are taken over what callers read and write. */
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import { promisify } from "node:util";
import { createGunzip, createGzip, gunzip } from "node:zlib";

import type { Ledger } from "../../ports.ts";
import { TerminalError } from "../../runtime/errors.ts";

/** What a store itself holds: whole objects. */
export interface PlainLedger extends Omit<Ledger, "putOnce" | "read" | "probe"> {
  putOnce(key: string, body: Uint8Array): Promise<"created" | "exists">;
  /** Throws TerminalError LedgerOverwrites where the store does not honour the condition. */
  probe(): Promise<unknown>;
}

/** A store that knows its own kind (careful.ts). */
export type ConditionalLedger = Omit<PlainLedger, "probe"> & Pick<Ledger, "probe">;

/** An hour of 10,000 deployments is some 20 MB; what grows above this was not written by Berth. */
const longestBytes = 512 * 2 ** 20;

export function withCompression(ledger: ConditionalLedger): Ledger {
  const packed = (key: string) => key.endsWith(".gz");
  return {
    ...ledger,
    async putOnce(key, body) {
      const pieces = body instanceof Uint8Array ? [body] : body;
      if (!packed(key)) return ledger.putOnce(key, body instanceof Uint8Array ? body : Buffer.concat([...pieces]));
      return ledger.putOnce(key, await pack(pieces));
    },
    async get(key) {
      const stored = await ledger.get(key);
      return stored !== undefined && packed(key) ? buffer(unpack(key, stored)) : stored;
    },
    async read(key, { wholeUpToBytes = 0 } = {}) {
      const stored = await ledger.get(key);
      if (stored === undefined) return undefined;
      if (!packed(key)) return Readable.from([stored]);
      const whole = await unpackWhole(stored, wholeUpToBytes);
      return whole ? Readable.from([whole]) : unpack(key, stored);
    },
  };
}

/** Keeps only compressed bytes, whatever the length of what goes in. */
async function pack(pieces: Iterable<Uint8Array>): Promise<Uint8Array> {
  const packed: Uint8Array[] = [];
  await pipeline(Readable.from(pieces), createGzip({ level: 6 }), async (stream: AsyncIterable<Uint8Array>) => {
    for await (const piece of stream) packed.push(piece);
  });
  return Buffer.concat(packed);
}

const gunzipWhole = promisify(gunzip);
const smallestChunk = 1 << 16;

/** In one go on zlib's thread; undefined for what is longer, or no gzip: unpack() says what is wrong with it. */
async function unpackWhole(stored: Uint8Array, mostBytes: number): Promise<Uint8Array | undefined> {
  if (mostBytes === 0 || stored.byteLength < 4) return undefined;
  // A gzip ends with its length. It may lie, so it only sizes the buffer.
  const length = new DataView(stored.buffer, stored.byteOffset).getUint32(stored.byteLength - 4, true);
  if (length > mostBytes) return undefined;
  const chunkSize = Math.max(smallestChunk, length + 1);
  return gunzipWhole(stored, { chunkSize, maxOutputLength: mostBytes }).catch(() => undefined);
}

async function* unpack(key: string, stored: Uint8Array): AsyncGenerator<Uint8Array> {
  let length = 0;
  try {
    const gunzip = createGunzip({ chunkSize: 1 << 18 });
    gunzip.end(stored);
    for await (const piece of gunzip as AsyncIterable<Uint8Array>) {
      length += piece.byteLength;
      if (length > longestBytes) throw new RangeError(`is longer than ${longestBytes} bytes`);
      yield piece;
    }
  } catch (error) {
    const message = `${key} in the ledger is no gzip of Berth's; it was not touched: compare it with a copy and restore it`;
    throw new TerminalError("LedgerObjectDamaged", message, { cause: error });
  }
}
