/**
 * The header of a safetensors file, checked by the format's own rules: an unsigned 64-bit little-endian length N, N bytes
 * of JSON that map a tensor's name to {dtype, shape, data_offsets}, then the data without holes or overlaps
 * (https://github.com/huggingface/safetensors, README "Format" and the validation in safetensors/src/tensor.rs).
 */
import { printable, refusal } from "./problem.ts";
import type { ModelProblem } from "./problem.ts";
import { jsonFault } from "./strictjson.ts";
import type { JsonFault } from "./strictjson.ts";

/** The format's own limit for the JSON header, in bytes. */
export const MAX_HEADER_BYTES = 100_000_000;
const maxTensors = 200_000;
/** Of one header: a tensor has some ten (its name, three keys, the numbers of two lists). */
const maxValues = 16 * maxTensors;
/** Of all headers of a model together: the largest that are known have some 20 MB. */
export const MAX_HEADERS_BYTES = 48 << 20;
/** The largest models that are known have some 150,000. */
export const MAX_MODEL_TENSORS = 400_000;
const maxDimensions = 16;

/** Bits of one element by data type. */
const dtypeBits: Readonly<Record<string, number>> = {
  BOOL: 8, F4: 4, F6_E2M3: 6, F6_E3M2: 6, U8: 8, I8: 8, F8_E5M2: 8, F8_E4M3: 8, F8_E8M0: 8, F8_E4M3FNUZ: 8,
  F8_E5M2FNUZ: 8, I16: 16, U16: 16, F16: 16, BF16: 16, I32: 32, U32: 32, F32: 32, C64: 64, F64: 64, I64: 64, U64: 64,
}; // prettier-ignore

export interface Tensor {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly elements: number;
  readonly bytes: number;
}

const broken = (path: string, what: string): ModelProblem =>
  refusal("SafetensorsInvalid", `${printable(path)} is not a valid safetensors file, upload it again: ${what}`);

/** The headers of a model together are beyond what one has. */
export function tooMuch(path: string, most: string): ModelProblem {
  const what = `the safetensors headers of the model have more than ${most} together, ${printable(path)} the last`;
  return refusal("SafetensorsInvalid", `${what}: no real model has, upload the weights again`);
}

/** What stands in place of weights where an upload took a link for the file. */
function standInOf(path: string, first: Uint8Array): ModelProblem | undefined {
  const text = new TextDecoder("latin1").decode(first.subarray(0, 256));
  const missing = (what: string): ModelProblem =>
    refusal("WeightsMissing", `${printable(path)} ${what}: upload the weights themselves`);
  if (text.startsWith("version https://git-lfs"))
    return missing("is a pointer of Git LFS (git lfs pull brings the file)");
  if (/^(\.{0,2}\/)[\x20-\x7e]+\n?$/.test(text))
    return missing("holds the path of another file, as a symbolic link does");
  return undefined;
}

/** Length of the JSON header by the file's first 8 bytes, checked against the file's size. */
export function headerLength(path: string, first: Uint8Array, fileBytes: number): number | ModelProblem {
  const standIn = standInOf(path, first);
  if (standIn) return standIn;
  if (first.length < 8 || fileBytes < 10) return broken(path, "it is shorter than a header");
  const length = new DataView(first.buffer, first.byteOffset, 8).getBigUint64(0, true);
  if (length > BigInt(MAX_HEADER_BYTES)) return broken(path, `its header claims ${String(length)} bytes`);
  if (length > BigInt(fileBytes - 8)) return broken(path, "its header is longer than the file");
  return Number(length);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

/** Product of a shape; undefined where it cannot be a real tensor. */
function elementsOf(shape: readonly number[]): number | undefined {
  const product = shape.reduce((all, next) => all * BigInt(next), 1n);
  return product <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(product) : undefined;
}

interface Placed extends Tensor {
  readonly begin: number;
  readonly end: number;
}

function tensorOf(name: string, entry: unknown): Placed | string {
  const called = `tensor '${printable(name)}'`;
  if (!isRecord(entry)) return `${called} is not an object`;
  const { dtype, shape, data_offsets: offsets } = entry;
  const bits = typeof dtype === "string" && Object.hasOwn(dtypeBits, dtype) ? dtypeBits[dtype] : undefined;
  if (typeof dtype !== "string" || bits === undefined) return `${called} has an unknown dtype`;
  if (!Array.isArray(shape) || shape.length > maxDimensions || !shape.every(isCount))
    return `${called} has a bad shape`;
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) return `${called} has bad offsets`;
  const elements = elementsOf(shape);
  const [begin, end] = offsets as [number, number];
  if (elements === undefined || BigInt(elements) * BigInt(bits) !== BigInt(end - begin) * 8n) {
    return `the bytes of ${called} do not match its shape and dtype`;
  }
  return { name, dtype, shape, elements, bytes: end - begin, begin, end };
}

/** name → {dtype, shape, data_offsets} → lists: nothing in a header lies deeper. */
const maxDepth = 4;

function faultText({ what, under, word }: JsonFault): string {
  const place = under === undefined ? "its header" : `tensor '${printable(under)}'`;
  if (what === "many") return `its header lists more than ${String(maxTensors)} tensors, or more than tensors have`;
  if (what === "deep") return `${place} is nested deeper than ${word} levels`;
  if (what === "notFinite") return `${place} holds ${word}, which is no number`;
  return word === under ? `${place} is listed twice` : `${place} has the key '${printable(word)}' twice`;
}

/** The header's object, or what is wrong with it. */
function parseJson(header: Uint8Array): Record<string, unknown> | string {
  if (header[0] !== 0x7b) return "its header is not a JSON object";
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(header);
    const fault = jsonFault(text, maxDepth, maxValues);
    if (fault) return faultText(fault);
    const json: unknown = JSON.parse(text);
    return isRecord(json) ? json : "its header is not a JSON object";
  } catch {
    return "its header is not a JSON object";
  }
}

/** __metadata__ maps strings to strings. */
function metadataFault(json: Record<string, unknown>): string | undefined {
  const metadata = json["__metadata__"];
  if (metadata === undefined) return undefined;
  return isRecord(metadata) && Object.values(metadata).every((value) => typeof value === "string")
    ? undefined
    : "its __metadata__ holds more than words";
}

/** All tensors of a file by its JSON header, or why the file is refused. `fileBytes` is the size of the whole file. */
export function parseHeader(path: string, header: Uint8Array, fileBytes: number): readonly Tensor[] | ModelProblem {
  const json = parseJson(header);
  if (typeof json === "string") return broken(path, json);
  const words = metadataFault(json);
  if (words !== undefined) return broken(path, words);
  const entries = Object.entries(json).filter(([name]) => name !== "__metadata__");
  if (entries.length > maxTensors) return broken(path, `it lists more than ${String(maxTensors)} tensors`);
  const tensors: Placed[] = [];
  for (const [name, entry] of entries) {
    const tensor = tensorOf(name, entry);
    if (typeof tensor === "string") return broken(path, tensor);
    tensors.push(tensor);
  }
  tensors.sort((a, b) => a.begin - b.begin || a.end - b.end);
  let at = 0;
  for (const tensor of tensors) {
    if (tensor.begin !== at)
      return broken(path, `tensor '${printable(tensor.name)}' leaves a hole or overlaps another`);
    at = tensor.end;
  }
  if (8 + header.length + at !== fileBytes) {
    return broken(path, `its tensors end at byte ${String(8 + header.length + at)}, but it has ${String(fileBytes)}`);
  }
  return tensors;
}
