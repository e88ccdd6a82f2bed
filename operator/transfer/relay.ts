/**
 * A range of an object of the bucket, passed on as it comes over a plain socket: one buffer for each connection, read again only when
 * what it holds has been sent. The SDK's way hands out a new buffer every 64 KiB, which costs several times the CPU.
 */
import { RetryError, messageOf } from "../runtime/errors.ts";
import { newRawClient } from "./rawget.ts";
import type { RawHead } from "./rawhead.ts";

export interface RelayedRange {
  readonly key: string;
  readonly offset: number;
  readonly lengthBytes: number;
}

/** Where the bytes go. */
export interface RelaySink {
  /** The bucket has begun to answer with this very range. */
  begin(): void;
  /** Resolves when the piece is sent and its memory may be used again. */
  write(piece: Uint8Array): Promise<void>;
}

export interface Relay {
  /** Rejects with a RetryError where the bucket fails, without an address in its words; as `write` does where that fails. */
  send(range: RelayedRange, sink: RelaySink, signal: AbortSignal): Promise<void>;
  close(): void;
}

export interface RelayOptions {
  /** A signed address of the object. */
  readonly address: (key: string) => Promise<string>;
  /** The bucket does not take an address that was signed just now. Where it resolves, one further address is tried. */
  readonly refused?: (key: string) => Promise<void>;
  /** Milliseconds without a byte after which a read fails. */
  readonly silenceMs: number;
}

class AddressRefused extends RetryError {}

function checkHead({ status, headers }: RawHead, { offset }: RelayedRange): void {
  const words = new Error(`the bucket answers ${String(status)}`);
  if (status === 400 || status === 401 || status === 403) throw new AddressRefused(words);
  if (status !== 206) throw new RetryError(words);
  // A server that ignores ranges would send the object's beginning in place of its middle.
  if (!headers.get("content-range")?.startsWith(`bytes ${String(offset)}-`))
    throw new RetryError(new Error("the bucket ignores ranges"));
}

/** One read, counted: what came, and what of it is still being written. */
function newReading(range: RelayedRange, { begin, write }: RelaySink) {
  let left = range.lengthBytes;
  let writing: Promise<void> | undefined;
  return {
    onHead(head: RawHead): void {
      checkHead(head, range);
      begin();
    },
    onBytes(piece: Uint8Array): void {
      left -= piece.length;
      if (left < 0) throw new RetryError(new Error("the object is longer than its manifest says"));
      const sent = write(piece);
      writing = writing ? Promise.all([writing, sent]).then(() => undefined) : sent;
      writing.catch(() => undefined);
    },
    drained(): Promise<void> | undefined {
      const sent = writing;
      writing = undefined;
      return sent;
    },
    end(): void {
      if (left > 0) throw new RetryError(new Error(`the object ends ${String(left)} bytes early`));
    },
  };
}

export function newRelay({ address, refused, silenceMs }: RelayOptions): Relay {
  const raw = newRawClient({ silenceMs });
  const send: Relay["send"] = async (range, sink, signal) => {
    const { key, offset, lengthBytes } = range;
    const url = new URL(await address(key));
    // Told apart in the bucket's log from pods that read there themselves.
    const headers = {
      "user-agent": "berth-store",
      range: `bytes=${String(offset)}-${String(offset + lengthBytes - 1)}`,
    };
    const { end, ...reading } = newReading(range, sink);
    try {
      await raw.get({ url, headers, ...reading }, signal);
    } catch (error) {
      throw error instanceof RetryError || signal.aborted ? error : new RetryError(new Error(messageOf(error)));
    }
    end();
  };
  return {
    async send(range, sink, signal) {
      try {
        await send(range, sink, signal);
      } catch (error) {
        if (!(error instanceof AddressRefused) || !refused) throw error;
        await refused(range.key);
        await send(range, sink, signal);
      }
    },
    close: () => raw.close(),
  };
}
