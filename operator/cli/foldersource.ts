/** A folder of files as an ObjectSource: what stands for an ETag is which file it is and when its bytes changed, to the nanosecond. */
import { createHash } from "node:crypto";
import type { BigIntStats } from "node:fs";
import { lstat, open, readdir, readlink, stat } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { join, sep } from "node:path";
import { printable } from "../plan/model/problem.ts";
import type { ObjectSource, SourceObject } from "../ports.ts";
import { RetryError, TerminalError } from "../runtime/errors.ts";

/** What the file system tells of a file. */
export type FileFacts = Pick<BigIntStats, "ino" | "size" | "mtimeNs" | "ctimeNs" | "birthtimeNs">;

/**
 * Reproducible archives set all times of modification alike, and an inode is given again once it is free: the time of birth cannot be set.
 * The time of change is no part of it: a new owner, mode or link moves that one too, and no byte. But where a file system tells no time of
 * birth (0), nothing else cannot be set, and to read a file once more is better than to take another one for it.
 */
export function etagOf({ ino, size, mtimeNs, ctimeNs, birthtimeNs }: FileFacts): string {
  const bornNs = birthtimeNs === 0n ? ctimeNs : birthtimeNs;
  return createHash("sha256").update([ino, size, mtimeNs, bornNs].join(" ")).digest("hex");
}

/** What also shows whoever writes and sets the time back, while the files are read. */
const stateOf = (facts: BigIntStats): string => `${etagOf(facts)} ${String(facts.ctimeNs)}`;

interface Listed {
  readonly object: SourceObject;
  readonly state: string;
}

const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? "an error";

const refused = (what: string): TerminalError => new TerminalError("PlaceInvalid", what);

const unreadable = (path: string, error: unknown): TerminalError =>
  refused(`${printable(path)} cannot be read (${codeOf(error)}): let this user read it, or take it away`);

/** What stands under a name and is no file that can be followed to its end: to leave it out would call a part of a model the whole. */
async function noFile(
  path: string,
  key: string,
  facts: BigIntStats | undefined,
  fault: unknown,
): Promise<TerminalError> {
  const end = await readlink(path).catch(() => undefined);
  const link = `${printable(key)} is a link to ${printable(end ?? "")}`;
  const isDangling = !facts && codeOf(fault) === "ENOENT";
  if (end !== undefined && isDangling)
    return refused(`${link}, which is not there: bring the file there, or take the link away`);
  if (end !== undefined && facts?.isDirectory())
    return refused(
      `${link}, a folder, and only links to files are followed: put the folder itself there, or take the link away`,
    );
  if (!facts) return unreadable(key, fault);
  return refused(`${printable(key)} is neither a file nor a folder: take it away`);
}

/** Of hidden ones nothing is imported, and editors and tools keep all kinds of things under such names. */
const isHidden = (key: string): boolean => key.split("/").some((name) => name.startsWith("."));

/** Links to files are followed, as hub caches are made of them. */
async function objectOf(root: string, path: string): Promise<Listed | undefined> {
  const key = path
    .slice(root.length + (root.endsWith(sep) ? 0 : 1))
    .split(sep)
    .join("/");
  let fault: unknown;
  const facts = await stat(path, { bigint: true }).catch((error: unknown) => void (fault = error));
  if (facts?.isFile())
    return { object: { key, sizeBytes: Number(facts.size), etag: etagOf(facts) }, state: stateOf(facts) };
  const isGone = !facts && !(await lstat(path).catch(() => undefined));
  if (isHidden(key) || isGone) return undefined;
  throw await noFile(path, key, facts ?? undefined, fault);
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
    throw codeOf(error) === "ENOENT" ? changed(object) : unreadable(object.key, error);
  }
}

/** `root` is the folder's real path. */
export function newFolderSource(root: string): ObjectSource {
  const states = new Map<string, string>();
  return {
    async list() {
      const entries = await readdir(root, { withFileTypes: true, recursive: true }).catch((error: unknown) => {
        throw unreadable((error as NodeJS.ErrnoException).path ?? root, error);
      });
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
