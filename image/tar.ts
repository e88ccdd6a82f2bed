/**
 * Tar archives whose bytes depend on names and contents only: entries sorted, time 0, no user names.
 * Format: POSIX ustar; a name or link target that does not fit gets a pax record (IEEE Std 1003.1, "pax").
 */
import { withParents } from "./tree.ts";
import type { Entry, Owner, Tree } from "./tree.ts";

const BLOCK = 512;
const ROOT: Owner = { uid: 0, gid: 0 };
const TYPES = { file: "0", link: "2", folder: "5", pax: "x" } as const;

interface Header {
  readonly name: string;
  readonly type: keyof typeof TYPES;
  readonly mode: number;
  readonly owner: Owner;
  readonly size: number;
  readonly target: string;
}

function octal(value: number, width: number): string {
  return `${value.toString(8).padStart(width - 1, "0")}\0`;
}

function headerBlock({ name, type, mode, owner, size, target }: Header): Buffer {
  const block = Buffer.alloc(BLOCK);
  block.write(name, 0, 100);
  block.write(octal(mode, 8) + octal(owner.uid, 8) + octal(owner.gid, 8) + octal(size, 12) + octal(0, 12), 100);
  block.write(" ".repeat(8), 148);
  block.write(TYPES[type], 156);
  block.write(target, 157, 100);
  block.write("ustar\x0000", 257);
  const sum = block.reduce((all, byte) => all + byte, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return block;
}

/** A pax record carries its own length in decimal digits, which count too. */
function paxRecord(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  let length = Buffer.byteLength(rest);
  while (Buffer.byteLength(`${String(length)}${rest}`) !== length) {
    length = Buffer.byteLength(`${String(length)}${rest}`);
  }
  return `${String(length)}${rest}`;
}

function padding(size: number): Buffer {
  return Buffer.alloc((BLOCK - (size % BLOCK)) % BLOCK);
}

function member(header: Header, content: Buffer): Buffer[] {
  const records = [
    ...(Buffer.byteLength(header.name) > 100 ? [paxRecord("path", header.name)] : []),
    ...(Buffer.byteLength(header.target) > 100 ? [paxRecord("linkpath", header.target)] : []),
  ].join("");
  const pax = Buffer.from(records);
  const extra: Header = { name: "pax", type: "pax", mode: 0o644, owner: ROOT, size: pax.length, target: "" };
  return [
    ...(pax.length > 0 ? [headerBlock(extra), pax, padding(pax.length)] : []),
    headerBlock(header),
    content,
    padding(content.length),
  ];
}

function entryMember(path: string, entry: Entry): Buffer[] {
  const none = Buffer.alloc(0);
  const common = { name: path, owner: ROOT, size: 0, target: "" };
  switch (entry.kind) {
    case "folder":
      return member(
        { ...common, name: `${path}/`, type: "folder", mode: entry.mode, owner: entry.owner ?? ROOT },
        none,
      );
    case "link":
      return member({ ...common, type: "link", mode: 0o777, target: entry.target }, none);
    case "file":
      return member(
        { ...common, type: "file", mode: entry.mode, owner: entry.owner ?? ROOT, size: entry.content.length },
        entry.content,
      );
  }
}

/** The archive as pieces, in order of path, folders before what is in them. */
export function tarOf(tree: Tree): Buffer[] {
  const entries = [...withParents(tree)].sort(([a], [b]) => (a < b ? -1 : 1));
  return [...entries.flatMap(([path, entry]) => entryMember(path, entry)), Buffer.alloc(2 * BLOCK)];
}
