/**
 * The folder that a model is fetched into. A file stands under its name only when it is whole and verified; until then
 * it lies in `.berth-fetch/`, beside a note of how many of its first bytes are there. The folder belongs to one fetch at a time.
 */
import { constants } from "node:fs";
import { open, readFile, readdir, rename, rm, stat, statfs, unlink, writeFile } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { dirname, join, resolve, sep } from "node:path";
import { makeFolders } from "../adapters/makefolders.ts";
import type { StoredFile } from "../plan/model/manifest.ts";
import { TerminalError, messageOf } from "../runtime/errors.ts";

export const WORK_FOLDER = ".berth-fetch";
const NOTE = "digest";
const FILE_MODE = 0o644;
const FOLDER_MODE = 0o755;
/** What `stat` counts in, whatever the file system. */
const BLOCK_BYTES = 512;

/** A file on its way: its bytes, and how many from its beginning are known to be there. */
export interface Partial {
  readonly file: FileHandle;
  readonly haveBytes: number;
}

export interface FetchFolder {
  /** The file under its final name, opened to be read; undefined where it is missing or of another size. */
  finished(file: StoredFile): Promise<FileHandle | undefined>;
  /** What an earlier run left of it; empty where `fresh`. */
  begin(index: number, file: StoredFile, fresh: boolean): Promise<Partial>;
  note(index: number, haveBytes: number): Promise<void>;
  /** Flushes the file and gives it its name. */
  finish(index: number, file: StoredFile, handle: FileHandle): Promise<void>;
  /** Bytes of the file that need no more space: what lies on the disk of it is gone on with, or goes before it is fetched. */
  held(index: number, file: StoredFile): Promise<number>;
  remove(file: StoredFile): Promise<void>;
  freeBytes(): Promise<number>;
  /** Removes what only the fetch needed. */
  tidy(): Promise<void>;
}

const isMissing = (error: unknown): boolean => (error as { code?: string }).code === "ENOENT";

async function orUndefined<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/** Everything below the folder but the fetch's own; links and devices too, so that nothing strange is overlooked. */
async function foreign(root: string, known: ReadonlySet<string>, below = ""): Promise<string | undefined> {
  for (const entry of await readdir(join(root, below), { withFileTypes: true })) {
    const path = below + entry.name;
    if (path === WORK_FOLDER || (entry.isFile() && known.has(path))) continue;
    const isParent = entry.isDirectory() && [...known].some((file) => file.startsWith(`${path}/`));
    const found = isParent ? await foreign(root, known, `${path}/`) : path;
    if (found !== undefined) return found;
  }
  return undefined;
}

/** What to do where an `emptyDir` is too small. */
export const EPHEMERAL_REMEDY = "give the node a larger disk for pods' ephemeral storage";

/** Translates what a disk says. */
export function diskError(error: unknown, into: string, remedy = EPHEMERAL_REMEDY): TerminalError {
  if (error instanceof TerminalError) return error;
  const code = (error as { code?: string }).code;
  if (code === "ENOSPC" || code === "EDQUOT") return new TerminalError("NoSpace", `${into} is full: ${remedy}`);
  return new TerminalError("FolderUnusable", `${into} cannot be used: ${messageOf(error)}`);
}

/**
 * Opens (and makes) the folder for exactly these files. Paths have been checked (plan/model: manifestProblem); one that
 * leaves the folder all the same is refused here once more.
 */
export async function openFetchFolder(
  into: string,
  digest: string,
  files: readonly StoredFile[],
): Promise<FetchFolder> {
  const root = resolve(into);
  const work = join(root, WORK_FOLDER);
  await makeFolders(root, FOLDER_MODE);
  const stranger = await foreign(root, new Set(files.map(({ path }) => path)));
  if (stranger !== undefined) {
    const message = `${root} holds ${JSON.stringify(stranger.slice(0, 200))}, which the model does not: give an empty folder`;
    throw new TerminalError("FolderNotEmpty", message);
  }
  // Left by a fetch of another revision: of no use.
  if ((await orUndefined(readFile(join(work, NOTE), "utf8"))) !== digest)
    await rm(work, { recursive: true, force: true });
  await makeFolders(work, 0o700);
  await writeFile(join(work, NOTE), digest);

  const pathOf = (file: StoredFile): string => {
    const path = resolve(root, file.path);
    if (!path.startsWith(root + sep)) throw new TerminalError("ManifestDamaged", `path ${file.path} leaves the folder`);
    return path;
  };
  const partOf = (index: number): string => join(work, `${String(index)}.part`);
  const noteOf = (index: number): string => join(work, `${String(index)}.bytes`);
  const noted = async (index: number, file: StoredFile): Promise<number> => {
    const bytes = Number(await orUndefined(readFile(noteOf(index), "utf8")));
    const size = (await orUndefined(stat(partOf(index))))?.size;
    return size === file.sizeBytes && Number.isSafeInteger(bytes) && bytes > 0 && bytes <= size ? bytes : 0;
  };
  return {
    async finished(file) {
      const found = await orUndefined(open(pathOf(file), constants.O_RDONLY | constants.O_NOFOLLOW));
      if (!found) return undefined;
      if ((await found.stat()).size === file.sizeBytes) return found;
      await found.close();
      return undefined;
    },
    async begin(index, file, fresh) {
      const haveBytes = fresh ? 0 : await noted(index, file);
      if (haveBytes === 0) {
        await rm(noteOf(index), { force: true });
        await rm(partOf(index), { force: true });
      }
      const flags = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW;
      const handle = await open(partOf(index), flags, FILE_MODE);
      await handle.truncate(file.sizeBytes);
      return { file: handle, haveBytes };
    },
    async note(index, haveBytes) {
      // Renamed into place, so that a kill leaves the old number or the new one.
      await writeFile(`${noteOf(index)}.new`, String(haveBytes));
      await rename(`${noteOf(index)}.new`, noteOf(index));
    },
    async finish(index, file, handle) {
      await handle.sync();
      await makeFolders(dirname(pathOf(file)), FOLDER_MODE);
      await rename(partOf(index), pathOf(file));
      await rm(noteOf(index), { force: true });
    },
    async held(index, file) {
      const whole = await orUndefined(stat(pathOf(file)));
      if (whole?.size === file.sizeBytes) return file.sizeBytes;
      // Parts come in any order, so a killed fetch leaves more than it noted. A file of full length has holes, thus its blocks.
      const writtenBytes = ((await orUndefined(stat(partOf(index))))?.blocks ?? 0) * BLOCK_BYTES;
      return Math.max(await noted(index, file), Math.min(file.sizeBytes, writtenBytes));
    },
    remove: async (file) => void (await orUndefined(unlink(pathOf(file)))),
    async freeBytes() {
      const { bavail, bsize } = await statfs(root);
      return bavail * bsize;
    },
    tidy: () => rm(work, { recursive: true, force: true }),
  };
}
