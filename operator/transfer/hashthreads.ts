/**
 * Checksums on threads of their own: 200 GB are 100 s of SHA-256 (openssl does some 2 GB/s on one core) and 40 s of CRC-32, during which
 * the event loop would move nothing. Bytes lie in shared memory, so that none is copied on the way.
 */
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { CRC64_PROGRAM, crc64Kit } from "./crc64.ts";

/** One hash, fed in order. */
export interface ThreadHash {
  /** Resolves when the bytes have been read; until then they must stay as they are. They lie in a SharedArrayBuffer. */
  update(bytes: Uint8Array): Promise<void>;
  /** 64 hex digits; ends the hash. */
  digest(): Promise<string>;
}

export interface HashThreads {
  open(): ThreadHash;
  /** CRC-32 of bytes in a SharedArrayBuffer, which must stay as they are until it resolves. */
  crc32(bytes: Uint8Array): Promise<number>;
  /**
   * 32 bits of a GMAC (AES-128-GCM over nothing but these bytes, key and nonce zero) of bytes in a SharedArrayBuffer: finds what a CRC-32
   * finds at a quarter of its CPU, and says nothing of who wrote them.
   */
  gmac32(bytes: Uint8Array): Promise<number>;
  /** CRC-64/NVME of bytes in a SharedArrayBuffer, and of those before them (0 where there are none). */
  crc64(bytes: Uint8Array, before: bigint): Promise<bigint>;
  /** Hashes that still run never resolve. */
  close(): Promise<void>;
}

interface Reply {
  readonly call: number;
  readonly digest?: string;
  readonly crc64?: bigint;
  readonly sum?: number;
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
function gmac32(bytes) {
  const mac = createCipheriv("aes-128-gcm", zero, zero.subarray(0, 12));
  mac.setAAD(bytes);
  mac.final();
  return mac.getAuthTag().readUInt32LE(0);
}
const hashes = new Map();
parentPort.on("message", ({ call, id, bytes, before }) => {
  if (id === "gmac32") return parentPort.postMessage({ call, sum: gmac32(bytes) });
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

interface Thread {
  /**
   * With "gmac32" for an id: that of the bytes. Without an id: their CRC-32, or with the CRC-64 of those before them theirs together. Without bytes: the digest of the hash.
   */
  ask(id: number | "gmac32" | undefined, bytes?: Uint8Array, before?: bigint): Promise<Reply>;
  /** Questions that it has not answered. */
  readonly asked: number;
  close(): Promise<unknown>;
}

function newThread(): Thread {
  const worker = new Worker(PROGRAM, { eval: true, resourceLimits: SMALL_HEAP, workerData: crc64Kit() });
  const waiting = new Map<number, PromiseWithResolvers<Reply>>();
  let calls = 0;
  /** What it died of. */
  let dead: Error | undefined;
  worker.on("message", (reply: Reply) => {
    waiting.get(reply.call)?.resolve(reply);
    waiting.delete(reply.call);
  });
  worker.on("error", (error: Error) => {
    dead = error;
    for (const { reject } of waiting.values()) reject(error);
    waiting.clear();
  });
  return {
    ask(id, bytes, before) {
      // Nobody would answer; and the hashes that it held are gone, so that another thread could not go on with them.
      if (dead) return Promise.reject(dead);
      const call = calls++;
      const answer = Promise.withResolvers<Reply>();
      waiting.set(call, answer);
      worker.postMessage({ call, id, bytes, before });
      return answer.promise;
    },
    get asked() {
      return waiting.size;
    },
    close: () => worker.terminate(),
  };
}

/** As many threads as there are cores, four at most; each starts with the first work that falls to it. */
export function newHashThreads(threads = Math.min(MOST_THREADS, availableParallelism())): HashThreads {
  const running: Thread[] = [];
  let opened = 0;
  const threadAt = (at: number): Thread => (running[at] ??= newThread());
  /** One that waits, or else the one with the least to do. */
  const idlest = (): Thread => {
    const [least = threadAt(0)] = [...running].sort((a, b) => a.asked - b.asked);
    return least.asked > 0 && running.length < threads ? threadAt(running.length) : least;
  };
  return {
    open() {
      const id = opened++;
      const thread = threadAt(id % threads);
      return {
        update: async (bytes) => void (await thread.ask(id, bytes)),
        digest: async () => (await thread.ask(id)).digest ?? "",
      };
    },
    crc32: async (bytes) => (await idlest().ask(undefined, bytes)).sum ?? 0,
    gmac32: async (bytes) => (await idlest().ask("gmac32", bytes)).sum ?? 0,
    crc64: async (bytes, before) => (await idlest().ask(undefined, bytes, before)).crc64 ?? 0n,
    async close() {
      await Promise.all(running.map(({ close }) => close()));
    },
  };
}
