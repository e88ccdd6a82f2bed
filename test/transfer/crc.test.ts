import assert from "node:assert/strict";
import { test } from "node:test";
import { crc32 } from "node:zlib";
import fc from "fast-check";
import { combinedCrc32 } from "../../operator/transfer/crc.ts";

test("the CRC-32 of two pieces is that of both together", () => {
  const bytes = fc.uint8Array({ maxLength: 3000 });
  fc.assert(
    fc.property(bytes, bytes, (one, other) => {
      assert.equal(combinedCrc32(crc32(one), crc32(other), other.length), crc32(Buffer.concat([one, other])));
    }),
  );
});

test("lengths beyond 32 bits are lengths", () => {
  // Appending 2^33 zero bytes is appending 2^32 of them twice.
  const zeros = (crc: number, lengthBytes: number): number => combinedCrc32(crc, 0, lengthBytes);
  const once = zeros(0x1234_5678, 2 ** 33);
  assert.equal(once, zeros(zeros(0x1234_5678, 2 ** 32), 2 ** 32));
  assert.notEqual(once, 0x1234_5678);
});
