/** What every layer asks of the process that runs it: time and a log. */

/** Time, injected so that nothing below wire.ts reads the machine's clock. */
export interface Clock {
  /** Milliseconds since the Unix epoch. Decides only when to look; never what is metered. */
  now(): number;
  /** Milliseconds that never run backwards. */
  monotonicMs(): number;
  /** Calls `run` once after `delayMs`; the returned function cancels it. */
  after(delayMs: number, run: () => void): () => void;
}

/** Structured log: constant lower-case message, facts in fields. */
export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
  child(fields: object): Log;
}
