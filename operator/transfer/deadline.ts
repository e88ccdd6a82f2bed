/** A time within which a request has to be over: one byte now and then keeps a connection from being silent for ever. */
import { RetryError, TerminalError } from "../runtime/errors.ts";
import type { RetryOptions } from "./retry.ts";

/** A source that brings less than this for a whole answer is tried again on another connection. */
const LEAST_BYTES_PER_SECOND = 64 << 10;
const LEAST_DEADLINE_MS = 60_000;

export interface Request {
  /** What is asked for, for people. */
  readonly what: string;
  /** Bytes that are to come, at the most. */
  readonly lengthBytes: number;
  /** Answers that it is made of, one after the other: 1 where absent. */
  readonly answers?: number;
}

/** The work is told by its signal, and not waited for: it may hang where no signal reaches. */
export async function inTime<T>(
  { clock, signal, leastDeadlineMs = LEAST_DEADLINE_MS }: RetryOptions,
  { what, lengthBytes, answers = 1 }: Request,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const late = new AbortController();
  const deadlineMs = Math.max(leastDeadlineMs * answers, (lengthBytes * 1000) / LEAST_BYTES_PER_SECOND);
  const over = Promise.withResolvers<never>();
  const cancel = clock.after(deadlineMs, () => {
    late.abort();
    const message = `${what.slice(0, 200)} did not come in ${String(deadlineMs / 1000)} s`;
    over.reject(new RetryError(new TerminalError("SourceUnreachable", message)));
  });
  const working = work(signal ? AbortSignal.any([signal, late.signal]) : late.signal);
  working.catch(() => undefined);
  try {
    return await Promise.race([working, over.promise]);
  } finally {
    cancel();
  }
}
