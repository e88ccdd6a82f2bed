// Waiting without sleeping: a condition is checked again when something that it depends on has changed.
import type { ApiClient } from "./client.ts";

export interface EventuallyOptions {
  /** Default 30 s. */
  readonly deadlineMs?: number;
  /** Continues the sentence "timed out waiting until …". */
  readonly what?: string;
  /** Collections whose changes make the condition worth checking at once. */
  readonly watch?: { readonly client: ApiClient; readonly paths: readonly string[] };
  /** Checked again after this time whatever happens (default 1 s with watches, 100 ms without). */
  readonly recheckMs?: number;
  /** Named in the message of a timeout. */
  readonly logDir?: string;
}

/** A value that ends a wait. */
export type Truthy<T> = Exclude<T, undefined | null | false | 0 | "">;

/** Thrown at the deadline; the message holds the last value or failure of the condition. */
export class TimedOut extends Error {}

/** Wakes whoever waits: at once when it was rung before. */
class Bell {
  #rung = false;
  #wake: (() => void) | undefined;

  ring(): void {
    this.#rung = true;
    this.#wake?.();
  }

  async heard(withinMs: number): Promise<void> {
    if (!this.#rung) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, withinMs);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    this.#rung = false;
    this.#wake = undefined;
  }
}

async function ringOnChanges(client: ApiClient, path: string, bell: Bell, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    try {
      for await (const event of client.watch(path, signal)) if (event.type !== "BOOKMARK") bell.ring();
    } catch {
      // The kind may not exist yet or the server may be away: the periodic check goes on, and so do we after it.
    }
    if (!signal.aborted) await new Bell().heard(200);
  }
}

function show(value: unknown): string {
  if (value instanceof Error) return value.message;
  const text = JSON.stringify(value, undefined, 1) ?? String(value);
  return text.length > 4000 ? `${text.slice(0, 4000)} …` : text;
}

/**
 * Resolves with the condition's value as soon as it is truthy (not undefined, null, false, 0 or ""). A condition that
 * throws (an assertion, an ApiError) is not met yet; so the value to wait for can be checked by `assert`: return true after it.
 */
export async function eventually<T>(
  condition: () => Promise<T> | T,
  options: EventuallyOptions = {},
): Promise<Truthy<T>> {
  const { deadlineMs = 30_000, what = "the condition holds", watch, logDir } = options;
  const recheckMs = options.recheckMs ?? (watch ? 1000 : 100);
  const bell = new Bell();
  const stop = new AbortController();
  for (const path of watch?.paths ?? []) {
    if (watch) void ringOnChanges(watch.client, path, bell, stop.signal);
  }
  const deadline = Date.now() + deadlineMs;
  let last: unknown;
  try {
    for (;;) {
      try {
        const value = await condition();
        if (value) return value as Truthy<T>;
        last = value;
      } catch (error) {
        last = error;
      }
      const leftMs = deadline - Date.now();
      if (leftMs <= 0) break;
      await bell.heard(Math.min(recheckMs, leftMs));
    }
  } finally {
    stop.abort();
  }
  const logs = logDir ? `\nlogs: ${logDir}` : "";
  throw new TimedOut(
    `timed out after ${String(deadlineMs)} ms waiting until ${what}; last seen: ${show(last)}${logs}`,
    {
      cause: last,
    },
  );
}
