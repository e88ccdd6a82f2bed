/** A fixed number of places: those who wait for one get it in turn, and each of them in the order of asking. */
export interface Slots {
  /**
   * Resolves with the function that frees the place; rejects where `signal` aborts first. `who` asks: however many of theirs wait,
   * each of the others has a turn before their next.
   */
  take(signal?: AbortSignal, who?: string): Promise<() => void>;
  readonly free: number;
}

/** Those who wait, by who they are; whose turn comes first in front, nobody without one who waits. */
function newTurns() {
  const queues = new Map<string, (() => void)[]>();
  return {
    add(who: string, enter: () => void): void {
      const queue = queues.get(who);
      if (queue) queue.push(enter);
      else queues.set(who, [enter]);
    },
    drop(who: string, enter: () => void): void {
      const queue = queues.get(who) ?? [];
      queue.splice(queue.indexOf(enter), 1);
      if (queue.length === 0) queues.delete(who);
    },
    next(): (() => void) | undefined {
      const [first] = queues;
      if (!first) return undefined;
      const [who, queue] = first;
      const enter = queue.shift();
      queues.delete(who);
      if (queue.length > 0) queues.set(who, queue);
      return enter;
    },
  };
}

export function newSlots(total: number): Slots {
  let free = total;
  const waiting = newTurns();
  const release = (): void => {
    const enter = waiting.next();
    if (enter) enter();
    else free++;
  };
  const once = (): (() => void) => {
    let held = true;
    return () => {
      if (held) release();
      held = false;
    };
  };
  return {
    get free() {
      return free;
    },
    take(signal, who = "") {
      if (signal?.aborted) return Promise.reject(abortError());
      if (free > 0) {
        free--;
        return Promise.resolve(once());
      }
      return new Promise((resolve, reject) => {
        const enter = (): void => {
          signal?.removeEventListener("abort", leave);
          resolve(once());
        };
        const leave = (): void => {
          waiting.drop(who, enter);
          reject(abortError());
        };
        waiting.add(who, enter);
        signal?.addEventListener("abort", leave, { once: true });
      });
    },
  };
}

/** Thrown by work that was told to stop; nobody's fault. */
export function abortError(): Error {
  const error = new Error("stopped");
  error.name = "AbortError";
  return error;
}

export function isAbort(error: unknown): boolean {
  return error instanceof Error && error.name === "AbortError";
}
