/** Tries one small step again where the fault may pass: a part of a file must not fail the whole import. */
import type { Clock } from "../ports.ts";
import { RetryError, TerminalError } from "../runtime/errors.ts";
import { pause } from "../runtime/clock.ts";
import type { PartPlaces } from "./places.ts";
import { abortError } from "./slots.ts";

export interface RetryOptions {
  readonly clock: Clock;
  readonly signal?: AbortSignal;
  /** Tries in all. */
  readonly tries: number;
  /** First pause, doubled each time up to 20 s, with full jitter. */
  readonly baseMs: number;
  /** Milliseconds that any one answer of the source may take, however short it is: 60 s where absent. */
  readonly leastDeadlineMs?: number | undefined;
  /** Called before each further try of a part of a file. */
  readonly onPartRetry?: () => void;
}

/** Faults that stay the same however soon one asks again. */
function isLasting(error: RetryError): boolean {
  return error.cause instanceof TerminalError && ["SourceChanged", "StoreFull"].includes(error.cause.reason);
}

/** The last error is thrown as it came; an abort ends the pauses too. */
export async function withRetries<T>(options: RetryOptions, work: () => Promise<T>, onRetry?: () => void): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    if (options.signal?.aborted) throw abortError();
    try {
      return await work();
    } catch (error) {
      if (options.signal?.aborted) throw abortError();
      if (!(error instanceof RetryError) || isLasting(error) || attempt >= options.tries) throw error;
      onRetry?.();
      const ceilingMs = Math.min(20_000, options.baseMs * 2 ** (attempt - 1));
      await pause(options.clock, error.afterMs ?? Math.random() * ceilingMs, options.signal);
    }
  }
}

/** The same for what brings a part of a file, or a whole small one, out of the source or into the store: its further tries are counted. */
export function withPartRetries<T>(options: RetryOptions, work: () => Promise<T>): Promise<T> {
  return withRetries(options, work, options.onPartRetry);
}

export interface Sending {
  readonly retry: RetryOptions;
  readonly places: Pick<PartPlaces, "slowDown">;
}

/** The same into the store: where that asks for fewer requests, fewer parts are on their way. */
export function intoStore<T>({ retry, places }: Sending, work: () => Promise<T>): Promise<T> {
  return withPartRetries(retry, async () => {
    try {
      return await work();
    } catch (error) {
      if (error instanceof RetryError && error.isThrottled) places.slowDown();
      throw error;
    }
  });
}
