/**
 * Makes folders level by level. Node's own `recursive` never ends where a file system answers ENOENT below a folder that is there, as
 * /proc and automatic mounts do: it makes the parent and tries again, on a whole core, with more memory at each turn, deaf to signals.
 */
import { lstat, mkdir, stat } from "node:fs/promises";
import { dirname } from "node:path";

/** Others sweep folders away beside us, so a parent is made anew, but not without end. */
const MOST_TRIES = 4;

const codeOf = (error: unknown): string | undefined => (error as { code?: string } | null)?.code;

const isFolder = async (path: string): Promise<boolean> =>
  (await stat(path).catch(() => undefined))?.isDirectory() === true;

/** After a mkdir that failed: whether the folder is there all the same, or is worth another try. */
async function standing(path: string, error: unknown): Promise<"there" | "gone"> {
  if (codeOf(error) === "ENOENT") return "gone";
  if (await isFolder(path)) return "there";
  if (codeOf(error) !== "EEXIST") throw error;
  // Swept away between the two looks. A link without an end is no folder and stays.
  if (!(await lstat(path).catch(() => undefined))) return "gone";
  const message = `${path} is there and is no folder: give another one, or take it away`;
  throw Object.assign(new Error(message, { cause: error }), { code: "ENOTDIR" });
}

async function givenUp(path: string, error: unknown): Promise<unknown> {
  const parent = dirname(path);
  if (!(await isFolder(parent))) return error;
  const message = `no folder can be made in ${parent}, although it is there (ENOENT, ${path}): give a folder of another file system`;
  return Object.assign(new Error(message, { cause: error }), { code: "ENOENT" });
}

/** Answers as Node's `recursive` does: the topmost folder that was made, undefined where all were there. */
export async function makeFolders(path: string, mode?: number): Promise<string | undefined> {
  let first: string | undefined;
  for (let tries = 1; ; tries++) {
    try {
      await mkdir(path, mode);
      return first ?? path;
    } catch (error) {
      if ((await standing(path, error)) === "there") return first;
      if (tries === MOST_TRIES || dirname(path) === path) throw await givenUp(path, error);
      first = (await makeFolders(dirname(path), mode)) ?? first;
    }
  }
}
