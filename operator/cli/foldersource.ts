/** A folder of files as an ObjectSource: what stands for an ETag is which file it is and when its bytes changed, to the nanosecond. */
import { createHash } from "node:crypto";
import type { BigIntStats } from "node:fs";
import { open, readdir, stat } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { join, sep } from "node:path";
import type { ObjectSource, SourceObject } from "../ports.ts";
import { RetryError, TerminalError } from "../runtime/errors.ts";

/**
 * Reproducible archives set all times of modification alike, and an inode is given again once it is free: the time of birth cannot be set.
 * The time of change is no part of it: a new owner, mode or link moves that one too, and no byte.
 */
function etagOf({ ino, size, mtimeNs, birthtimeNs }: BigIntStats): string {
  return createHash("sha256").update([ino, size, mtimeNs, birthtimeNs].join(" ")).digest("hex");
}

/** What also shows whoever writes and sets the time back, while the files are read. */
const stateOf = (facts: BigIntStats): string => `${etagOf(facts)} ${String(facts.ctimeNs)}`;

interface Listed {
  readonly object: SourceObject;
  readonly state: string;
}

/** Links are followed, as hub caches are made of them. */
async function objectOf(root: string, path: string): Promise<Listed | undefined> {
  const facts = await stat(path, { bigint: true }).catch(() => undefined);
  if (!facts?.isFile()) return undefined;
  const key = path
    .slice(root.length + (root.endsWith(sep) ? 0 : 1))
    .split(sep)
    .join("/");
  return { object: { key, sizeBytes: Number(facts.size), etag: etagOf(facts) }, state: stateOf(facts) };
}

const changed = ({ key }: SourceObject): RetryError =>
  new RetryError(
    new TerminalError(
      "SourceChanged",
      `${key.slice(0, 200)} changed while it was read: run it again when nobody writes there`,
    ),
  );

/** `state` as listed. */
async function assertListed(file: FileHandle, object: SourceObject, state: string | undefined): Promise<void> {
  const facts = await file.stat({ bigint: true });
  if (etagOf(facts) !== object.etag || stateOf(facts) !== state) throw changed(object);
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
  const states = new Map<string, string>();
  return {
    async list() {
      const entries = await readdir(root, { withFileTypes: true, recursive: true });
      const paths = entries.filter((entry) => !entry.isDirectory()).map((entry) => join(entry.parentPath, entry.name));
      const found = await Promise.all(paths.map((path) => objectOf(root, path)));
      const listed = found.filter((one) => one !== undefined);
      for (const { object, state } of listed) states.set(object.key, state);
      return { objects: listed.map(({ object }) => object) };
    },
    async read(object, offset, lengthBytes) {
      const file = await opened(root, object);
      try {
        await assertListed(file, object, states.get(object.key));
        const bytes = Buffer.alloc(lengthBytes);
        const { bytesRead } = await file.read(bytes, 0, lengthBytes, offset);
        // Whoever wrote meanwhile has changed its times.
        await assertListed(file, object, states.get(object.key));
        if (bytesRead !== lengthBytes) throw changed(object);
        return bytes;
      } finally {
        await file.close();
      }
    },
    close: () => undefined,
  };
}
