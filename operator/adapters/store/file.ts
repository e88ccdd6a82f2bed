/**
 * The store on a POSIX folder. An object is written under `.incoming/` and linked to its place when complete: link(2)
 * fails where the name is taken, which is what "if absent" needs. Files and folders are flushed before success is told.
 */
import { open, readdir, rm, stat } from "node:fs/promises";
import { dirname, join, resolve, sep } from "node:path";
import type { Readable } from "node:stream";
import type { ListedObject, ObjectStore, ObjectUpload, UploadPlan } from "../../ports.ts";
import { storeError } from "../s3/errors.ts";
import { openFileUpload } from "./fileupload.ts";
import { newFolders } from "./folders.ts";
import { folderError } from "./full.ts";
import { INCOMING, codeOf, newFolderSync, newIncoming, newPublish } from "./incoming.ts";
import { newPuts } from "./puts.ts";

const STATS_AT_ONCE = 64;

async function* walk(folder: string, key: string): AsyncIterable<ListedObject> {
  let entries;
  try {
    entries = await readdir(folder, { withFileTypes: true });
  } catch (error) {
    if (codeOf(error) === "ENOENT" || codeOf(error) === "ENOTDIR") return;
    throw error;
  }
  entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  for (let at = 0; at < entries.length; at += STATS_AT_ONCE) {
    const some = entries.slice(at, at + STATS_AT_ONCE);
    const stats = await Promise.all(
      some.map(async (entry) => (entry.isFile() ? stat(join(folder, entry.name)).catch(() => undefined) : undefined)),
    );
    for (const [n, entry] of some.entries()) {
      const found = stats[n];
      if (key === "" && entry.name === INCOMING) continue;
      if (entry.isDirectory()) yield* walk(join(folder, entry.name), `${key}${entry.name}/`);
      else if (found) yield { key: key + entry.name, sizeBytes: found.size, modifiedAtMs: found.mtimeMs };
    }
  }
}

async function readAt(path: string, offset: number, lengthBytes: number): Promise<Uint8Array> {
  const file = await open(path, "r");
  try {
    const bytes = Buffer.allocUnsafe(lengthBytes);
    let at = 0;
    while (at < lengthBytes) {
      const { bytesRead } = await file.read(bytes, at, lengthBytes - at, offset + at);
      if (bytesRead === 0) break;
      at += bytesRead;
    }
    return bytes.subarray(0, at);
  } finally {
    await file.close();
  }
}

/** As large as the pipe of a socket makes sense of: few system calls, little memory a stream. */
const STREAM_CHUNK_BYTES = 512 << 10;

async function streamAt(path: string, offset: number, lengthBytes: number, signal?: AbortSignal): Promise<Readable> {
  const file = await open(path, "r");
  const { size } = await file.stat().catch(async (error: unknown) => {
    await file.close();
    throw error;
  });
  if (offset >= size) {
    await file.close();
    throw new Error(`the object ends at byte ${String(size)}, before ${String(offset)}`);
  }
  const end = offset + lengthBytes - 1;
  return file.createReadStream({
    start: offset,
    end,
    highWaterMark: STREAM_CHUNK_BYTES,
    ...(signal ? { signal } : {}),
  });
}

/** `folder` is an absolute path; it is made at the first write. */
export function newFileStore(folder: string): ObjectStore {
  const root = resolve(folder);
  const url = `file://${root}`;
  const folders = newFolders(root);
  const sync = newFolderSync();
  const publish = newPublish(folders, sync);
  const incoming = newIncoming(root, folders);
  const put = newPuts({ folders, incoming, publish, sync });
  const pathOf = (key: string): string => {
    const path = resolve(root, key);
    if (key.startsWith("/") || key.includes("\0") || !path.startsWith(root + sep))
      throw new Error("key leaves the store");
    return path;
  };
  const guard = async <T>(work: () => Promise<T>, wantedBytes = 0): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      throw await folderError(error, root, wantedBytes);
    }
  };

  async function upload(key: string, plan: UploadPlan): Promise<ObjectUpload> {
    const target = pathOf(key);
    const base = join(root, INCOMING, key);
    const places = { base, sweep: incoming.sweep, publish: (data: string) => publish(data, target, true) };
    if (!folders.knows(root)) await folders.make(root);
    const begun = await openFileUpload(places, plan);
    const { readBack } = begun;
    return {
      ...begun,
      ...(readBack ? { readBack: (number, into) => guard(() => readBack(number, into)) } : {}),
      part: (...part) => guard(() => begun.part(...part), part[1].length),
      touch: () => guard(() => begun.touch()),
      commit: (crc32) => guard(() => begun.commit(crc32), plan.sizeBytes),
    };
  }

  async function settle(keys: readonly string[]): Promise<void> {
    const wanted = new Set<string>();
    for (const key of keys) for (let at = dirname(pathOf(key)); at.startsWith(root); at = dirname(at)) wanted.add(at);
    for (const at of wanted)
      await sync(at).catch((error: unknown) => {
        if (codeOf(error) !== "ENOENT") throw error;
      });
  }

  async function* list(prefix: string, from = root): AsyncIterable<ListedObject> {
    try {
      if (prefix !== "") pathOf(prefix);
      yield* walk(join(from, prefix), prefix);
    } catch (error) {
      throw storeError(error, url, []);
    }
  }

  return {
    url,
    head: (key) =>
      guard(async () => {
        const found = await stat(pathOf(key)).catch((error: unknown) => {
          if (codeOf(error) === "ENOENT" || codeOf(error) === "ENOTDIR") return undefined;
          throw error;
        });
        return found?.isFile() ? { key, sizeBytes: found.size } : undefined;
      }),
    get: (key, maxBytes) =>
      guard(async () => {
        const found = await stat(pathOf(key)).catch(() => undefined);
        if (!found?.isFile()) return undefined;
        if (found.size > maxBytes) throw new Error(`${key} has ${String(found.size)} bytes, more than expected`);
        return readAt(pathOf(key), 0, found.size);
      }),
    read: (key, offset, lengthBytes) => guard(() => readAt(pathOf(key), offset, lengthBytes)),
    stream: (key, offset, lengthBytes, signal) => guard(() => streamAt(pathOf(key), offset, lengthBytes, signal)),
    put: (key, bytes, options) =>
      guard(() => put({ key, target: pathOf(key), bytes, ifAbsent: options?.ifAbsent ?? false }), bytes.length),
    upload: (key, plan) => guard(() => upload(key, plan), plan.sizeBytes),
    readsBack: true,
    list: (prefix) => list(prefix),
    listUploads: (prefix) => list(prefix, join(root, INCOMING)),
    settle: (keys) => guard(() => settle(keys)),
    remove: (key) =>
      guard(async () => {
        await rm(pathOf(key), { force: true });
        await folders.sweep(dirname(pathOf(key)));
      }),
    abortUploads: (prefix) =>
      guard(async () => {
        const folder = join(root, INCOMING, prefix);
        await rm(folder, { recursive: true, force: true });
        await incoming.sweep(dirname(folder));
      }),
    close: () => undefined,
  };
}
