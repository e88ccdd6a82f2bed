// What the checksums of an import cost, on the thread that counts them, over bytes that lie in memory.
import { randomFillSync } from "node:crypto";
import { newHashThreads } from "../../operator/transfer/hashthreads.ts";
import { print, quantile } from "./figures.ts";
import type { Bench } from "./imports.ts";

const PART_BYTES = 16 << 20;
const PARTS = 32;

async function costOf(runs: number, count: (bytes: Uint8Array) => Promise<unknown>): Promise<number> {
  const bytes = new Uint8Array(new SharedArrayBuffer(PART_BYTES));
  const block = Buffer.alloc(1 << 20);
  for (let at = 0; at < bytes.length; at += block.length) bytes.set(randomFillSync(block), at);
  await count(bytes);
  const costs: number[] = [];
  for (let run = 0; run < runs; run++) {
    const before = process.cpuUsage();
    for (let part = 0; part < PARTS; part++) await count(bytes);
    const { user, system } = process.cpuUsage(before);
    costs.push((user + system) / 1e6 / ((PARTS * PART_BYTES) / 1e9));
  }
  return quantile(costs, 0.5);
}

export async function checksumLines({ runs }: Bench): Promise<void> {
  const threads = newHashThreads(1);
  const hash = threads.open();
  const sha256 = await costOf(runs, (bytes) => hash.update(bytes));
  const crc64 = await costOf(runs, (bytes) => threads.crc64(bytes, 0n));
  await threads.close();
  print({
    name: "import.checksum.crc64",
    value: crc64,
    unit: "CPU s/GB",
    limit: sha256,
    against: "SHA-256 of the same bytes",
  });
}
