/** The body of an HTTP/1.1 answer, with a length or in chunks (RFC 9112, section 7.1): proxies on the way may make one of the other. */

/** Takes a piece of what follows the head; true once the body is whole. Throws on what breaks the framing. */
export type BodyReader = (piece: Uint8Array) => boolean;

const CR = 13;
const LF = 10;
/** A size with its extensions, or a trailer: longer ones are nobody's that we ask. */
const LONGEST_LINE = 1_024;
/** Trailers are read over, but not without end. */
const MOST_TRAILERS = 64;

function newLengthReader(lengthBytes: number, onBytes: (piece: Uint8Array) => void): BodyReader {
  let left = lengthBytes;
  return (piece) => {
    if (piece.length > left) throw new Error("more came than was announced");
    left -= piece.length;
    if (piece.length > 0) onBytes(piece);
    return left === 0;
  };
}

/** Bytes of the chunk that the line announces. */
function chunkBytes(line: string): number {
  const [, digits] = /^([0-9a-fA-F]{1,12})(?:[ \t]*;.*)?$/.exec(line) ?? [];
  if (digits === undefined) throw new Error("the answer has a chunk without a size");
  return Number.parseInt(digits, 16);
}

/** Gathers a line that ends with CR LF; undefined until it is whole. */
function newLineReader(): (byte: number) => string | undefined {
  let line = "";
  let isEnding = false;
  return (byte) => {
    if (isEnding !== (byte === LF)) throw new Error("the answer's chunks have a broken line");
    if (byte === CR) isEnding = true;
    else if (byte !== LF) {
      line += String.fromCharCode(byte);
      if (line.length > LONGEST_LINE) throw new Error("the answer's chunks have a line that is too long");
    } else {
      const whole = line;
      line = "";
      isEnding = false;
      return whole;
    }
    return undefined;
  };
}

function newChunkReader(onBytes: (piece: Uint8Array) => void): BodyReader {
  const read = newLineReader();
  let state: "size" | "data" | "after" | "trailers" | "done" = "size";
  let left = 0;
  let trailers = 0;
  const onLine = (line: string): void => {
    if (state === "size") {
      left = chunkBytes(line);
      state = left === 0 ? "trailers" : "data";
    } else if (state === "after") {
      if (line !== "") throw new Error("the answer has a chunk that is longer than its size");
      state = "size";
    } else if (line === "") state = "done";
    else if (++trailers > MOST_TRAILERS) throw new Error("the answer has too many trailers");
  };
  return (piece) => {
    for (let at = 0; at < piece.length;) {
      if (state === "done") throw new Error("more came than was announced");
      if (state === "data") {
        const bytes = piece.subarray(at, at + left);
        onBytes(bytes);
        at += bytes.length;
        left -= bytes.length;
        if (left === 0) state = "after";
        continue;
      }
      const line = read(piece[at++] ?? 0);
      if (line !== undefined) onLine(line);
    }
    return state === "done";
  };
}

/** `lengthBytes` is undefined for a body in chunks. */
export function newBodyReader(lengthBytes: number | undefined, onBytes: (piece: Uint8Array) => void): BodyReader {
  return lengthBytes === undefined ? newChunkReader(onBytes) : newLengthReader(lengthBytes, onBytes);
}
