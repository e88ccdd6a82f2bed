/** How long a fetch tries again: from the first failure since a byte came, since hashing and waiting for others take time without one. */
import { storeReasons } from "../api/store.ts";
import type { Clock, Log } from "../ports.ts";
import { pause } from "../runtime/clock.ts";
import { RetryError, TerminalError } from "../runtime/errors.ts";
import { abortError } from "./slots.ts";

export interface PatienceOptions {
  /** How long requests may fail without a byte in between. */
  readonly patienceMs: number;
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
}

export interface Patience {
  /** Tries again until it works or patience ends. */
  withPatience<T>(work: () => Promise<T>): Promise<T>;
  /** Something new has come, wherever. */
  renew(): void;
}

/** A refusal may come from facts that are a few seconds old; one that stays is told sooner than a silence. */
const REFUSAL_PATIENCE_MS = 30_000;
const LONGEST_PAUSE_MS = 5_000;

/** Reasons of answers, not of silence or faults. */
const refusals: ReadonlySet<string> = new Set([
  ...Object.entries(storeReasons).flatMap(([reason, code]) =>
    code < 429 || reason === "ModelMissing" ? [reason] : [],
  ),
  "StoreRefused",
  "ManifestDamaged",
  "SignatureInvalid",
]);

export function newPatience({ clock, log, patienceMs, signal }: PatienceOptions): Patience {
  /** The first fault, and the first refusal, since something came. */
  let since: { failedMs?: number; refusedMs?: number } = {};
  const leftMs = (isRefusal: boolean): number => {
    const nowMs = clock.monotonicMs();
    since.failedMs ??= nowMs;
    if (!isRefusal) return since.failedMs + patienceMs - nowMs;
    // Who answers anew after an outage has not heard of everything yet.
    since.refusedMs ??= nowMs;
    return since.refusedMs + Math.min(patienceMs, REFUSAL_PATIENCE_MS) - nowMs;
  };
  return {
    async withPatience(work) {
      for (let attempt = 1; ; attempt++) {
        if (signal.aborted) throw abortError();
        try {
          return await work();
        } catch (error) {
          if (!(error instanceof RetryError)) throw error;
          const reason = error.cause instanceof TerminalError ? error.cause.reason : "StoreUnreachable";
          const left = leftMs(refusals.has(reason));
          if (left <= 0) throw error;
          log.warn({ attempt, reason, error: error.message }, "trying again");
          // Not beyond the end of patience: the last try is made then.
          await pause(clock, Math.min(left, Math.random() * Math.min(LONGEST_PAUSE_MS, 200 * 2 ** attempt)), signal);
        }
      }
    },
    renew: () => void (since = {}),
  };
}
