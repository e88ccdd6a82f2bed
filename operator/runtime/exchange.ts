/**
 * One HTTP exchange as an undici dispatch handler: collects the answer, or passes chunks on as they come, with a deadline
 * that also covers the wait for a connection, a watchdog for silence, and an abort signal. No pooling, no retries.
 */
import type { Dispatcher } from "undici";

import type { Clock } from "../ports.ts";

export interface RawAnswer {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  /** Empty for a stream that was accepted. */
  readonly text: string;
}

export interface ExchangeOptions {
  readonly clock: Clock;
  /** Whole duration. */
  readonly timeoutMs?: number;
  /** Longest time without a byte. */
  readonly silenceMs?: number;
  readonly signal?: AbortSignal;
  /** Receives the body of an answer below 400 instead of its being collected. */
  readonly onChunk?: (chunk: Buffer) => void;
}

/** The deadline or the silence watchdog ended the exchange. */
export class ExchangeTimeoutError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "ExchangeTimeoutError";
  }
}

interface State {
  controller: Dispatcher.DispatchController | undefined;
  failure: Error | undefined;
  status: number;
  headers: Record<string, string>;
  chunks: Buffer[];
}

/** `answer` settles exactly once; afterwards no timer and no listener is left. */
export function newExchange(options: ExchangeOptions): {
  readonly handler: Dispatcher.DispatchHandler;
  readonly answer: Promise<RawAnswer>;
} {
  const { promise, resolve, reject } = Promise.withResolvers<RawAnswer>();
  // Whoever dispatches may fail before it awaits the answer.
  promise.catch(() => undefined);
  const state: State = { controller: undefined, failure: undefined, status: 0, headers: {}, chunks: [] };
  const fail = (error: Error): void => {
    if (state.failure) return;
    state.failure = error;
    stopWatching();
    state.controller?.abort(error);
    reject(error);
  };
  const { stopWatching, sawBytes } = watchExchange(options, fail);
  const handler = handlerOf(state, options, { fail, sawBytes, stopWatching, resolve });
  return { handler, answer: promise };
}

interface Hooks {
  readonly fail: (error: Error) => void;
  readonly sawBytes: () => void;
  readonly stopWatching: () => void;
  readonly resolve: (answer: RawAnswer) => void;
}

function handlerOf(state: State, options: ExchangeOptions, hooks: Hooks): Dispatcher.DispatchHandler {
  const { fail, sawBytes, stopWatching, resolve } = hooks;
  return {
    onRequestStart(controller) {
      state.controller = controller;
      if (state.failure) controller.abort(state.failure);
    },
    onResponseStart(_controller, statusCode, headers) {
      sawBytes();
      state.status = statusCode;
      for (const [name, value] of Object.entries(headers)) state.headers[name] = String(value);
    },
    onResponseData(_controller, chunk) {
      if (state.failure) return;
      sawBytes();
      if (!options.onChunk || state.status >= 400) return void state.chunks.push(chunk);
      try {
        options.onChunk(chunk);
      } catch (error) {
        fail(error instanceof Error ? error : new Error(String(error)));
      }
    },
    onResponseEnd() {
      stopWatching();
      const text = state.chunks.length === 1 ? String(state.chunks[0]) : Buffer.concat(state.chunks).toString();
      resolve({ status: state.status, headers: state.headers, text });
    },
    onResponseError: (_controller, error) => fail(error),
  };
}

function watchExchange(options: ExchangeOptions, fail: (error: Error) => void) {
  const { clock, timeoutMs, silenceMs, signal } = options;
  let cancelDeadline = (): void => undefined;
  let cancelSilence = (): void => undefined;
  let lastByteMs = clock.monotonicMs();
  const onAbort = (): void => fail(signal?.reason instanceof Error ? signal.reason : new Error("aborted"));
  // One timer looks again when it is due, rather than being set anew at each chunk.
  const lookForSilence = (): void => {
    const leftMs = lastByteMs + (silenceMs ?? 0) - clock.monotonicMs();
    if (leftMs > 0) cancelSilence = clock.after(leftMs, lookForSilence);
    else fail(new ExchangeTimeoutError(`no byte for ${silenceMs} ms`));
  };
  if (timeoutMs !== undefined) {
    cancelDeadline = clock.after(timeoutMs, () =>
      fail(new ExchangeTimeoutError(`no answer within ${timeoutMs.toFixed(0)} ms`)),
    );
  }
  if (silenceMs !== undefined) cancelSilence = clock.after(silenceMs, lookForSilence);
  if (signal?.aborted) queueMicrotask(onAbort);
  else signal?.addEventListener("abort", onAbort, { once: true });
  return {
    sawBytes(): void {
      lastByteMs = clock.monotonicMs();
    },
    stopWatching(): void {
      cancelDeadline();
      cancelSilence();
      signal?.removeEventListener("abort", onAbort);
    },
  };
}

/** Cuts a byte stream into lines; what follows the last line feed is an unfinished line and is never passed on. */
export function lineSplitter(onLine: (line: string) => void): (chunk: Buffer) => void {
  let pending: Buffer[] = [];
  return (chunk) => {
    let from = 0;
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, from)) {
      const tail = chunk.subarray(from, end);
      const line = pending.length === 0 ? tail : Buffer.concat([...pending, tail]);
      pending = [];
      from = end + 1;
      if (line.length > 0) onLine(line.toString());
    }
    // A copy, since undici may reuse nothing but the parser's buffer would be kept whole by a view of it.
    if (from < chunk.length) pending.push(Buffer.from(chunk.subarray(from)));
  };
}
