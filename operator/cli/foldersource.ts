/** A folder of files as an ObjectSource: what stands for an ETag is the file's inode and its last changes, to the nanosecond. */
import { createHash } from "node:crypto";
import type { BigIntStats } from "node:fs";
import { open, readdir, stat } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { join, sep } from "node:path";
import type { ObjectSource, SourceObject } from "../ports.ts";
import { RetryError, TerminalError } from "../runtime/errors.ts";

/** Times of modification can be set, and reproducible archives set them all alike; the time of change cannot. */
function etagOf({ ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return createHash("sha256").update([ino, size, mtimeNs, ctimeNs].join(" ")).digest("hex");
}

/** Links are followed, as hub caches are made of them. */
async function objectOf(root: string, path: string): Promise<SourceObject | undefined> {
  const facts = await stat(path, { bigint: true }).catch(() => undefined);
  if (!facts?.isFile()) return undefined;
  const key = path
    .slice(root.length + (root.endsWith(sep) ? 0 : 1))
    .split(sep)
    .join("/");
  return { key, sizeBytes: Number(facts.size), etag: etagOf(facts) };
}

const changed = ({ key }: SourceObject): RetryError =>
  new RetryError(
    new TerminalError(
      "SourceChanged",
      `${key.slice(0, 200)} changed while it was read: run it again when nobody writes there`,
    ),
  );

async function assertListed(file: FileHandle, object: SourceObject): Promise<void> {
  if (etagOf(await file.stat({ bigint: true })) !== object.etag) throw changed(object);
}

async function opened(root: string, object: SourceObject): Promise<FileHandle> {
  try {
    return await open(join(root, object.key), "r");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") throw changed(object);
    throw error;
  }
}

/** `root` is the folder's real path. */
export function newFolderSource(root: string): ObjectSource {
  return {
    async list() {
      const entries = await readdir(root, { withFileTypes: true, recursive: true });
      const paths = entries.filter((entry) => !entry.isDirectory()).map((entry) => join(entry.parentPath, entry.name));
      const objects = await Promise.all(paths.map((path) => objectOf(root, path)));
      return { objects: objects.filter((object) => object !== undefined) };
    },
    async read(object, offset, lengthBytes) {
      const file = await opened(root, object);
      try {
        await assertListed(file, object);
        const bytes = Buffer.alloc(lengthBytes);
        const { bytesRead } = await file.read(bytes, 0, lengthBytes, offset);
        // Whoever wrote meanwhile has changed its times.
        await assertListed(file, object);
        if (bytesRead !== lengthBytes) throw changed(object);
        return bytes;
      } finally {
        await file.close();
      }
    },
    close: () => undefined,
  };
}
