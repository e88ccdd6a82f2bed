/**
 * First-in-first-out lists by priority. All operations are O(1) in the number of entries; the few levels are kept sorted.
 * Every tenth entry comes from the lowest level that waits, so that no level starves.
 */

export interface Links<E> {
  before: E | undefined;
  after: E | undefined;
}

/** One in so many takes serves the lowest level. */
export const fairTake = 10;

export interface Levels<E extends Links<E>> {
  append(entry: E, level: number): void;
  remove(entry: E, level: number): void;
  /** The oldest entry of the highest level, but for the fair share of the lowest. */
  take(): E | undefined;
  sizeOf(level: number): number;
  readonly size: number;
}

interface Level<E> {
  readonly number: number;
  first: E | undefined;
  last: E | undefined;
  size: number;
}

/** Empty levels; they come into being as they are used. */
export function newLevels<E extends Links<E>>(): Levels<E> {
  return new LinkedLevels();
}

class LinkedLevels<E extends Links<E>> implements Levels<E> {
  size = 0;
  /** Highest first. */
  readonly #levels: Level<E>[] = [];
  #takes = 0;

  append(entry: E, number: number): void {
    const level = this.#levelOf(number);
    entry.before = level.last;
    entry.after = undefined;
    if (level.last) level.last.after = entry;
    else level.first = entry;
    level.last = entry;
    level.size++;
    this.size++;
  }

  remove(entry: E, number: number): void {
    this.#unlink(entry, this.#levelOf(number));
  }

  take(): E | undefined {
    if (this.size === 0) return undefined;
    const fair = ++this.#takes % fairTake === 0;
    const waits = (level: Level<E>): boolean => level.size > 0;
    const level = fair ? this.#levels.findLast(waits) : this.#levels.find(waits);
    const entry = level?.first;
    if (level && entry) this.#unlink(entry, level);
    return entry;
  }

  sizeOf(number: number): number {
    return this.#levels.find((level) => level.number === number)?.size ?? 0;
  }

  #levelOf(number: number): Level<E> {
    const found = this.#levels.find((level) => level.number === number);
    if (found) return found;
    const made: Level<E> = { number, first: undefined, last: undefined, size: 0 };
    this.#levels.push(made);
    this.#levels.sort((a, b) => b.number - a.number);
    return made;
  }

  #unlink(entry: E, level: Level<E>): void {
    if (entry.before) entry.before.after = entry.after;
    else level.first = entry.after;
    if (entry.after) entry.after.before = entry.before;
    else level.last = entry.before;
    entry.before = undefined;
    entry.after = undefined;
    level.size--;
    this.size--;
  }
}
