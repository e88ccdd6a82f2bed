/** Who goes next where two leaders work at the same time: a seed decides, step by step; or one falls asleep at a step of its own. */
import type { Chance } from "../chaos/random.ts";
import type { Turn } from "./life.ts";

export interface Interleaving {
  readonly turns: readonly Turn[];
  /** That leader's pass is over: the others go on alone. */
  end(leader: number): void;
}

/** One step at a time, of whichever leader chance picks among those that wait; it waits until each of them does. */
export function newInterleaving(leaders: number, chance: Chance): Interleaving {
  const waiting = Array.from({ length: leaders }, (): (() => void)[] => []);
  const open = new Set(waiting.keys());
  let isBusy = false;
  const next = (): void => {
    if (isBusy || open.size === 0 || [...open].some((leader) => waiting[leader]?.length === 0)) return;
    const go = waiting[chance.pick([...open])]?.shift();
    isBusy = go !== undefined;
    go?.();
  };
  const turnOf =
    (leader: number): Turn =>
    async (step) => {
      if (!open.has(leader)) return step();
      await new Promise<void>((resolve) => {
        waiting[leader]?.push(resolve);
        next();
      });
      try {
        return await step();
      } finally {
        isBusy = false;
        next();
      }
    };
  return {
    turns: [...waiting.keys()].map(turnOf),
    end(leader) {
      open.delete(leader);
      for (const go of waiting[leader]?.splice(0) ?? []) go();
      next();
    },
  };
}

export interface Sleeper {
  readonly turn: Turn;
  /** It sleeps; never resolves where its steps end before. */
  readonly asleep: Promise<"asleep">;
  wake(): void;
}

/** Falls asleep before its n-th step, counted from 1. */
export function newSleeper(step: number): Sleeper {
  let count = 0;
  const [fallsAsleep, wakes] = [Promise.withResolvers<"asleep">(), Promise.withResolvers<void>()];
  return {
    asleep: fallsAsleep.promise,
    wake: () => wakes.resolve(),
    turn: async (run) => {
      count += 1;
      if (count === step) fallsAsleep.resolve("asleep");
      if (count >= step) await wakes.promise;
      return run();
    },
  };
}
