/**
 * How many parts are on their way at once. It begins with a few, grows by one while that brings more bytes a second, goes back where
 * it does not, and is halved where the server asks for less. A function of what was measured: the clock is the caller's.
 */
export interface Pace {
  /** Parts at once. */
  readonly limit: number;
  /** Bytes a second of the last window in which every place was taken. */
  readonly bytesPerSecond: number;
  /** Windows for which the limit stays as it is. */
  readonly restWindows: number;
  /** Whether the last window followed a growth. */
  readonly grew: boolean;
}

/** What one window of time has shown. */
export interface PaceWindow {
  readonly bytesPerSecond: number;
  /** False where parts were missing rather than places: such a window says nothing about the limit. */
  readonly wasFull: boolean;
  /** The server answered 503 or 429. */
  readonly wasAskedToSlow: boolean;
}

export const FIRST_PARTS_AT_ONCE = 8;
/** Growth that brings less than this is noise. */
const WORTH = 1.03;
const REST_AFTER_VAIN_GROWTH = 10;
const REST_AFTER_SLOWING = 5;

export function firstPace(mostAtOnce: number): Pace {
  const limit = Math.max(1, Math.min(FIRST_PARTS_AT_ONCE, mostAtOnce));
  return { limit, bytesPerSecond: 0, restWindows: 1, grew: false };
}

/** The pace of the next window; `mostAtOnce` is what the memory holds. */
export function nextPace(pace: Pace, seen: PaceWindow, mostAtOnce: number): Pace {
  const { limit } = pace;
  if (seen.wasAskedToSlow) {
    const half = Math.max(1, Math.floor(limit / 2));
    return { limit: half, bytesPerSecond: 0, restWindows: REST_AFTER_SLOWING, grew: false };
  }
  if (!seen.wasFull) return pace;
  const { bytesPerSecond } = seen;
  if (pace.grew && bytesPerSecond < pace.bytesPerSecond * WORTH)
    return { limit: Math.max(1, limit - 1), bytesPerSecond, restWindows: REST_AFTER_VAIN_GROWTH, grew: false };
  if (pace.restWindows > 0) return { ...pace, bytesPerSecond, restWindows: pace.restWindows - 1, grew: false };
  if (limit >= mostAtOnce) return { ...pace, bytesPerSecond, grew: false };
  return { limit: limit + 1, bytesPerSecond, restWindows: 0, grew: true };
}
