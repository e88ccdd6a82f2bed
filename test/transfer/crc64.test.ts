// CRC-64/NVME beside its published check value, and beside its definition bit by bit.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, test } from "node:test";
import { newHashThreads } from "../../operator/transfer/hashthreads.ts";

const threads = newHashThreads();
after(() => threads.close());

const shared = (bytes: Uint8Array): Uint8Array => {
  const memory = new Uint8Array(new SharedArrayBuffer(bytes.length));
  memory.set(bytes);
  return memory;
};

/** The catalogue's parameters: width 64, init and xorout all ones, refin and refout. */
function byDefinition(bytes: Uint8Array): bigint {
  const ones = 2n ** 64n - 1n;
  let crc = ones;
  for (const byte of bytes) {
    crc ^= BigInt(byte);
    for (let bit = 0; bit < 8; bit++) crc = crc & 1n ? (crc >> 1n) ^ 0x9a6c9329ac4bc9b5n : crc >> 1n;
  }
  return crc ^ ones;
}

test("the check value of the catalogue of CRCs", async () => {
  assert.equal(await threads.crc64(shared(Buffer.from("123456789")), 0n), 0xae8b14860a799888n);
  assert.equal(await threads.crc64(new Uint8Array(new SharedArrayBuffer(0)), 0n), 0n);
});

test("any length, in one piece or in several, is what the definition gives", async () => {
  for (const length of [1, 7, 8, 15, 16, 17, 31, 1000, (96 << 10) - 1, 96 << 10, (96 << 10) + 5]) {
    const bytes = shared(randomBytes(length));
    const wanted = byDefinition(bytes);
    assert.equal(await threads.crc64(bytes, 0n), wanted, String(length));
    const at = Math.floor(length / 3);
    const first = await threads.crc64(bytes.subarray(0, at), 0n);
    assert.equal(await threads.crc64(bytes.subarray(at), first), wanted, `${String(length)} cut at ${String(at)}`);
  }
});
