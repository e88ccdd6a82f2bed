/** Exponential waiting times with jitter, as client-go's reflector uses them. */

export interface Backoff {
  /** The next waiting time in milliseconds; doubles from call to call up to the cap. */
  nextMs(): number;
  reset(): void;
}

/** Times between base·2ⁿ and twice that, capped at `capMs` before the jitter is added. */
export function newBackoff(baseMs: number, capMs: number, random: () => number = Math.random): Backoff {
  let failures = 0;
  return {
    nextMs: () => Math.min(capMs, baseMs * 2 ** Math.min(failures++, 30)) * (1 + random()),
    reset() {
      failures = 0;
    },
  };
}
