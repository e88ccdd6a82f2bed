/**
 * Gives memory back after a burst. V8 collects when it allocates; a process that rests after a thousand reconciles would keep
 * what the last of them left for hours. One full collection when work has ended costs some ten milliseconds and nobody waits.
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { Clock } from "../ports.ts";

export interface Tidy {
  /** Something was worked on. */
  worked(): void;
  stop(): void;
}

/** Rest after which there is something to give back and nobody to disturb. */
const restMs = 3_000;

type Collect = (options: { readonly type: "major"; readonly flavor: "last-resort" }) => void;

export function newTidy(clock: Clock): Tidy {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as Collect;
  let cancel: (() => void) | undefined;
  let lastMs = 0;
  const look = (): void => {
    const restedMs = clock.monotonicMs() - lastMs;
    cancel = restedMs < restMs ? clock.after(restMs - restedMs, look) : undefined;
    if (!cancel) collect({ type: "major", flavor: "last-resort" });
  };
  return {
    worked() {
      lastMs = clock.monotonicMs();
      cancel ??= clock.after(restMs, look);
    },
    stop: () => cancel?.(),
  };
}
