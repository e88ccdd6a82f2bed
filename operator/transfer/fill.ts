/** One part of a source in memory: allowed by the pace, held to a time, tried again elsewhere where it fails in a way that passes. */
import type { Filled, ObjectSource } from "../ports.ts";
import type { ModelFile } from "../plan/model/listing.ts";
import { RetryError, TerminalError } from "../runtime/errors.ts";
import type { PartPlaces } from "./places.ts";
import { withRetries } from "./retry.ts";
import type { RetryOptions } from "./retry.ts";
import { isAbort } from "./slots.ts";

/** A source that brings less than this for a whole part is tried again on another connection. */
const LEAST_BYTES_PER_SECOND = 64 << 10;
const LEAST_DEADLINE_MS = 60_000;

export interface Filling {
  readonly source: ObjectSource;
  readonly retry: RetryOptions;
  readonly places: PartPlaces;
}

async function readInto(source: ObjectSource, file: ModelFile, offset: number, into: Uint8Array, signal: AbortSignal) {
  const bytes = await source.read(file, offset, into.length, signal);
  into.set(bytes);
  return { stated: {} };
}

async function once({ source, retry }: Filling, file: ModelFile, offset: number, into: Uint8Array): Promise<Filled> {
  const late = new AbortController();
  const deadlineMs = Math.max(LEAST_DEADLINE_MS, (into.length * 1000) / LEAST_BYTES_PER_SECOND);
  const cancel = retry.clock.after(deadlineMs, () => late.abort());
  const signal = retry.signal ? AbortSignal.any([retry.signal, late.signal]) : late.signal;
  try {
    return await (source.fill?.(file, offset, into, signal) ?? readInto(source, file, offset, into, signal));
  } catch (error) {
    if (!late.signal.aborted || retry.signal?.aborted || !(isAbort(error) || error instanceof RetryError)) throw error;
    const message = `${file.path.slice(0, 200)}: ${String(into.length)} bytes did not come in ${String(deadlineMs / 1000)} s`;
    throw new RetryError(new TerminalError("SourceUnreachable", message));
  } finally {
    cancel();
  }
}

/** Fills the memory; resolves with what the source says of it. */
export async function fillPart(filling: Filling, file: ModelFile, offset: number, into: Uint8Array): Promise<Filled> {
  const { retry, places } = filling;
  if (into.length === 0) return { stated: {} };
  return withRetries(retry, async () => {
    await places.allow(into.length, retry.signal);
    try {
      const filled = await once(filling, file, offset, into);
      places.came(into.length);
      return filled;
    } catch (error) {
      if (error instanceof RetryError && error.isThrottled) places.slowDown();
      throw error;
    }
  });
}
