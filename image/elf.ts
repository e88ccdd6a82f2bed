/** What the dynamic linker will ask for: read off ELF files ("Tool Interface Standard: ELF 1.2", 64-bit little-endian). */

export interface Linking {
  /** Path of the program's interpreter, if it names one. */
  readonly interpreter: string | undefined;
  /** File names of the libraries that it needs. */
  readonly needed: readonly string[];
}

const PT_LOAD = 1;
const PT_DYNAMIC = 2;
const PT_INTERP = 3;
const DT_NEEDED = 1n;
const DT_STRTAB = 5n;

interface Segment {
  readonly type: number;
  readonly offset: number;
  readonly address: number;
  readonly size: number;
}

function segmentsOf(file: Buffer): Segment[] {
  const table = Number(file.readBigUInt64LE(0x20));
  const entrySize = file.readUInt16LE(0x36);
  return Array.from({ length: file.readUInt16LE(0x38) }, (_, i) => {
    const at = table + i * entrySize;
    const number = (offset: number): number => Number(file.readBigUInt64LE(at + offset));
    return { type: file.readUInt32LE(at), offset: number(8), address: number(16), size: number(32) };
  });
}

function textAt(file: Buffer, at: number): string {
  return file.toString("latin1", at, file.indexOf(0, at));
}

/** Throws a RangeError where the file is not a whole 64-bit ELF file. */
export function linkingOf(file: Buffer): Linking {
  if (file.readUInt32BE(0) !== 0x7f454c46 || file[4] !== 2) throw new RangeError("not a 64-bit ELF file");
  const segments = segmentsOf(file);
  const interpreter = segments.find(({ type }) => type === PT_INTERP);
  const dynamic = segments.find(({ type }) => type === PT_DYNAMIC);
  const entries = Array.from({ length: (dynamic?.size ?? 0) / 16 }, (_, i) => {
    const at = (dynamic?.offset ?? 0) + i * 16;
    return { tag: file.readBigUInt64LE(at), value: Number(file.readBigUInt64LE(at + 8)) };
  });
  const address = entries.find(({ tag }) => tag === DT_STRTAB)?.value ?? 0;
  const home = segments.find((s) => s.type === PT_LOAD && address >= s.address && address < s.address + s.size);
  const strings = address - (home?.address ?? 0) + (home?.offset ?? 0);
  return {
    interpreter: interpreter && textAt(file, interpreter.offset),
    needed: entries.filter(({ tag }) => tag === DT_NEEDED).map(({ value }) => textAt(file, strings + value)),
  };
}
