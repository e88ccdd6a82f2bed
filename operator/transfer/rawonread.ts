/** How a socket reads into memory that somebody else owns, in turns, and holds what comes while that memory is in use. */
import type * as net from "node:net";

/**
 * What a connection reads before the others have their turn: a socket that always has more would be read some 8 MiB on end, and so
 * would each of the others, while the event loop stands still.
 */
export const TURN_BYTES = 512 << 10;

export interface Reading {
  /** Where the next bytes go, other than into the connection's own buffer. */
  readonly next: () => Uint8Array | undefined;
  /** Where it answers a promise, the buffer is in use until then. */
  readonly take: (piece: Uint8Array) => Promise<void> | undefined;
  readonly fail: (error: Error) => void;
}

/** Who reads on a connection now, if anybody. */
export interface Taker {
  reading: Reading | undefined;
}

/** A record of TLS (RFC 8446, section 5.1). */
const RECORD_BYTES = 16 << 10;

/** `socket` is asked for only once bytes have come. */
export function newOnread(line: Taker, own: Buffer, isSecure: boolean, socket: () => net.Socket): net.OnReadOpts {
  let turnBytes = 0;
  /** What comes while a buffer is in use: TLS hands over what it has decrypted, although it was told to stop. */
  let held: Uint8Array[] | undefined;
  const resume = (): void => {
    turnBytes = 0;
    socket().resume();
  };
  const take = (piece: Uint8Array): Promise<void> | undefined => {
    if (!line.reading) socket().destroy();
    return line.reading?.take(piece);
  };
  const hold = (busy: Promise<void>, pieces: Uint8Array[]): void => {
    held = pieces;
    const goOn = (): void => {
      held = undefined;
      for (let piece = pieces.shift(); piece; piece = pieces.shift()) {
        const more = take(piece);
        if (more) return hold(more, pieces);
      }
      resume();
    };
    busy.then(goOn, () => socket().destroy());
  };
  return {
    // Asked again after each call: between two requests nothing but the connection's own buffer can be written to. Without TLS
    // nothing is read into it before the piece that lies there is free.
    buffer: () => (held && isSecure ? Buffer.allocUnsafeSlow(RECORD_BYTES) : (line.reading?.next() ?? own)),
    callback(bytes, buffer) {
      const piece = buffer.subarray(0, bytes);
      if (held) return (held.push(piece), false);
      const busy = take(piece);
      turnBytes += bytes;
      if (!busy && turnBytes < TURN_BYTES) return true;
      if (busy) hold(busy, []);
      else setImmediate(resume);
      return false;
    },
  };
}
