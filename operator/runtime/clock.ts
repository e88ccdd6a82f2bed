/** The only place of the runtime that reads the machine's clock. */
import type { Clock } from "../ports.ts";

/** setTimeout fires at once above this (it keeps its delay in 32 signed bits). */
const longestTimerMs = 2 ** 31 - 1;

/**
 * Wall clock, monotonic clock and timers of this machine. A timer keeps the process alive (in an outage nothing else
 * may), so whoever sets one cancels it when it stops.
 */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonicMs: () => performance.now(),
  after(delayMs, run) {
    const timer = setTimeout(run, Math.min(Math.max(0, delayMs), longestTimerMs));
    return () => clearTimeout(timer);
  },
};

/** Resolves after `delayMs`, or as soon as `signal` aborts; never rejects. */
export function pause(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const cancel = clock.after(delayMs, finish);
    signal?.addEventListener("abort", finish, { once: true });
    function finish(): void {
      cancel();
      signal?.removeEventListener("abort", finish);
      resolve();
    }
  });
}
