/**
 * Whether large files come in one answer each or in one for each part. One answer costs both ends less; but connections may be slower
 * than the machine, and then only more of them help. A function of what was seen: the clock is the caller's.
 */
export type AnswersFor = "Files" | "Parts";

/** What one window of time has shown. */
export interface AnswersWindow {
  /** Parts that got their memory. */
  readonly parts: number;
  /** Those of them that had to wait, with their memory, until their file's one connection had brought what is before them. */
  readonly behind: number;
}

/** Fewer say nothing. */
const LEAST_PARTS = 8;

/**
 * An import that waits for its connections goes on with more of them, to its end: memory that waits for the disk or the hash is taken
 * before there is any to wait with.
 */
export function nextAnswers(now: AnswersFor, { parts, behind }: AnswersWindow): AnswersFor {
  return now === "Files" && parts >= LEAST_PARTS && behind * 4 >= parts * 3 ? "Parts" : now;
}
