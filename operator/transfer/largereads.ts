/**
 * What of a source is read into memory to be looked at: little of it at once, much of it one model after the other. No source keeps
 * that place for long, however willing each of its answers looks: everybody else's models wait for it.
 */
import { inTime } from "./deadline.ts";
import type { RetryOptions } from "./retry.ts";
import type { Slots } from "./slots.ts";

/** More than this takes some ten times as much memory once it is read. */
const LARGE_BYTES = 4 << 20;
/** Least deadlines of one answer: some 150 MiB have to come through, and headers of hundreds of files. */
const ANSWERS_TO_WAIT_FOR = 10;

export interface LargeReads {
  readonly retry: RetryOptions;
  /** Places for models with much to inspect, shared by all imports of the process; nothing waits where absent. */
  readonly large?: Slots | undefined;
  /** Whose model it is: those who wait have their turns. */
  readonly who?: string | undefined;
}

/** `work` is handed what it reads with: inside it nothing waits for a place again. */
export async function inPlace<R extends LargeReads, T>(
  reading: R,
  bytes: number,
  work: (reading: R) => Promise<T>,
): Promise<T> {
  const { large, retry } = reading;
  if (bytes <= LARGE_BYTES || !large) return work(reading);
  const leave = await large.take(retry.signal, reading.who);
  const what = `${String(bytes)} bytes of the model that have to be looked at`;
  try {
    return await inTime(retry, { what, lengthBytes: 0, answers: ANSWERS_TO_WAIT_FOR }, (signal) =>
      work({ ...reading, large: undefined, retry: { ...retry, signal } }),
    );
  } finally {
    leave();
  }
}
