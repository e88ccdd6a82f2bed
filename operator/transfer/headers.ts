/** Reads what inspection needs, and no more: small configuration files and the headers of the safetensors files. */
import type { ObjectSource } from "../ports.ts";
import { GGUF_HEAD_BYTES, ggufFault } from "../plan/model/gguf.ts";
import { inspect, inspectConfig, isInspected, oversized } from "../plan/model/inspect.ts";
import type { ModelFacts } from "../plan/model/inspect.ts";
import type { Listing, ModelFile } from "../plan/model/listing.ts";
import { extensionOf } from "../plan/model/listing.ts";
import { isProblem, printable } from "../plan/model/problem.ts";
import type { ModelProblem } from "../plan/model/problem.ts";
import { headerLength, parseHeader } from "../plan/model/safetensors.ts";
import type { Tensor } from "../plan/model/safetensors.ts";
import type { Inspected } from "./inspected.ts";
import { withRetries } from "./retry.ts";
import type { RetryOptions } from "./retry.ts";
import { newSlots } from "./slots.ts";

/** One request of this size covers the header of most shards. */
const firstReadBytes = 64 * 1024;
const readsAtOnce = 8;
/** Headers of all files together, so that ten thousand of them do not fill the memory. */
const maxHeadersBytes = 512 << 20;

export interface Reading {
  readonly source: ObjectSource;
  readonly retry: RetryOptions;
  /** Told of what was read, so that the copy can be held to it. */
  readonly inspected?: Pick<Inspected, "note">;
}

function readRange(
  { source, retry }: Reading,
  file: ModelFile,
  offset: number,
  lengthBytes: number,
): Promise<Uint8Array> {
  if (lengthBytes === 0) return Promise.resolve(new Uint8Array(0));
  return withRetries(retry, () => source.read(file, offset, lengthBytes, retry.signal));
}

async function readTexts(reading: Reading, listing: Listing): Promise<Map<string, string>> {
  const wanted = listing.files.filter((file) => isInspected(file.path));
  const decoder = new TextDecoder();
  const read = async (file: ModelFile): Promise<[string, string]> => {
    const bytes = await readRange(reading, file, 0, file.sizeBytes);
    reading.inspected?.note(file, bytes);
    return [file.path, decoder.decode(bytes)];
  };
  return new Map(await Promise.all(wanted.map(read)));
}

interface HeaderBytes {
  readonly bytes: Uint8Array;
}

async function readHeader(reading: Reading, file: ModelFile): Promise<HeaderBytes | ModelProblem> {
  const first = await readRange(reading, file, 0, Math.min(firstReadBytes, file.sizeBytes));
  const length = headerLength(file.path, first, file.sizeBytes);
  if (typeof length !== "number") return length;
  const end = 8 + length;
  const rest = await readRange(reading, file, first.length, Math.max(0, end - first.length));
  const bytes = Buffer.concat([first.subarray(0, end), rest]);
  reading.inspected?.note(file, bytes);
  return { bytes: bytes.subarray(8) };
}

async function readHeaders(reading: Reading, listing: Listing): Promise<Map<string, readonly Tensor[]> | ModelProblem> {
  const files = listing.files.filter((file) => extensionOf(file.path) === "safetensors");
  const headers = new Map<string, readonly Tensor[]>();
  const slots = newSlots(readsAtOnce);
  let problem: ModelProblem | undefined;
  let total = 0;
  const readOne = async (file: ModelFile): Promise<void> => {
    const release = await slots.take(reading.retry.signal);
    try {
      if (problem) return;
      const header = await readHeader(reading, file);
      if (isProblem(header)) return void (problem ??= header);
      total += header.bytes.length;
      const tooMuch: ModelProblem = {
        reason: "SafetensorsInvalid",
        message: `the safetensors headers together, ${printable(file.path)} the last, are too large to be real: upload the weights again`,
        retryable: false,
      };
      const tensors = total > maxHeadersBytes ? tooMuch : parseHeader(file.path, header.bytes, file.sizeBytes);
      if ("reason" in tensors) return void (problem ??= tensors);
      headers.set(file.path, tensors);
    } finally {
      release();
    }
  };
  await Promise.all(files.map(readOne));
  return problem ?? headers;
}

/** The first bytes of files that are only let along. */
async function ggufProblem(reading: Reading, listing: Listing): Promise<ModelProblem | undefined> {
  for (const file of listing.files.filter(({ path }) => extensionOf(path) === "gguf")) {
    const head = await readRange(reading, file, 0, Math.min(GGUF_HEAD_BYTES, file.sizeBytes));
    reading.inspected?.note(file, head);
    const problem = ggufFault(file.path, head);
    if (problem) return problem;
  }
  return undefined;
}

/** Facts of the model by its headers, or the first reason to refuse it. Reads kilobytes, whatever the model's size. */
export async function inspectSource(reading: Reading, listing: Listing): Promise<ModelFacts | ModelProblem> {
  const large = oversized(listing);
  if (large) return large;
  const texts = await readTexts(reading, listing);
  const early = inspectConfig(texts) ?? (await ggufProblem(reading, listing));
  if (early) return early;
  const headers = await readHeaders(reading, listing);
  return headers instanceof Map ? inspect(listing, texts, headers) : headers;
}
