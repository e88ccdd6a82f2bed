/** When a model's progress may be written: not before a while has gone by since it last was, whichever import of it wrote it. */
import type { Clock } from "../ports.ts";

export interface ProgressPace {
  /** Least time between two writes of one model's progress. */
  readonly everyMs: number;
  /** Milliseconds until the next write; 0 where it may be made now. */
  waitMs(modelUID: string): number;
  /** The progress was just written, or may have been. */
  told(modelUID: string): void;
}

export function newProgressPace(clock: Clock, everyMs: number): ProgressPace {
  const lastMs = new Map<string, number>();
  return {
    everyMs,
    waitMs: (uid) => Math.max(0, (lastMs.get(uid) ?? -Infinity) + everyMs - clock.monotonicMs()),
    told(uid) {
      const nowMs = clock.monotonicMs();
      for (const [other, atMs] of lastMs) if (nowMs - atMs >= everyMs) lastMs.delete(other);
      lastMs.set(uid, nowMs);
    },
  };
}

export interface Teller {
  /** There is something new to tell: as soon as the pace allows. */
  soon(): void;
  /** Resolves when nothing is being written any more. */
  stop(): Promise<void>;
}

/** Calls `write` at that pace until it is stopped; `write` resolves with whether it had anything to say. */
export function newTeller(clock: Clock, pace: ProgressPace, modelUID: string, write: () => Promise<boolean>): Teller {
  let pending: Promise<void> = Promise.resolve();
  let cancel = (): void => undefined;
  let stopped = false;

  async function tell(): Promise<void> {
    if (stopped) return;
    const waitMs = pace.waitMs(modelUID);
    if (waitMs > 0) return schedule(waitMs);
    // A status that cannot be written now is written with the next progress; the work goes on.
    if (await write().catch(() => true)) pace.told(modelUID);
    if (!stopped) schedule(pace.everyMs);
  }
  function schedule(delayMs: number): void {
    cancel();
    cancel = clock.after(delayMs, () => {
      pending = pending.then(tell);
    });
  }
  schedule(pace.everyMs);
  return {
    soon: () => schedule(pace.waitMs(modelUID)),
    async stop() {
      stopped = true;
      cancel();
      await pending;
    },
  };
}
