/**
 * Whole objects on their way into a folder, flushed before success is told: by Node's pool, and where many come at once out of shared
 * memory by a thread of their own (putthread.ts).
 */
import { unlink } from "node:fs/promises";
import { dirname } from "node:path";
import type { Folders } from "./folders.ts";
import type { Incoming, Incomings, Publish } from "./incoming.ts";
import { writeAt } from "./partfile.ts";
import { newPutThread } from "./putthread.ts";

type Outcome = "written" | "exists";

export interface PutPlaces {
  readonly folders: Folders;
  readonly incoming: Incomings;
  readonly publish: Publish;
  /** Flushes a folder. */
  readonly sync: (folder: string) => Promise<void>;
}

interface WholeObject {
  readonly key: string;
  readonly target: string;
  readonly bytes: Uint8Array;
  readonly ifAbsent: boolean;
}

/** A thread takes some time to start: fewer at once than this are no reason to. */
const MANY_AT_ONCE = 4;

/** Leaves neither a descriptor nor a piece of a file where a write fails, as on a full disk. */
async function orDiscard<T>({ incoming }: PutPlaces, { file, path }: Incoming, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    await file.close().catch(() => undefined);
    await incoming.remove(path);
    throw error;
  }
}

async function putHere(places: PutPlaces, { key, target, bytes, ifAbsent }: WholeObject): Promise<Outcome> {
  const begun = await places.incoming.open(key);
  const { file, path } = begun;
  const outcome = await orDiscard(places, begun, async () => {
    await writeAt(file, bytes, 0);
    await file.sync();
    await file.close();
    return places.publish(path, target, ifAbsent);
  });
  await places.incoming.remove(path);
  return outcome;
}

export function newPuts(places: PutPlaces): (object: WholeObject) => Promise<Outcome> {
  const { folders, incoming, publish, sync } = places;
  const putByThread = newPutThread();
  let underway = 0;
  async function putBeside({ key, target, bytes, ifAbsent }: WholeObject): Promise<Outcome> {
    const path = await incoming.reserve(key);
    const folder = dirname(target);
    try {
      if (!folders.knows(folder)) await folders.make(folder);
      const put = await putByThread({ path, target, bytes, ifAbsent });
      if (put === "unnamed")
        return await publish(path, target, ifAbsent).finally(() => unlink(path).catch(() => undefined));
      // Also where another was first, who may not have come to flush it.
      await sync(folder);
      return put;
    } finally {
      await incoming.leave(path);
    }
  }
  return async (object) => {
    underway++;
    const isBeside = underway > MANY_AT_ONCE && object.bytes.buffer instanceof SharedArrayBuffer;
    return (isBeside ? putBeside(object) : putHere(places, object)).finally(() => underway--);
  };
}
