// Repeatable chance: the same seed gives the same choices.

export interface Chance {
  /** A whole number from `low` to `high`, both included. */
  whole(low: number, high: number): number;
  pick<T>(items: readonly T[]): T;
}

/** The seed of this run: SEED repeats one. */
export function seedOfRun(): number {
  return Number(process.env["SEED"] ?? Date.now() % 1_000_000);
}

/** A linear congruential generator modulo 2^32 (constants of Numerical Recipes); its high bits are good enough for histories. */
export function newChance(seed: number): Chance {
  let state = (seed * 2_654_435_761) >>> 0;
  const next = (): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return (state >>> 8) / 2 ** 24;
  };
  const whole = (low: number, high: number): number => low + Math.floor(next() * (high - low + 1));
  return {
    whole,
    pick: (items) => {
      const item = items[whole(0, items.length - 1)];
      if (item === undefined) throw new RangeError("nothing to pick from");
      return item;
    },
  };
}
