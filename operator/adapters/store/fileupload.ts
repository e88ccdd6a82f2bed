/**
 * One object on its way into a folder: a sparse file and its journal in a folder of their own below `.incoming/`, named by chance.
 * An importer that goes on with what another left gives the folder a new name first, which only one can do; who finds its own
 * name gone before it writes or publishes has lost the upload and stops.
 */
import { randomBytes } from "node:crypto";
import { mkdir, open, readFile, readdir, rename, rm, stat } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { ObjectUpload, UploadPlan } from "../../ports.ts";
import { withFolder } from "./incoming.ts";
import { partLine, partsOf, planLine } from "./journal.ts";
import type { PartLine } from "./journal.ts";
import { openPartFile } from "./partfile.ts";

const DATA = "data";
const JOURNAL = "journal";
const FILE_MODE = 0o640;

export interface UploadFolders {
  /** Where the object's uploads stand, without the ending that chance gives. */
  readonly base: string;
  /** Links the finished file to its key; durable when it resolves. */
  readonly publish: (data: string) => Promise<"written" | "exists">;
  /** Removes empty folders above. */
  readonly sweep: (from: string) => Promise<void>;
}

const newName = (base: string): string => `${base}.${randomBytes(6).toString("hex")}`;

/** Uploads of this key that somebody left. */
async function leftOf(base: string): Promise<string[]> {
  const names = await readdir(dirname(base)).catch(() => []);
  const start = `${basename(base)}.`;
  return names
    .filter((name) => name.startsWith(start) && /^[0-9a-f]{12}$/.test(name.slice(start.length)))
    .map((name) => join(dirname(base), name));
}

interface Found {
  readonly folder: string;
  readonly parts: ReadonlyMap<number, PartLine>;
  /** The journal ends amid a line: whatever is written behind that is no line either. */
  readonly isTorn: boolean;
}

/** A disk without room takes a piece of a line, which is no error yet. */
async function append(journal: FileHandle, line: string): Promise<void> {
  const bytes = Buffer.from(line);
  for (let at = 0; at < bytes.length;) at += (await journal.write(bytes, at)).bytesWritten;
}

/** Takes over the upload of the same plan with the most parts; undefined where there is none. */
async function takeOver(base: string, plan: UploadPlan): Promise<Found | undefined> {
  const found: Found[] = [];
  for (const folder of await leftOf(base)) {
    const text = await readFile(join(folder, JOURNAL), "utf8").catch(() => "");
    const parts = partsOf(text, plan);
    const size = (await stat(join(folder, DATA)).catch(() => undefined))?.size;
    if (parts && size === plan.sizeBytes) found.push({ folder, parts, isTorn: !text.endsWith("\n") });
  }
  const best = found.sort((a, b) => b.parts.size - a.parts.size)[0];
  if (!best) return undefined;
  const folder = newName(base);
  try {
    await rename(best.folder, folder);
  } catch {
    return undefined;
  }
  return { ...best, folder };
}

/** Leaves nothing where there is no room. */
async function begin(base: string, plan: UploadPlan, forget: (folder: string) => Promise<void>): Promise<Found> {
  const folder = newName(base);
  try {
    await withFolder(dirname(folder), () => mkdir(folder));
    const data = await open(join(folder, DATA), "wx", FILE_MODE);
    await data.truncate(plan.sizeBytes).finally(() => data.close());
    const journal = await open(join(folder, JOURNAL), "wx", FILE_MODE);
    await append(journal, planLine(plan)).finally(() => journal.close());
    return { folder, parts: new Map(), isTorn: false };
  } catch (error) {
    await forget(folder);
    throw error;
  }
}

/** Whoever took the upload over writes the same bytes, and may have published them already. */
async function checkOurs(folder: string): Promise<void> {
  if (!(await stat(folder).catch(() => undefined))) throw new Error("another import went on with this upload");
}

function toldOf(parts: Found["parts"]): Required<Pick<ObjectUpload, "found" | "seals">> {
  const sealed = [...parts].flatMap(([number, { seal }]) => (seal === undefined ? [] : [[number, seal] as const]));
  return { found: new Map([...parts].map(([number, { checksum }]) => [number, checksum])), seals: new Map(sealed) };
}

/** Fails where there is no room for the folder or the journal; what was begun is removed then. */
export async function openFileUpload(folders: UploadFolders, plan: UploadPlan): Promise<ObjectUpload> {
  const { base, publish, sweep } = folders;
  const forget = async (folder: string): Promise<void> => {
    await rm(folder, { recursive: true, force: true });
    await sweep(dirname(folder));
  };
  const { folder, parts, isTorn } = (await takeOver(base, plan)) ?? (await begin(base, plan, forget));
  const data = await openPartFile(join(folder, DATA));
  const journal = await open(join(folder, JOURNAL), "a");
  let mend = isTorn ? "\n" : "";
  const close = async (): Promise<void> => {
    for (const file of [data, journal]) await file.close().catch(() => undefined);
  };
  return {
    ...toldOf(parts),
    readBack: (number, into) => data.read(into, number * plan.partBytes),
    async part(number, bytes, checksum, seal) {
      await checkOurs(folder);
      await data.write(bytes, number * plan.partBytes);
      const line = mend + partLine(number, checksum, seal);
      mend = "";
      await append(journal, line).catch((error: unknown) => {
        mend = "\n";
        throw error;
      });
    },
    // A line without a seal is none; the time is the file system's own.
    touch: async () => void (await journal.write("\n")),
    async commit() {
      try {
        await data.sync().finally(close);
      } catch (error) {
        // The kernel goes on to show bytes that it could not write, and tells of it once: nothing of this file can be believed.
        await forget(folder);
        throw error;
      }
      await checkOurs(folder);
      const outcome = await publish(join(folder, DATA));
      await forget(folder);
      return outcome;
    },
    leave: close,
    async abort() {
      await close();
      await forget(folder);
    },
  };
}
