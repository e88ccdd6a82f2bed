/** The `Range` header, as far as the store answers it: one range of bytes (RFC 9110, section 14). */

export interface ByteRange {
  readonly offset: number;
  readonly lengthBytes: number;
}

/** The whole where no range is asked for; "unsatisfiable" for several ranges, another unit, or bytes that do not exist. */
export function rangeOf(header: string | undefined, sizeBytes: number): ByteRange | "whole" | "unsatisfiable" {
  if (header === undefined) return "whole";
  const [, first = "", last = ""] = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header.trim()) ?? [];
  if (first === "" && last === "") return "unsatisfiable";
  if (first === "") {
    const lengthBytes = Math.min(Number(last), sizeBytes);
    return lengthBytes === 0 ? "unsatisfiable" : { offset: sizeBytes - lengthBytes, lengthBytes };
  }
  const offset = Number(first);
  const end = last === "" ? sizeBytes - 1 : Math.min(Number(last), sizeBytes - 1);
  return offset >= sizeBytes || end < offset ? "unsatisfiable" : { offset, lengthBytes: end - offset + 1 };
}
