/**
 * Whether large files come in one answer each or in one for each part. One answer costs both ends less; but connections may be slower
 * than the machine, and then only more of them help. A function of what was seen: the clock is the caller's.
 */
export type AnswersFor = "Files" | "Parts";

/** What one window of time has shown of parts that came in answers which were open already. */
export interface AnswersWindow {
  readonly parts: number;
  /** Milliseconds from the moment at which there was memory for them until it was full, all together. */
  readonly fillMs: number;
  /** Milliseconds in which their answers had waited for memory before. */
  readonly waitMs: number;
}

/** Fewer say nothing. */
export const LEAST_PARTS = 8;

/**
 * An import whose connections bring something three quarters of the time goes on with more of them, to its end: where the disk or the
 * hash is slower, connections wait for memory most of the time.
 */
export function nextAnswers(now: AnswersFor, { parts, fillMs, waitMs }: AnswersWindow): AnswersFor {
  return now === "Files" && parts >= LEAST_PARTS && fillMs >= 3 * waitMs ? "Parts" : now;
}
