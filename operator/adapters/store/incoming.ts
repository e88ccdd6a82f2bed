/**
 * Files of a folder store on their way to their names: written below `.incoming/`, flushed, linked. Those that come at the same time
 * share what they can: the folder they stand in, and the flush of the folder they are linked into.
 */
import { randomBytes } from "node:crypto";
import { link, open, rename, unlink } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { dirname, join } from "node:path";
import { makeFolders } from "../makefolders.ts";
import { newFolders, syncFolder } from "./folders.ts";
import type { Folders } from "./folders.ts";

export const INCOMING = ".incoming";
/** Folders are swept away beside us by other processes, so they are made anew, but not without end. */
const MOST_TRIES = 4;

export function codeOf(error: unknown): string | undefined {
  return (error as { code?: string } | null)?.code;
}

/** Does what wants the folder; makes the folder where that fails for the lack of it. */
export async function withFolder<T>(folder: string, work: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await work();
    } catch (error) {
      if (codeOf(error) !== "ENOENT" || tries === MOST_TRIES) throw error;
      // Who sweeps may take a folder between the making of it and of the next one below.
      await makeFolders(folder).catch((failure: unknown) => {
        if (codeOf(failure) !== "ENOENT") throw failure;
      });
    }
  }
}

/** Flushes folders; those who ask while one flush runs share the next, which begins after all of them asked. */
export function newFolderSync(sync = syncFolder): (path: string) => Promise<void> {
  const running = new Map<string, Promise<void>>();
  const next = new Map<string, Promise<void>>();
  return (path) => {
    const before = running.get(path) ?? Promise.resolve();
    const begin = (): Promise<void> => {
      next.delete(path);
      const flush = sync(path).finally(() => {
        if (running.get(path) === flush) running.delete(path);
      });
      running.set(path, flush);
      return flush;
    };
    const shared = next.get(path) ?? before.then(begin, begin);
    next.set(path, shared);
    return shared;
  };
}

/** Gives a finished file its name; the name is durable when it resolves. */
export type Publish = (temporary: string, target: string, ifAbsent: boolean) => Promise<"written" | "exists">;

export function newPublish(folders: Folders, sync: (folder: string) => Promise<void>): Publish {
  return async (temporary, target, ifAbsent) => {
    const folder = dirname(target);
    for (let tries = 1; ; tries++) {
      try {
        if (tries > 1 || !folders.knows(folder)) await folders.make(folder);
        await (ifAbsent ? link(temporary, target) : rename(temporary, target));
        await sync(folder);
        return "written";
      } catch (error) {
        if (codeOf(error) === "EEXIST") {
          // Who was first may not have come to flush it, and what is called there must stay.
          await sync(folder);
          return "exists";
        }
        // The folder may have been swept away beside us.
        if (codeOf(error) !== "ENOENT" || tries === MOST_TRIES) throw error;
      }
    }
  };
}

export interface Incoming {
  readonly file: FileHandle;
  readonly path: string;
}

export type Incomings = ReturnType<typeof newIncoming>;

/** Files below `.incoming/` of a store's root. Their folders stay while any of ours is in them. */
export function newIncoming(root: string, folders: Folders) {
  const top = join(root, INCOMING);
  const { sweep } = newFolders(top);
  const held = new Map<string, number>();
  /** 48 bits, by chance at first and counted on: to ask for chance each time takes long beside a small file. */
  let ending = randomBytes(6).readUIntBE(0, 6);
  const nextEnding = (): string => {
    ending = (ending + 1) % 2 ** 48;
    return ending.toString(16).padStart(12, "0");
  };
  const leave = async (folder: string): Promise<void> => {
    const left = (held.get(folder) ?? 1) - 1;
    if (left > 0) return void held.set(folder, left);
    held.delete(folder);
    await sweep(folder);
  };
  /** Calls `work` with a name of its own, whose folder stays until `leave`. */
  async function begin<T>(key: string, work: (path: string) => T | Promise<T>): Promise<T> {
    const path = join(top, `${key}.${nextEnding()}`);
    const folder = dirname(path);
    held.set(folder, (held.get(folder) ?? 0) + 1);
    try {
      if (!folders.knows(root)) await folders.make(root);
      return await work(path);
    } catch (error) {
      await leave(folder);
      throw error;
    }
  }
  return {
    sweep,
    open: (key: string): Promise<Incoming> =>
      begin(key, async (path) => ({ path, file: await withFolder(dirname(path), () => open(path, "wx", 0o640)) })),
    /** A name for a file that somebody else makes. */
    reserve: (key: string): Promise<string> => begin(key, (path) => path),
    /** Removes the file, whose name it may have lost already. */
    async remove(path: string): Promise<void> {
      await unlink(path).catch(() => undefined);
      await leave(dirname(path));
    },
    /** Of a file that has lost its name. */
    leave: (path: string): Promise<void> => leave(dirname(path)),
  };
}
