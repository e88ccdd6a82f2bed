/**
 * One answer for a whole object, read piece by piece as memory comes. A request for each part costs a way to the server and back, a
 * signature and, with servers that close after each answer, a connection; and some hand only whole objects to the kernel to send.
 */
import type { ObjectReader, SourceObject } from "../../ports.ts";
import type { BulkSink } from "./bulk.ts";

type Headers = ReadonlyMap<string, string>;

/** Between two pieces of memory nothing is read: the server waits. */
class ReaderSink implements BulkSink {
  headers: Headers = new Map();
  readonly #check: (headers: Headers) => void;
  /** Bytes of the answer that have not come. */
  #left: number;
  #into: Uint8Array | undefined;
  #at = 0;
  #full = Promise.withResolvers<void>();
  #room: PromiseWithResolvers<void> | undefined;
  /** Came with bytes for which there was memory, and had none itself: several pieces where one read held several chunks. */
  #surplus: Uint8Array[] = [];

  constructor(lengthBytes: number, check: (headers: Headers) => void) {
    this.#left = lengthBytes;
    this.#check = check;
  }

  begin(headers: Headers, isBody: boolean): void {
    this.headers = headers;
    if (isBody) this.#check(headers);
  }

  next(): Uint8Array | undefined {
    return this.#into?.subarray(this.#at);
  }

  take(piece: Uint8Array): void {
    if (piece.length > this.#left) throw new Error("the server sends more bytes than were asked for");
    this.#left -= piece.length;
    this.#put(piece);
  }

  drained(): Promise<void> | undefined {
    if (this.#into || this.#left === 0) return undefined;
    this.#room ??= Promise.withResolvers();
    return this.#room.promise;
  }

  /** Resolves when the memory is full. */
  fill(into: Uint8Array): Promise<void> {
    this.#full = Promise.withResolvers();
    this.#into = into;
    this.#at = 0;
    const surplus = this.#surplus;
    this.#surplus = [];
    for (const piece of surplus) this.#put(piece);
    if (this.#into) {
      this.#room?.resolve();
      this.#room = undefined;
    }
    return this.#full.promise;
  }

  /** Bytes that are missing in the memory of the last call. */
  get missing(): number {
    return this.#into ? this.#into.length - this.#at : 0;
  }

  /** Whether everything has come that was asked for. */
  get isWhole(): boolean {
    return this.#left === 0;
  }

  #put(piece: Uint8Array): void {
    const into = this.#into;
    const count = into ? Math.min(piece.length, into.length - this.#at) : 0;
    if (count < piece.length) this.#surplus.push(Uint8Array.prototype.slice.call(piece, count));
    if (!into) return;
    const isThere = piece.buffer === into.buffer && piece.byteOffset === into.byteOffset + this.#at;
    if (!isThere) into.set(piece.subarray(0, count), this.#at);
    this.#at += count;
    if (this.#at < into.length) return;
    this.#into = undefined;
    this.#full.resolve();
  }
}

/** One answer, from its request to its end. */
interface Answer {
  readonly sink: ReaderSink;
  readonly ended: Promise<void>;
  readonly stop: () => void;
  /** Where the next bytes of it belong in the object. */
  at: number;
  isOver: boolean;
}

export interface ReaderOptions {
  readonly object: SourceObject;
  /** Asks for everything from `offset`; resolves when all of it is in the sink. */
  readonly ask: (offset: number, sink: BulkSink, signal: AbortSignal) => Promise<void>;
  /** Throws where an answer with these headers is not the object from `offset` to its end. */
  readonly check: (offset: number, headers: Headers) => void;
  /** Around each call: names errors, and does the work again where credentials were renewed. */
  readonly guarded: (work: () => Promise<void>) => Promise<void>;
}

function begin({ object, ask, check }: ReaderOptions, offset: number): Answer {
  const stopping = new AbortController();
  const sink = new ReaderSink(object.sizeBytes - offset, (headers) => check(offset, headers));
  const answer = { sink, at: offset, isOver: false, stop: () => stopping.abort() };
  const ended = ask(offset, sink, stopping.signal).finally(() => (answer.isOver = true));
  // One that breaks off while nobody waits for it is asked for again.
  ended.catch(() => undefined);
  return Object.assign(answer, { ended });
}

async function fillFrom(answer: Answer, into: Uint8Array, signal: AbortSignal | undefined): Promise<void> {
  const { sink, ended, stop } = answer;
  signal?.addEventListener("abort", stop, { once: true });
  const whole = sink.fill(into);
  const early = async (): Promise<void> => {
    await ended;
    if (sink.missing > 0)
      throw new Error(`the answer ended ${String(sink.missing)} bytes before ${String(into.length)} had come`);
  };
  try {
    if (signal?.aborted) stop();
    await Promise.race([whole, early()]);
    answer.at += into.length;
  } catch (error) {
    stop();
    // The memory is somebody else's only when nothing writes to it any more.
    await ended.catch(() => undefined);
    throw error;
  } finally {
    signal?.removeEventListener("abort", stop);
  }
}

export function newObjectReader(options: ReaderOptions): ObjectReader {
  let open: Answer | undefined;
  const close = (): void => {
    open?.stop();
    open = undefined;
  };
  const answerAt = (offset: number): Answer => {
    // What nobody has taken yet of an answer that is over may still be there.
    if (open?.at === offset && (!open.isOver || open.sink.isWhole)) return open;
    close();
    return (open = begin(options, offset));
  };
  return {
    async fill(offset, into, signal) {
      await options.guarded(async () => {
        const answer = answerAt(offset);
        await fillFrom(answer, into, signal).catch((error: unknown) => {
          if (open === answer) open = undefined;
          throw error;
        });
      });
      return { stated: {} };
    },
    close,
  };
}
