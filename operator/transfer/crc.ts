/**
 * CRC-32 (ISO-HDLC, zlib's) of bytes that follow each other, from the CRC-32 of each piece: appending n zero bytes is a linear map over
 * GF(2), and maps are applied n times by squaring (the mathematics of zlib's crc32_combine).
 */
const POLYNOMIAL = 0xedb88320;

type Matrix = readonly number[];

function times(matrix: Matrix, vector: number): number {
  let sum = 0;
  for (let bit = 0, rest = vector >>> 0; rest !== 0; bit++, rest >>>= 1) if (rest & 1) sum ^= matrix[bit] ?? 0;
  return sum >>> 0;
}

const squared = (matrix: Matrix): Matrix => matrix.map((row) => times(matrix, row));

/** One zero bit appended. */
const oneBit: Matrix = [POLYNOMIAL, ...Array.from({ length: 31 }, (_, bit) => (1 << bit) >>> 0)];
const oneByte: Matrix = squared(squared(squared(oneBit)));

/** CRC-32 of two pieces together; `lengthBytes` is the second's. */
export function combinedCrc32(first: number, second: number, lengthBytes: number): number {
  let crc = first >>> 0;
  let matrix = oneByte;
  // Lengths are beyond 32 bits: no bit operations on them.
  for (let left = lengthBytes; left > 0; left = Math.floor(left / 2)) {
    if (left % 2 === 1) crc = times(matrix, crc);
    matrix = squared(matrix);
  }
  return (crc ^ second) >>> 0;
}
