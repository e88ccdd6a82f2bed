// A clock that moves only when a test moves it.
import type { Clock } from "../../operator/ports.ts";

export interface ManualClock extends Clock {
  /** Moves on by so many milliseconds; what is due runs at its own time, in order. */
  advance(byMs: number): void;
  readonly timers: number;
}

interface Timer {
  readonly atMs: number;
  readonly serial: number;
  readonly run: () => void;
}

export function newManualClock(startMs = 1_000_000): ManualClock {
  let nowMs = startMs;
  let serial = 0;
  const timers = new Set<Timer>();
  const nextUpTo = (limitMs: number): Timer | undefined =>
    [...timers].filter((t) => t.atMs <= limitMs).sort((a, b) => a.atMs - b.atMs || a.serial - b.serial)[0];
  return {
    now: () => nowMs,
    monotonicMs: () => nowMs,
    after(delayMs, run) {
      const timer = { atMs: nowMs + Math.max(0, delayMs), serial: serial++, run };
      timers.add(timer);
      return () => void timers.delete(timer);
    },
    advance(byMs) {
      const endMs = nowMs + byMs;
      for (let timer = nextUpTo(endMs); timer; timer = nextUpTo(endMs)) {
        timers.delete(timer);
        nowMs = Math.max(nowMs, timer.atMs);
        timer.run();
      }
      nowMs = endMs;
    },
    get timers() {
      return timers.size;
    },
  };
}
