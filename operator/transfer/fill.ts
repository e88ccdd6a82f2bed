/** One part of a source in memory: allowed by the pace, held to a time, tried again elsewhere where it fails in a way that passes. */
import type { Filled, ObjectReader, ObjectSource } from "../ports.ts";
import type { ModelFile } from "../plan/model/listing.ts";
import { RetryError } from "../runtime/errors.ts";
import { inTime } from "./deadline.ts";
import type { PartPlaces } from "./places.ts";
import { withPartRetries } from "./retry.ts";
import type { RetryOptions } from "./retry.ts";

export interface Filling {
  readonly source: ObjectSource;
  readonly retry: RetryOptions;
  readonly places: PartPlaces;
  /** For bytes that come in an answer that is open; otherwise each part is a request of its own. */
  readonly reader?: ObjectReader | undefined;
}

async function readInto(source: ObjectSource, file: ModelFile, offset: number, into: Uint8Array, signal: AbortSignal) {
  const bytes = await source.read(file, offset, into.length, signal);
  into.set(bytes);
  return { stated: {} };
}

async function once(
  { source, retry, reader }: Filling,
  file: ModelFile,
  offset: number,
  into: Uint8Array,
): Promise<Filled> {
  const what = `${file.path.slice(0, 150)}: ${String(into.length)} bytes`;
  let working: Promise<Filled> | undefined;
  const work = (signal: AbortSignal): Promise<Filled> =>
    (working =
      reader?.fill(offset, into, signal) ??
      source.fill?.(file, offset, into, signal) ??
      readInto(source, file, offset, into, signal));
  try {
    return await inTime(retry, { what, lengthBytes: into.length }, work);
  } catch (error) {
    // The memory is another try's only when nothing writes to it any more.
    await working?.catch(() => undefined);
    throw error;
  }
}

/** A server that cuts every long answer, or takes no long range, is asked for this part alone afterwards. */
const READER_TRIES = 2;

/** Fills the memory; resolves with what the source says of it. */
export async function fillPart(filling: Filling, file: ModelFile, offset: number, into: Uint8Array): Promise<Filled> {
  const { retry, places, reader } = filling;
  let tries = 0;
  return withPartRetries(retry, async () => {
    await places.allow(into.length, retry.signal);
    try {
      const way = { ...filling, reader: tries++ < READER_TRIES ? reader : undefined };
      const filled = await once(way, file, offset, into);
      places.came(into.length);
      return filled;
    } catch (error) {
      if (error instanceof RetryError && error.isThrottled) places.slowDown();
      throw error;
    }
  });
}
