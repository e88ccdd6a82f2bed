/** A wait that a signal ends. */

/** False where it was ended. */
export async function paused(ms: number, signal: AbortSignal | undefined): Promise<boolean> {
  if (signal?.aborted) return false;
  return new Promise((resolve) => {
    const done = (going: boolean) => () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", ended);
      resolve(going);
    };
    const timer = setTimeout(() => done(true)(), ms);
    const ended = (): void => done(false)();
    signal?.addEventListener("abort", ended);
  });
}
