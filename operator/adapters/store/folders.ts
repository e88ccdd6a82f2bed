/**
 * Folders of a store on a disk. Flushing a folder keeps the names in it over a crash of the machine, not its own name, which stands in
 * the folder above: so every level up to the root is flushed before what lies below counts as written.
 */
import { open, rmdir } from "node:fs/promises";
import { dirname } from "node:path";
import { makeFolders } from "../makefolders.ts";

export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r");
  await folder.sync().finally(() => folder.close());
}

export interface Folders {
  /** Resolves when the folder is there and no crash can take its name. */
  make(path: string): Promise<void>;
  /** Whether it was made or found, and flushed, and not swept away by us since; another process may have done so. */
  knows(path: string): boolean;
  /** Removes the folder and those above it as far as they are empty, but not the root. */
  sweep(path: string): Promise<void>;
}

/** Names that are known to be flushed; forgetting one costs a few flushes more. */
const MOST_KNOWN = 4_096;

/** `root` is an absolute path; it is made with the first folder. */
export function newFolders(root: string): Folders {
  const flushed = new Set<string>();
  return {
    async make(path) {
      const first = await makeFolders(path);
      // One that was there already may be the work of a process that died before it could flush, so each is flushed once by us.
      if (first === undefined && flushed.has(path)) return;
      for (let at = path; at !== root; at = dirname(at)) await syncFolder(dirname(at));
      // The root too may be new. Above the levels that were made nothing is ours.
      for (let at = root; first !== undefined && at.length >= first.length; at = dirname(at))
        await syncFolder(dirname(at));
      if (flushed.size >= MOST_KNOWN) flushed.clear();
      flushed.add(path);
    },
    knows: (path) => flushed.has(path),
    async sweep(path) {
      for (let folder = path; folder !== root && folder.startsWith(root); folder = dirname(folder)) {
        flushed.delete(folder);
        try {
          await rmdir(folder);
        } catch {
          return;
        }
      }
    },
  };
}
