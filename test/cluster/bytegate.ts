// Lets so many bytes of bodies through a proxy, both directions together, and not one more: who is told then can end a process at a byte.
import { Transform } from "node:stream";

export interface ByteGate {
  /** Bytes that have passed in all. */
  readonly passed: number;
  /** After so many bytes more nothing passes. `reached` is called in that moment, before anything else can happen. */
  shutAfter(bytes: number, reached: () => void): void;
  /** From now on everything passes; what was held is lost, as it should be when those who waited for it are dead. */
  open(): void;
  /** The gate for one body. */
  through(): Transform;
}

export function newByteGate(): ByteGate {
  let passed = 0;
  let left = Infinity;
  let reached = (): void => undefined;
  const pass = (body: Transform, bytes: Buffer): void => {
    const part = left >= bytes.length ? bytes : bytes.subarray(0, left);
    if (part.length > 0) body.push(part);
    passed += part.length;
    left -= part.length;
    if (left === 0 && part.length > 0) reached();
  };
  return {
    get passed() {
      return passed;
    },
    shutAfter(bytes, then) {
      left = bytes;
      reached = then;
    },
    open() {
      left = Infinity;
      reached = () => undefined;
    },
    through: () =>
      new Transform({
        transform(chunk: Buffer, _encoding, done) {
          const isWhole = left >= chunk.length;
          if (left > 0) pass(this, chunk);
          // Without `done` the body stands still.
          if (isWhole) done();
        },
      }),
  };
}
