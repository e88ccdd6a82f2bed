/**
 * CRC-64/NVME (https://reveng.sourceforge.io/crc-catalogue/17plus.htm#crc.cat.crc-64-nvme), which S3 servers state of whole objects.
 * JavaScript has no 64-bit integers that are fast, so the loop is WebAssembly, assembled here: 16 bytes a turn by 16 tables
 * ("slicing"), some 0.6 CPU s/GB. It runs in the threads of hashthreads.ts.
 */

/** 0xad93d23594c93659 with its bits turned round: bytes go in with their lowest bit first. */
const POLYNOMIAL = 0x9a6c9329ac4bc9b5n;
const SLICES = 16;
const TABLE_BYTES = 256 * 8;
/** Bytes that are counted in one call, behind the tables. */
const BLOCK_BYTES = 96 << 10;
const PAGE_BYTES = 64 << 10;

/** What one byte becomes once 0, 1 … 15 bytes have followed it. */
function tablesOf(): BigUint64Array {
  const tables = new BigUint64Array(SLICES * 256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = BigInt(byte);
    for (let bit = 0; bit < 8; bit++) crc = crc & 1n ? (crc >> 1n) ^ POLYNOMIAL : crc >> 1n;
    tables[byte] = crc;
  }
  for (let at = 256; at < tables.length; at++) {
    const before = tables[at - 256] ?? 0n;
    tables[at] = (before >> 8n) ^ (tables[Number(before & 255n)] ?? 0n);
  }
  return tables;
}

/** Numbers as WebAssembly's binary format has them (LEB128, signed: https://webassembly.github.io/spec/core/binary/values.html). */
function number(value: number): number[] {
  const low = value & 127;
  const rest = value >> 7;
  const isLast = (rest === 0 && low < 64) || (rest === -1 && low >= 64);
  return isLast ? [low] : [low | 128, ...number(rest)];
}

/** Unsigned, for offsets and lengths. */
function length(value: number): number[] {
  return value < 128 ? [value] : [(value & 127) | 128, ...length(value >> 7)];
}

const counted = (bytes: readonly number[]): number[] => [...length(bytes.length), ...bytes];
const section = (id: number, bytes: readonly number[]): number[] => [id, ...counted(bytes)];

const op = {
  block: [0x02, 0x40],
  loop: [0x03, 0x40],
  end: [0x0b],
  repeat: [0x0c, 0],
  leaveIf: [0x0d, 1],
  lessThan: [0x49],
  atLeast: [0x4f],
  add: [0x6a],
  and: [0x83],
  xor: [0x85],
  shiftLeft: [0x86],
  shiftRight: [0x88],
  toInt32: [0xa7],
  load8: [0x31, 0, 0],
} as const;
const get = (local: number): number[] => [0x20, local];
const set = (local: number): number[] => [0x21, local];
const int32 = (value: number): number[] => [0x41, ...number(value)];
const int64 = (value: number): number[] => [0x42, ...number(value)];
const load64 = (offset: number): number[] => [0x29, 3, ...length(offset)];

/** Parameters and variables of the one function: (from, to, crc) → crc. */
const [FROM, TO, CRC, FIRST, SECOND] = [0, 1, 2, 3, 4] as const;

/** The entry of a table for one byte of a variable; its place is the byte times 8. */
function lookup(local: number, byte: number, table: number): number[] {
  const shifted = byte === 0 ? [...int64(3), ...op.shiftLeft] : [...int64(8 * byte - 3), ...op.shiftRight];
  return [...get(local), ...shifted, ...int64(2040), ...op.and, ...op.toInt32, ...load64(table * TABLE_BYTES)];
}

const eight = [0, 1, 2, 3, 4, 5, 6, 7] as const;

/** Sixteen bytes a turn, then one. */
function programOf(): number[] {
  const words = [
    ...[...get(FROM), ...load64(0), ...get(CRC), ...op.xor, ...set(FIRST)],
    ...[...get(FROM), ...load64(8), ...set(SECOND)],
    ...int64(0),
    ...eight.flatMap((byte) => [...lookup(FIRST, byte, 15 - byte), ...op.xor]),
    ...eight.flatMap((byte) => [...lookup(SECOND, byte, 7 - byte), ...op.xor]),
    ...set(CRC),
  ];
  const bytes = [
    ...[...get(CRC), ...get(FROM), ...op.load8, ...op.xor, ...set(FIRST)],
    ...[...get(CRC), ...int64(8), ...op.shiftRight, ...lookup(FIRST, 0, 0), ...op.xor, ...set(CRC)],
  ];
  const turns = (step: number, work: readonly number[]): number[] => {
    const isOver =
      step === 1
        ? [...get(FROM), ...get(TO), ...op.atLeast]
        : [...get(TO), ...get(FROM), ...int32(step), ...op.add, ...op.lessThan];
    const next = [...get(FROM), ...int32(step), ...op.add, ...set(FROM), ...op.repeat];
    return [...op.block, ...op.loop, ...isOver, ...op.leaveIf, ...work, ...next, ...op.end, ...op.end];
  };
  return [...turns(16, words), ...turns(1, bytes), ...get(CRC), ...op.end];
}

function moduleOf(): Uint8Array {
  const [i32, i64] = [0x7f, 0x7e];
  const pages = Math.ceil((SLICES * TABLE_BYTES + BLOCK_BYTES) / PAGE_BYTES);
  const name = (text: string): number[] => counted([...new TextEncoder().encode(text)]);
  return new Uint8Array([
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [1, 0x60, ...counted([i32, i32, i64]), ...counted([i64])]),
    ...section(3, counted([0])),
    ...section(5, [1, 0, ...length(pages)]),
    ...section(7, [2, ...name("memory"), 2, 0, ...name("update"), 0, 0]),
    ...section(10, [1, ...counted([1, 2, i64, ...programOf()])]),
  ]);
}

/** What a thread needs to count: cheap to make, and to hand over. */
export interface Crc64Kit {
  readonly wasm: Uint8Array;
  readonly tables: Uint8Array;
  readonly blockBytes: number;
}

let made: Crc64Kit | undefined;

export function crc64Kit(): Crc64Kit {
  made ??= { wasm: moduleOf(), tables: new Uint8Array(tablesOf().buffer), blockBytes: BLOCK_BYTES };
  return made;
}

/**
 * For a thread's program: `crc64(bytes, before)` with the CRC of the bytes before as zlib's crc32 has it, from a kit named `kit`. In a
 * string for the reason that hashthreads.ts gives.
 */
export const CRC64_PROGRAM = `
const { memory, update } = new WebAssembly.Instance(new WebAssembly.Module(kit.wasm)).exports;
new Uint8Array(memory.buffer).set(kit.tables);
const block = new Uint8Array(memory.buffer, kit.tables.length, kit.blockBytes);
const ones = (1n << 64n) - 1n;
function crc64(bytes, before) {
  let crc = before ^ ones;
  for (let at = 0; at < bytes.length; at += block.length) {
    const piece = bytes.subarray(at, at + block.length);
    block.set(piece);
    crc = BigInt.asUintN(64, update(kit.tables.length, kit.tables.length + piece.length, crc));
  }
  return crc ^ ones;
}
`;
