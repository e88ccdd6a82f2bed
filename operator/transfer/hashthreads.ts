/**
 * Checksums on threads of their own: 200 GB are 100 s of SHA-256 (openssl does some 2 GB/s on one core) and 40 s of CRC-32, during which
 * the event loop would move nothing. Bytes lie in shared memory, so that none is copied on the way.
 */
import { availableParallelism } from "node:os";
import { CRC64_PROGRAM, crc64Kit } from "./crc64.ts";
import { againIfDead, newThread } from "./thread.ts";
import type { Thread } from "./thread.ts";

/** Of an AES-GCM: the nonce is never used again with the same key for other bytes. */
export interface MacKey {
  readonly key: Uint8Array;
  readonly nonce: Uint8Array;
}

/** One hash, fed in order. Rejects with a ThreadDiedError where what it was fed is lost with its thread. */
export interface ThreadHash {
  /** Resolves when the bytes have been read; until then they must stay as they are. They lie in a SharedArrayBuffer. */
  update(bytes: Uint8Array): Promise<void>;
  /** 64 hex digits; ends the hash. */
  digest(): Promise<string>;
}

/** A thread that died is replaced: only hashes that it held are lost, everything else is asked of another. */
export interface HashThreads {
  open(): ThreadHash;
  /** SHA-256 (64 hex digits) of bytes in a SharedArrayBuffer, which must stay as they are until it resolves. */
  sha256(bytes: Uint8Array): Promise<string>;
  /** CRC-32 of bytes in a SharedArrayBuffer, which must stay as they are until it resolves. */
  crc32(bytes: Uint8Array): Promise<number>;
  /**
   * 32 bits of a GMAC (AES-128-GCM over nothing but these bytes, key and nonce zero) of bytes in a SharedArrayBuffer: finds what a CRC-32
   * finds at a quarter of its CPU, and says nothing of who wrote them.
   */
  gmac32(bytes: Uint8Array): Promise<number>;
  /** The whole GMAC of bytes in a SharedArrayBuffer, as 32 hex digits: says that they are those of somebody who has the key. */
  gmac(bytes: Uint8Array, mac: MacKey): Promise<string>;
  /** CRC-64/NVME of bytes in a SharedArrayBuffer, and of those before them (0 where there are none). */
  crc64(bytes: Uint8Array, before: bigint): Promise<bigint>;
  /** Hashes that still run never resolve. */
  close(): Promise<void>;
}

interface Question {
  /** "gmac32" for that of the bytes; where absent their CRC-32, or with `before` their CRC-64. */
  readonly id?: number | "gmac32";
  /** Where absent: the digest of the hash. */
  readonly bytes?: Uint8Array;
  /** CRC-64 of the bytes before these. */
  readonly before?: bigint;
  /** For the whole GMAC of the bytes. */
  readonly mac?: MacKey;
}

interface Reply {
  readonly digest?: string;
  readonly crc64?: bigint;
  readonly sum?: number;
  readonly tag?: string;
}

/** Of the hash threads beside all others. */
const NICENESS = 10;

/** Plain CommonJS in a string: a bundle has no second file that a thread could start from. */
const PROGRAM = `
const { parentPort, workerData: kit } = require("node:worker_threads");
const { createCipheriv, createHash } = require("node:crypto");
const { crc32 } = require("node:zlib");
const { getPriority, setPriority } = require("node:os");
// Where a priority is a thread's own: the event loop, which needs a core for moments only, then has it when it wakes up.
try {
  if (process.platform === "linux") setPriority(Math.min(19, getPriority() + ${String(NICENESS)}));
} catch {}
${CRC64_PROGRAM}
const zero = Buffer.alloc(16);
function gmac(bytes, key, nonce) {
  const mac = createCipheriv("aes-" + key.length * 8 + "-gcm", key, nonce);
  mac.setAAD(bytes);
  mac.final();
  return mac.getAuthTag();
}
const hashes = new Map();
parentPort.on("message", ({ call, id, bytes, before, mac }) => {
  if (mac) return parentPort.postMessage({ call, tag: gmac(bytes, mac.key, mac.nonce).toString("hex") });
  if (id === "gmac32") return parentPort.postMessage({ call, sum: gmac(bytes, zero, zero.subarray(0, 12)).readUInt32LE(0) });
  if (before !== undefined) return parentPort.postMessage({ call, crc64: crc64(bytes, before) });
  if (id === undefined) return parentPort.postMessage({ call, sum: crc32(bytes) });
  let hash = hashes.get(id);
  if (!hash) hashes.set(id, (hash = createHash("sha256")));
  if (bytes) {
    hash.update(bytes);
    parentPort.postMessage({ call });
  } else {
    hashes.delete(id);
    parentPort.postMessage({ call, digest: hash.digest("hex") });
  }
});
`;

const MOST_THREADS = 4;
/** A thread holds nothing but the states of its hashes: a usual heap would take some 20 MB for garbage that never comes. */
const SMALL_HEAP = { maxYoungGenerationSizeMb: 2, maxOldGenerationSizeMb: 32 };

/** As many threads as there are cores, four at most; each starts with the first work that falls to it. */
export function newHashThreads(threads = Math.min(MOST_THREADS, availableParallelism())): HashThreads {
  const running: Thread<Question, Reply>[] = [];
  let opened = 0;
  const start = (at: number): Thread<Question, Reply> =>
    (running[at] = newThread(PROGRAM, { resourceLimits: SMALL_HEAP, workerData: crc64Kit() }));
  const threadAt = (at: number): Thread<Question, Reply> => {
    const thread = running[at];
    return thread && !thread.isDead ? thread : start(at);
  };
  /** One that waits, or else the one with the least to do. */
  const idlest = (): Thread<Question, Reply> => {
    const [least = threadAt(0)] = running.map((_, at) => threadAt(at)).sort((a, b) => a.asked - b.asked);
    return least.asked > 0 && running.length < threads ? threadAt(running.length) : least;
  };
  function open(): ThreadHash {
    const id = opened++;
    // Kept: the one that replaces it knows nothing of what this one was fed.
    const thread = threadAt(id % threads);
    return {
      update: async (bytes) => void (await thread.ask({ id, bytes })),
      digest: async () => (await thread.ask({ id })).digest ?? "",
    };
  }
  const ask = (question: Question): Promise<Reply> => againIfDead(() => idlest().ask(question));
  return {
    open,
    sha256: (bytes) =>
      againIfDead(async () => {
        const hash = open();
        await hash.update(bytes);
        return hash.digest();
      }),
    crc32: async (bytes) => (await ask({ bytes })).sum ?? 0,
    gmac32: async (bytes) => (await ask({ id: "gmac32", bytes })).sum ?? 0,
    gmac: async (bytes, mac) => (await ask({ bytes, mac })).tag ?? "",
    crc64: async (bytes, before) => (await ask({ bytes, before })).crc64 ?? 0n,
    async close() {
      await Promise.all(running.map((thread) => thread.close()));
    },
  };
}
