/** A fixed number of places; whoever asks first gets the next free one. */
export interface Slots {
  /** Resolves with the function that frees the place; rejects where `signal` aborts first. */
  take(signal?: AbortSignal): Promise<() => void>;
  readonly free: number;
}

export function newSlots(total: number): Slots {
  let free = total;
  const waiting: (() => void)[] = [];
  const release = (): void => {
    const next = waiting.shift();
    if (next) next();
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
    take(signal) {
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
          waiting.splice(waiting.indexOf(enter), 1);
          reject(abortError());
        };
        waiting.push(enter);
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
