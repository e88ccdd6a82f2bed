/**
 * SHA-256 of whole objects, as many at once as there are cores. Files are opened and read by the threads that hash them, so that the
 * disk, or the hash, is the limit; objects of a bucket come as a stream.
 */
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { ObjectStore } from "../ports.ts";
import { newHashThreads } from "./hashthreads.ts";
import type { ThreadHash } from "./hashthreads.ts";
import { againIfDead, newThread } from "./thread.ts";
import type { Thread } from "./thread.ts";

export interface HashedObject {
  /** 64 hex digits. */
  readonly sha256: string;
  readonly sizeBytes: number;
}

export interface ObjectHasher {
  /** Objects that are hashed side by side. */
  readonly width: number;
  /** `sizeBytes` as listed; what is there may differ. Rejects where the object cannot be read. */
  hash(key: string, sizeBytes: number): Promise<HashedObject>;
  close(): Promise<void>;
}

/** Plain CommonJS in a string: a bundle has no second file that a thread could start from. */
const PROGRAM = `
const { parentPort } = require("node:worker_threads");
const { createHash } = require("node:crypto");
const { openSync, readSync, closeSync } = require("node:fs");
const buffer = Buffer.allocUnsafeSlow(1 << 20);
parentPort.on("message", ({ call, path }) => {
  try {
    const hash = createHash("sha256");
    const file = openSync(path, "r");
    let sizeBytes = 0;
    try {
      for (;;) {
        const count = readSync(file, buffer, 0, buffer.length, null);
        if (count === 0) break;
        sizeBytes += count;
        hash.update(count === buffer.length ? buffer : buffer.subarray(0, count));
      }
    } finally {
      closeSync(file);
    }
    parentPort.postMessage({ call, sha256: hash.digest("hex"), sizeBytes });
  } catch (error) {
    parentPort.postMessage({ call, fault: error.code || error.message });
  }
});
`;

type Answer = HashedObject | { readonly fault: string };

/** Each thread hashes one file after the other. */
function newFileHasher(root: string): ObjectHasher {
  const width = availableParallelism();
  const start = (): Thread<{ readonly path: string }, Answer> => newThread(PROGRAM);
  const threads = Array.from({ length: width }, start);
  const idle = [...threads.keys()];
  async function hashBy(at: number, path: string): Promise<HashedObject> {
    const thread = threads[at];
    const answer = await (thread && !thread.isDead ? thread : (threads[at] = start())).ask({ path });
    if ("fault" in answer) throw new Error(answer.fault);
    return answer;
  }
  return {
    width,
    async hash(key) {
      const at = idle.pop();
      if (at === undefined) throw new Error("more objects at once than threads");
      return againIfDead(() => hashBy(at, join(root, key))).finally(() => idle.push(at));
    },
    async close() {
      await Promise.all(threads.map((thread) => thread.close()));
    },
  };
}

const CHUNK_BYTES = 1 << 20;
const STREAMS = 8;

async function hashStream(store: ObjectStore, key: string, sizeBytes: number, hash: ThreadHash): Promise<HashedObject> {
  const memory = new Uint8Array(new SharedArrayBuffer(CHUNK_BYTES));
  let [at, total] = [0, 0];
  // One byte more than expected shows that an object is longer; an empty one has nothing to be read.
  for await (const chunk of sizeBytes === 0 ? [] : await store.stream(key, 0, sizeBytes + 1)) {
    for (let taken = 0; taken < chunk.length;) {
      const count = Math.min(chunk.length - taken, CHUNK_BYTES - at);
      memory.set(chunk.subarray(taken, taken + count), at);
      [at, taken, total] = [at + count, taken + count, total + count];
      if (at === CHUNK_BYTES) at = await flushed(hash, memory);
    }
  }
  await hash.update(memory.subarray(0, at));
  return { sha256: await hash.digest(), sizeBytes: total };
}

function newStreamHasher(store: ObjectStore): ObjectHasher {
  const threads = newHashThreads();
  return {
    width: STREAMS,
    hash: (key, sizeBytes) => againIfDead(() => hashStream(store, key, sizeBytes, threads.open())),
    close: () => threads.close(),
  };
}

async function flushed(hash: ThreadHash, memory: Uint8Array): Promise<number> {
  await hash.update(memory);
  return 0;
}

export function newObjectHasher(store: ObjectStore): ObjectHasher {
  return store.url.startsWith("file:") ? newFileHasher(fileURLToPath(store.url)) : newStreamHasher(store);
}
