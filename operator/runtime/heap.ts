/** Binary min-heap whose entries know their place, so that one can be taken out or moved in O(log n). */

export interface HeapEntry {
  /** Order; smaller first. */
  dueMs: number;
  /** Order among equals. */
  readonly serial: number;
  /** Place in the heap; -1 outside. Written by the heap alone. */
  place: number;
}

export class Heap<E extends HeapEntry> {
  readonly #entries: E[] = [];

  get size(): number {
    return this.#entries.length;
  }

  first(): E | undefined {
    return this.#entries[0];
  }

  add(entry: E): void {
    entry.place = this.#entries.length;
    this.#entries.push(entry);
    this.#rise(entry);
  }

  remove(entry: E): void {
    const { place } = entry;
    const last = this.#entries.pop();
    entry.place = -1;
    if (last === undefined || last === entry) return;
    this.#put(last, place);
    this.#rise(last);
    this.#sink(last);
  }

  *[Symbol.iterator](): Iterator<E> {
    yield* this.#entries;
  }

  #put(entry: E, place: number): void {
    this.#entries[place] = entry;
    entry.place = place;
  }

  #rise(entry: E): void {
    while (entry.place > 0) {
      const parent = this.#entries[(entry.place - 1) >> 1];
      if (parent === undefined || isBefore(parent, entry)) return;
      this.#swap(parent, entry);
    }
  }

  #sink(entry: E): void {
    for (;;) {
      const left = this.#entries[2 * entry.place + 1];
      const right = this.#entries[2 * entry.place + 2];
      const child = right !== undefined && left !== undefined && isBefore(right, left) ? right : left;
      if (child === undefined || isBefore(entry, child)) return;
      this.#swap(entry, child);
    }
  }

  #swap(above: E, below: E): void {
    const { place } = above;
    this.#put(above, below.place);
    this.#put(below, place);
  }
}

function isBefore(a: HeapEntry, b: HeapEntry): boolean {
  return a.dueMs < b.dueMs || (a.dueMs === b.dueMs && a.serial < b.serial);
}
