/**
 * Gives memory back after a burst. V8 collects when it allocates; a process that rests after a thousand reconciles would keep
 * what the last of them left for hours. One full collection when work has ended costs some ten milliseconds and nobody waits.
 */
import { performance } from "node:perf_hooks";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { Clock } from "../ports.ts";

export interface Tidy {
  /** Something was worked on. */
  worked(): void;
  stop(): void;
}

/** How often to look whether there is rest, and how much of that time may have been work: what trickles on disturbs nobody. */
const lookMs = 2_000;
const mostBusy = 0.2;
/** A process that always has a little to do does not collect all the time. */
const pauseMs = 10_000;

type Collect = (options: { readonly type: "major"; readonly flavor: "last-resort" }) => void;

export function newTidy(clock: Clock): Tidy {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as Collect;
  let cancel: (() => void) | undefined;
  let usage = performance.eventLoopUtilization();
  const lookIn = (delayMs: number): void => {
    usage = performance.eventLoopUtilization();
    cancel = clock.after(delayMs, look);
  };
  const rested = (): void => {
    cancel = undefined;
    if (workedSince) lookIn(lookMs);
  };
  let workedSince = false;
  const look = (): void => {
    if (performance.eventLoopUtilization(usage).utilization > mostBusy) return lookIn(lookMs);
    workedSince = false;
    collect({ type: "major", flavor: "last-resort" });
    cancel = clock.after(pauseMs, rested);
  };
  return {
    worked() {
      workedSince = true;
      if (!cancel) lookIn(lookMs);
    },
    stop: () => cancel?.(),
  };
}
