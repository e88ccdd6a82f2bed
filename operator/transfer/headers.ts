/** Reads what inspection needs, and no more: small configuration files and the headers of the safetensors files. */
import { setImmediate } from "node:timers/promises";
import type { ObjectSource } from "../ports.ts";
import { GGUF_HEAD_BYTES, ggufFault } from "../plan/model/gguf.ts";
import { inspect, inspectConfig, isInspected, oversized } from "../plan/model/inspect.ts";
import type { ModelFacts } from "../plan/model/inspect.ts";
import type { Listing, ModelFile } from "../plan/model/listing.ts";
import { extensionOf } from "../plan/model/keynames.ts";
import type { ModelProblem } from "../plan/model/problem.ts";
import { MAX_HEADERS_BYTES, MAX_MODEL_TENSORS, headerLength, parseHeader, tooMuch } from "../plan/model/safetensors.ts";
import type { Tensor } from "../plan/model/safetensors.ts";
import { inTime } from "./deadline.ts";
import type { Inspected } from "./inspected.ts";
import { inPlace } from "./largereads.ts";
import type { LargeReads } from "./largereads.ts";
import { withRetries } from "./retry.ts";
import { newSlots } from "./slots.ts";

/** One request of this size covers the header of most shards. */
const FIRST_READ_BYTES = 64 * 1024;
const FIRST_READS_AT_ONCE = 8;
/** Of those, what is kept until the header is read. */
const MOST_KEPT_BYTES = 4 << 20;
/** Headers that are in memory as bytes at once. */
const HEADERS_AT_ONCE = 2;
/** A longer header comes in pieces. */
const PIECE_BYTES = 8 << 20;

export interface Reading extends LargeReads {
  readonly source: ObjectSource;
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
  const what = `the beginning of ${file.path}`;
  return withRetries(retry, () =>
    inTime(retry, { what, lengthBytes }, (signal) => source.read(file, offset, lengthBytes, signal)),
  );
}

/** The first `lengthBytes`, of which `first` has come already. */
async function readBeginning(
  reading: Reading,
  file: ModelFile,
  lengthBytes: number,
  first: Uint8Array,
): Promise<Uint8Array> {
  if (first.length >= lengthBytes) return first.subarray(0, lengthBytes);
  const bytes = new Uint8Array(lengthBytes);
  bytes.set(first);
  for (let at = first.length; at < lengthBytes; at += PIECE_BYTES)
    bytes.set(await readRange(reading, file, at, Math.min(PIECE_BYTES, lengthBytes - at)), at);
  return bytes;
}

async function readTexts(reading: Reading, files: readonly ModelFile[]): Promise<Map<string, string>> {
  const decoder = new TextDecoder();
  const read = async (file: ModelFile): Promise<[string, string]> => {
    const bytes = await readBeginning(reading, file, file.sizeBytes, new Uint8Array(0));
    reading.inspected?.note(file, bytes);
    return [file.path, decoder.decode(bytes)];
  };
  return new Map(await Promise.all(files.map(read)));
}

interface Header {
  readonly file: ModelFile;
  /** Up to the end of the header: 8 bytes more than its own length. */
  readonly endBytes: number;
  /** What is known of it. */
  readonly first: Uint8Array;
}

/** Calls `work` for all, some at once; the first problem ends it. */
async function forAll<T>(
  all: readonly T[],
  atOnce: number,
  signal: AbortSignal | undefined,
  work: (one: T) => Promise<ModelProblem | undefined>,
): Promise<ModelProblem | undefined> {
  const slots = newSlots(atOnce);
  let problem: ModelProblem | undefined;
  const run = async (one: T): Promise<void> => {
    const release = await slots.take(signal);
    try {
      if (problem) return;
      const found = await work(one);
      problem ??= found;
    } finally {
      release();
    }
  };
  await Promise.all(all.map(run));
  return problem;
}

/** How long each header is, counted together before any is taken into memory. */
async function readLengths(reading: Reading, files: readonly ModelFile[]): Promise<Header[] | ModelProblem> {
  const headers: Header[] = [];
  let total = 0;
  let kept = 0;
  const problem = await forAll(files, FIRST_READS_AT_ONCE, reading.retry.signal, async (file) => {
    const first = await readRange(reading, file, 0, Math.min(FIRST_READ_BYTES, file.sizeBytes));
    const length = headerLength(file.path, first, file.sizeBytes);
    if (typeof length !== "number") return length;
    total += length;
    if (total > MAX_HEADERS_BYTES) return tooMuch(file.path, `${String(MAX_HEADERS_BYTES)} bytes`);
    const endBytes = 8 + length;
    const keep = kept < MOST_KEPT_BYTES ? first.slice(0, endBytes) : new Uint8Array(0);
    kept += keep.length;
    headers.push({ file, endBytes, first: keep });
    return undefined;
  });
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

async function readHeaders(
  reading: Reading,
  headers: readonly Header[],
): Promise<Map<string, readonly Tensor[]> | ModelProblem> {
  const found = new Map<string, readonly Tensor[]>();
  let count = 0;
  const problem = await forAll(headers, HEADERS_AT_ONCE, reading.retry.signal, async ({ file, endBytes, first }) => {
    const bytes = await readBeginning(reading, file, endBytes, first);
    reading.inspected?.note(file, bytes);
    // What is parsed here holds the event loop: others have their turn between two headers.
    await setImmediate();
    const tensors = parseHeader(file.path, bytes.subarray(8), file.sizeBytes);
    if ("reason" in tensors) return tensors;
    count += tensors.length;
    if (count > MAX_MODEL_TENSORS) return tooMuch(file.path, `${String(MAX_MODEL_TENSORS)} tensors`);
    found.set(file.path, tensors);
    return undefined;
  });
  return problem ?? found;
}

const bytesOf = (files: readonly { readonly sizeBytes: number }[]): number =>
  files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);

/** Facts of the model by its headers, or the first reason to refuse it. Reads kilobytes, whatever the model's size. */
export async function inspectSource(reading: Reading, listing: Listing): Promise<ModelFacts | ModelProblem> {
  const large = oversized(listing);
  if (large) return large;
  const wanted = listing.files.filter(({ path }) => isInspected(path));
  const weights = listing.files.filter(({ path }) => extensionOf(path) === "safetensors");
  return inPlace(reading, bytesOf(wanted), async (first) => {
    const texts = await readTexts(first, wanted);
    const early = inspectConfig(listing, texts) ?? (await ggufProblem(first, listing));
    if (early) return early;
    const lengths = await readLengths(first, weights);
    if (!Array.isArray(lengths)) return lengths;
    const headerBytes = lengths.reduce((sum, { endBytes }) => sum + endBytes, 0);
    return inPlace(first, headerBytes, async (second) => {
      const headers = await readHeaders(second, lengths);
      return headers instanceof Map ? inspect(listing, texts, headers) : headers;
    });
  });
}
