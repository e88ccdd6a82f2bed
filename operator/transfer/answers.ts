/** How an import asks for its large files, by what it sees of its connections; see plan/model/answers.ts. */
import { nextAnswers } from "../plan/model/answers.ts";
import type { AnswersFor } from "../plan/model/answers.ts";
import type { Clock } from "../ports.ts";

const WINDOW_MS = 1_000;

export interface Answers {
  readonly now: AnswersFor;
  /** A part has its memory. `isBehind`: one before it is still on its way in the same answer. */
  part(isBehind: boolean): void;
}

/** No timer: windows end when something happens. */
export function newAnswers(clock: Clock, first: AnswersFor = "Files"): Answers {
  let now = first;
  let window = { sinceMs: clock.monotonicMs(), parts: 0, behind: 0 };
  return {
    get now() {
      return now;
    },
    part(isBehind) {
      window.parts++;
      if (isBehind) window.behind++;
      const nowMs = clock.monotonicMs();
      if (nowMs - window.sinceMs < WINDOW_MS) return;
      now = nextAnswers(now, window);
      window = { sinceMs: nowMs, parts: 0, behind: 0 };
    },
  };
}
