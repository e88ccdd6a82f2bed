/**
 * The journal of an upload into a folder: its first line is the plan, each further one a part that was written. A line carries a
 * checksum of itself, so that a torn one is no line; whether the bytes of a part are those of its checksum is told by reading them.
 */
import { crc32 } from "node:zlib";
import type { UploadPlan } from "../../ports.ts";

const sealed = (text: string): string => `${text} ${crc32(text).toString(16)}\n`;

export function planLine({ sizeBytes, partBytes, content }: UploadPlan): string {
  return sealed(JSON.stringify({ sizeBytes, partBytes, content }));
}

export function partLine(number: number, checksum: number, seal?: string): string {
  const line = `${String(number)} ${checksum.toString(16)}`;
  return sealed(seal === undefined ? line : `${line} ${seal}`);
}

/** Lines that are whole, without their seals. */
function linesOf(text: string): string[] {
  return text
    .split("\n")
    .map((line) => /^(.*) ([0-9a-f]{1,8})$/.exec(line))
    .filter((match) => match !== null && crc32(match[1] ?? "").toString(16) === match[2])
    .map((match) => match?.[1] ?? "");
}

/** What the caller said of a part. */
export interface PartLine {
  readonly checksum: number;
  readonly seal: string | undefined;
}

/** The parts that the journal of this very plan names; undefined where it is another's. */
export function partsOf(text: string, plan: UploadPlan): Map<number, PartLine> | undefined {
  const [first, ...rest] = linesOf(text);
  if (first === undefined || planLine(plan) !== sealed(first)) return undefined;
  const parts = new Map<number, PartLine>();
  for (const line of rest) {
    const [, number, hex, seal] = /^(\d{1,9}) ([0-9a-f]{1,8})(?: ([0-9a-f]{1,64}))?$/.exec(line) ?? [];
    if (number !== undefined && hex !== undefined)
      parts.set(Number(number), { checksum: Number.parseInt(hex, 16), seal });
  }
  return parts;
}
