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
  /** Milliseconds without a byte after which a read fails. */
  readonly silenceMs: number;
}

function checkHead({ status, headers }: RawHead, { offset }: RelayedRange): void {
  if (status !== 206) throw new RetryError(new Error(`the bucket answers ${String(status)}`));
  // A server that ignores ranges would send the object's beginning in place of its middle.
  if (!headers.get("content-range")?.startsWith(`bytes ${String(offset)}-`))
    throw new RetryError(new Error("the bucket ignores ranges"));
}

export function newRelay({ address, silenceMs }: RelayOptions): Relay {
  const raw = newRawClient({ silenceMs });
  return {
    async send(range, { begin, write }, signal) {
      const { key, offset, lengthBytes } = range;
      let left = lengthBytes;
      let writing: Promise<void> | undefined;
      const request = {
        url: new URL(await address(key)),
        // Told apart in the bucket's log from pods that read there themselves.
        headers: { "user-agent": "berth-store", range: `bytes=${String(offset)}-${String(offset + lengthBytes - 1)}` },
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
      };
      try {
        await raw.get(request, signal);
      } catch (error) {
        throw error instanceof RetryError || signal.aborted ? error : new RetryError(new Error(messageOf(error)));
      }
      if (left > 0) throw new RetryError(new Error(`the object ends ${String(left)} bytes early`));
    },
    close: () => raw.close(),
  };
}
