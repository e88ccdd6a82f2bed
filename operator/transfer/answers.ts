/** How an import asks for its large files, by what it sees of its connections; see plan/model/answers.ts. */
import { LEAST_PARTS, nextAnswers } from "../plan/model/answers.ts";
import type { AnswersFor } from "../plan/model/answers.ts";
import type { Clock } from "../ports.ts";

const WINDOW_MS = 1_000;

export interface Answers {
  readonly now: AnswersFor;
  /** A part came in `fillMs` in an answer that had waited for its memory for `waitMs`. */
  filled(fillMs: number, waitMs: number): void;
}

/** No timer: windows end when something happens, and when they have enough to say. */
export function newAnswers(clock: Clock, first: AnswersFor = "Files"): Answers {
  const begin = () => ({ sinceMs: clock.monotonicMs(), parts: 0, fillMs: 0, waitMs: 0 });
  let now = first;
  let window = begin();
  return {
    get now() {
      return now;
    },
    filled(fillMs, waitMs) {
      window.parts++;
      window.fillMs += fillMs;
      window.waitMs += waitMs;
      if (window.parts < LEAST_PARTS || clock.monotonicMs() - window.sinceMs < WINDOW_MS) return;
      now = nextAnswers(now, window);
      window = begin();
    },
  };
}
