/** The head of an HTTP/1.1 answer (RFC 9112), from the pieces in which it comes. Bounded; strict where laxness would mix bodies up. */

export interface RawHead {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: ReadonlyMap<string, string>;
  /** Bytes of the body; undefined where it comes in chunks. */
  readonly lengthBytes: number | undefined;
  /** True where nothing may follow on this connection. */
  readonly isLast: boolean;
}

/** Longer heads are nobody's that we ask. */
const LONGEST_HEAD = 16 << 10;

/**
 * A body that ends with its connection is refused, since nobody can tell it from one that broke off; one with a length and
 * in chunks too, since two readers could see two bodies (RFC 9112, section 6.3).
 */
function lengthOf(status: number, headers: ReadonlyMap<string, string>): number | undefined {
  const length = headers.get("content-length");
  const coding = headers.get("transfer-encoding");
  if (coding?.toLowerCase() === "chunked" && length === undefined) return undefined;
  const said = length ?? (status === 204 || status === 304 ? "0" : "");
  if (coding !== undefined || !/^\d{1,15}$/.test(said)) throw new Error("the answer does not say how long it is");
  return Number(said);
}

const isBlank = (char: string | undefined): boolean => char === " " || char === "\t";

/** Blanks and tabs around a value are none of it. By hand: an expression for both takes hours over a head of blanks. */
function withoutBlanks(value: string): string {
  let from = 0;
  let to = value.length;
  while (from < to && isBlank(value[from])) from += 1;
  while (to > from && isBlank(value[to - 1])) to -= 1;
  return value.slice(from, to);
}

function headOf(text: string): RawHead {
  const [first = "", ...lines] = text.split("\r\n");
  const [, minor, code] = /^HTTP\/1\.([01]) (\d{3})(?: |$)/.exec(first) ?? [];
  if (code === undefined) throw new Error("the answer is no HTTP/1.1");
  const headers = new Map<string, string>();
  for (const line of lines) {
    const [, name = "", value = ""] = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):(.*)$/.exec(line) ?? [];
    if (name === "") throw new Error("the answer has a line that is no header");
    const key = name.toLowerCase();
    if (/^(content-length|transfer-encoding)$/.test(key) && headers.has(key))
      throw new Error("the answer has two lengths");
    headers.set(key, withoutBlanks(value));
  }
  const status = Number(code);
  const lengthBytes = lengthOf(status, headers);
  const isLast = minor === "0" || /\bclose\b/i.test(headers.get("connection") ?? "");
  return { status, headers, lengthBytes, isLast };
}

export type HeadReader = (piece: Uint8Array) => { readonly head: RawHead; readonly body: Uint8Array } | undefined;

/** Takes pieces until the head is whole, then gives it with what of the body came with it. Throws on what is no answer. */
export function newHeadReader(): HeadReader {
  let held = Buffer.alloc(0);
  return (piece) => {
    const seen = held.length;
    held = Buffer.concat([held, piece.subarray(0, LONGEST_HEAD)]);
    const end = held.indexOf("\r\n\r\n", Math.max(0, seen - 3), "latin1");
    if (end < 0) {
      if (held.length >= LONGEST_HEAD) throw new Error("the answer's head is too long");
      return undefined;
    }
    const head = headOf(held.toString("latin1", 0, end));
    // 100 and 103 come before an answer to those who ask for them: nobody here does.
    if (head.status < 200) throw new Error("the answer is preceded by another");
    return { head, body: piece.subarray(end + 4 - seen) };
  };
}
