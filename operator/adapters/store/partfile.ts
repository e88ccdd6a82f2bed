/**
 * The bytes of an upload into a folder, written past the page cache where the file system can: they must be on the disk before success
 * is told anyhow, while a copy of them in the kernel's memory costs as much CPU as their SHA-256 and counts against the pod's limit.
 */
import { constants } from "node:fs";
import { open } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";

/** What disks and file systems want positions, lengths and memory to be multiples of, or less. */
const BLOCK_BYTES = 4096;

export interface PartFile {
  write(bytes: Uint8Array, position: number): Promise<void>;
  /** Fills the memory. */
  read(into: Uint8Array, position: number): Promise<void>;
  /** Durable when it resolves. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

export async function writeAt(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    const { bytesWritten } = await file.write(bytes, at, bytes.length - at, position + at);
    at += bytesWritten;
  }
}

async function readWhole(file: FileHandle, into: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < into.length;) {
    const { bytesRead } = await file.read(into, at, into.length - at, position + at);
    if (bytesRead === 0) throw new Error("an upload became shorter while it was read");
    at += bytesRead;
  }
}

/** Opens the file so that writes pass the cache by; undefined where the system or the file system knows no such thing. */
async function openDirect(path: string): Promise<FileHandle | undefined> {
  // Not every system has the flag, whatever the types say.
  const flag: number | undefined = constants.O_DIRECT;
  return flag === undefined ? undefined : open(path, constants.O_WRONLY | flag).catch(() => undefined);
}

/** Of a file that is there already. */
export async function openPartFile(path: string): Promise<PartFile> {
  const file = await open(path, "r+");
  const direct = await openDirect(path);
  let isDirect = direct !== undefined;

  /** Resolves with the bytes that were written, from the beginning: whole blocks. */
  async function writePast(bytes: Uint8Array, position: number): Promise<number> {
    const whole = bytes.length - (bytes.length % BLOCK_BYTES);
    if (!direct || !isDirect || position % BLOCK_BYTES !== 0) return 0;
    let at = 0;
    try {
      while (at < whole && at % BLOCK_BYTES === 0) {
        const { bytesWritten } = await direct.write(bytes, at, whole - at, position + at);
        at += bytesWritten;
      }
    } catch (error) {
      // The memory does not begin where this disk wants it, or the file system says only now that it cannot.
      if ((error as { code?: string } | null)?.code !== "EINVAL") throw error;
      isDirect = false;
    }
    return at - (at % BLOCK_BYTES);
  }

  return {
    async write(bytes, position) {
      const past = await writePast(bytes, position);
      await writeAt(file, past === 0 ? bytes : bytes.subarray(past), position + past);
    },
    read: (into, position) => readWhole(file, into, position),
    sync: () => file.sync(),
    async close() {
      for (const one of [file, direct]) await one?.close().catch(() => undefined);
    },
  };
}
