/** Passes one after the other while this process leads; after one that failed at growing pauses. */
import type { Clock } from "../ports.ts";

export interface Repeating {
  readonly isStopped: () => boolean;
  /** Begins the first pass. */
  start(): void;
  /** No pass begins any more; resolves when the one that runs has ended. `hurry` is called meanwhile. */
  stop(hurry?: () => void): Promise<void>;
}

export interface RepeatingDeps {
  readonly clock: Pick<Clock, "after">;
  /** One pass; resolves with the pause after it. */
  readonly pass: () => Promise<number>;
  /** `failures` in a row. */
  readonly failed: (error: unknown, failures: number) => void;
  readonly longestRetryMs: number;
}

const firstRetryMs = 1_000;

export function newRepeating({ clock, pass, failed, longestRetryMs }: RepeatingDeps): Repeating {
  let cancel = (): void => undefined;
  let running: Promise<void> = Promise.resolve();
  let stopped = false;
  let failures = 0;
  const again = (delayMs: number): void => {
    if (!stopped) cancel = clock.after(delayMs, () => void (running = turn()));
  };
  async function turn(): Promise<void> {
    try {
      const pauseMs = await pass();
      failures = 0;
      again(pauseMs);
    } catch (error) {
      failures += 1;
      failed(error, failures);
      again(Math.min(longestRetryMs, firstRetryMs * 2 ** Math.min(failures - 1, 10)));
    }
  }
  return {
    isStopped: () => stopped,
    start: () => void (running = turn()),
    async stop(hurry) {
      stopped = true;
      cancel();
      hurry?.();
      await running;
    },
  };
}
