/** What this process knows to be sealed, told by the sealer to those who must not take a settled claim for a lost one. */
export interface Watermark {
  /** `end` in seconds since the epoch. */
  note(end: number): void;
  /** Milliseconds since the epoch; undefined until the sealer has looked. */
  ms(): number | undefined;
}

export function newSealedNote(): Watermark {
  let newest: number | undefined;
  return {
    note: (end) => void (newest = Math.max(newest ?? end, end)),
    ms: () => (newest === undefined ? undefined : newest * 1000),
  };
}
