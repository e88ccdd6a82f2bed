/**
 * SHA-256 of whole objects, as many at once as there are cores. Files are opened and read by the threads that hash them, so that the
 * disk, or the hash, is the limit; objects of a bucket come as a stream.
 */
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { ObjectStore } from "../ports.ts";
import { RetryError } from "../runtime/errors.ts";
import { newHashThreads } from "./hashthreads.ts";
import type { ThreadHash } from "./hashthreads.ts";
import { withRetries } from "./retry.ts";
import type { RetryOptions } from "./retry.ts";
import { againIfDead, newThread, ThreadDiedError } from "./thread.ts";
import type { Thread } from "./thread.ts";

export interface HashedObject {
  /** 64 hex digits. */
  readonly sha256: string;
  readonly sizeBytes: number;
}

export interface ObjectHasher {
  /** Objects that are hashed side by side. */
  readonly width: number;
  /**
   * `sizeBytes` as listed; what is there may differ. Rejects with a RetryError where the way to the object fails, which says nothing
   * of the object, or where it is refused (`isRefusal`); with another error where the object itself cannot be read.
   */
  hash(key: string, sizeBytes: number): Promise<HashedObject>;
  /** Of all objects so far, of those that then failed too. */
  readonly readBytes: number;
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

/** Faults of a file that are the file's own: it is gone, or the disk has lost it. Others are of the rights or limits of who reads. */
const ownFaults = new Set(["ENOENT", "ENOTDIR", "EISDIR", "ELOOP", "EIO", "EBADMSG", "EUCLEAN"]);
const refusals = new Set(["EACCES", "EPERM"]);

const faultOf = (code: string): Error =>
  ownFaults.has(code) ? new Error(code) : new RetryError(new Error(code), undefined, false, refusals.has(code));

type Answer = HashedObject | { readonly fault: string };

/** Each thread hashes one file after the other. */
function newFileHasher(root: string): ObjectHasher {
  const width = availableParallelism();
  const start = (): Thread<{ readonly path: string }, Answer> => newThread(PROGRAM);
  const threads = Array.from({ length: width }, start);
  const idle = [...threads.keys()];
  let readBytes = 0;
  async function hashBy(at: number, path: string): Promise<HashedObject> {
    const thread = threads[at];
    const answer = await (thread && !thread.isDead ? thread : (threads[at] = start())).ask({ path });
    if ("fault" in answer) throw faultOf(answer.fault);
    readBytes += answer.sizeBytes;
    return answer;
  }
  return {
    width,
    get readBytes() {
      return readBytes;
    },
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

/** The rest of an object as it comes. One byte more than expected shows that it is longer. */
async function* restOf(store: ObjectStore, key: string, offset: number, sizeBytes: number): AsyncIterable<Uint8Array> {
  try {
    // Of what ends here no range can be asked for as a stream.
    if (offset >= sizeBytes) yield await store.read(key, offset, 1);
    else yield* await store.stream(key, offset, sizeBytes + 1 - offset);
  } catch (error) {
    throw error instanceof RetryError ? error : new RetryError(error);
  }
}

interface Streaming {
  readonly hash: ThreadHash;
  readonly onBytes: (count: number) => void;
  readonly memory: Uint8Array;
  /** Bytes in memory. */
  at: number;
  /** Bytes that came. */
  total: number;
}

async function take(streaming: Streaming, chunk: Uint8Array): Promise<void> {
  const { hash, memory } = streaming;
  streaming.onBytes(chunk.length);
  for (let taken = 0; taken < chunk.length;) {
    const count = Math.min(chunk.length - taken, CHUNK_BYTES - streaming.at);
    memory.set(chunk.subarray(taken, taken + count), streaming.at);
    streaming.at += count;
    streaming.total += count;
    taken += count;
    if (streaming.at < CHUNK_BYTES) continue;
    await hash.update(memory);
    streaming.at = 0;
  }
}

/** Reads on where an answer broke off, as long as each brings something or the tries last. */
async function hashStream(
  store: ObjectStore,
  key: string,
  sizeBytes: number,
  { hash, onBytes }: Pick<Streaming, "hash" | "onBytes">,
  retry: RetryOptions,
): Promise<HashedObject> {
  const streaming = { hash, onBytes, memory: new Uint8Array(new SharedArrayBuffer(CHUNK_BYTES)), at: 0, total: 0 };
  const readOn = async (): Promise<"whole" | "broken" | Error> => {
    const before = streaming.total;
    try {
      for await (const chunk of restOf(store, key, before, sizeBytes)) await take(streaming, chunk);
      return "whole";
    } catch (error) {
      // What it has hashed so far is gone: not to be read on from.
      if (error instanceof ThreadDiedError || (error instanceof RetryError && error.isRefusal)) return error;
      if (!(error instanceof RetryError) || streaming.total === before) throw error;
      return "broken";
    }
  };
  // An empty one has nothing to be read.
  for (let end = sizeBytes === 0 ? "whole" : "broken"; end !== "whole";) {
    const came = await withRetries(retry, readOn);
    if (came instanceof Error) throw came;
    end = came;
  }
  await hash.update(streaming.memory.subarray(0, streaming.at));
  return { sha256: await hash.digest(), sizeBytes: streaming.total };
}

function newStreamHasher(store: ObjectStore, retry: RetryOptions): ObjectHasher {
  const threads = newHashThreads();
  let readBytes = 0;
  const onBytes = (count: number): void => void (readBytes += count);
  return {
    width: STREAMS,
    get readBytes() {
      return readBytes;
    },
    hash: (key, sizeBytes) =>
      againIfDead(() => hashStream(store, key, sizeBytes, { hash: threads.open(), onBytes }, retry)),
    close: () => threads.close(),
  };
}

export function newObjectHasher(store: ObjectStore, retry: RetryOptions): ObjectHasher {
  return store.url.startsWith("file:") ? newFileHasher(fileURLToPath(store.url)) : newStreamHasher(store, retry);
}
