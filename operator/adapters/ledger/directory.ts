/**
 * A ledger in a directory, for one node: a private file is written and synced, then linked to its name, which fails where the
 * name is taken; at last the folder is synced. A reader never sees half an object, a crash leaves at most a private file.
 */
import { randomUUID } from "node:crypto";
import { link, open, readFile, readdir, rm, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";

import { RetryError, TerminalError, messageOf } from "../../runtime/errors.ts";
import { makeFolders } from "../makefolders.ts";
import type { PlainLedger } from "./compression.ts";
import { checkKey } from "./keys.ts";
import { probeLedger } from "./probe.ts";

const privatePrefix = ".writing-";
const ABANDONED_AFTER_MS = 3_600_000;

/** `place` is an absolute path; it is made where it is missing. `sync` flushes a folder. */
export function newDirectoryLedger(place: string, sync = syncFolder): PlainLedger {
  // Folders are compared as text.
  const root = resolve(place);
  const pathOf = (key: string) => join(root, checkKey(key));
  const plain: Omit<PlainLedger, "probe"> = {
    putOnce: (key, body) => translated(root, () => writeOnce(root, pathOf(key), body, sync)),
    get: (key) => translated(root, () => readFile(pathOf(key)).catch(undefinedIfMissing)),
    remove: (key) => translated(root, () => rm(pathOf(key), { force: true })),
    async list(prefix, options = {}) {
      const keys = await translated(root, () => keysBelow(root, prefix));
      const { startAfter = "" } = options;
      return keys.filter((key) => key.startsWith(prefix) && key > startAfter).sort();
    },
  };
  return {
    ...plain,
    async probe() {
      await translated(root, () => removeAbandoned(root));
      await probeLedger(plain);
    },
  };
}

/**
 * Both answers mean that the object outlives a loss of power: who finds it there goes on as if it were durable, and its writer may
 * have died before it had flushed a folder.
 */
async function writeOnce(
  root: string,
  path: string,
  body: Uint8Array,
  sync: (folder: string) => Promise<void>,
): Promise<"created" | "exists"> {
  const folder = dirname(path);
  const made = await makeFolders(folder);
  const top = made !== undefined && made.length <= root.length ? dirname(made) : root;
  const temporary = join(folder, `${privatePrefix}${randomUUID()}`);
  try {
    await writeSynced(temporary, body);
    const outcome = await link(temporary, path).then(() => "created" as const, existsOrThrow);
    for (let at = folder; ; at = dirname(at)) {
      await sync(at);
      if (at === top || at === dirname(at)) return outcome;
    }
  } finally {
    await rm(temporary, { force: true });
  }
}

function existsOrThrow(error: unknown): "exists" {
  if (codeOf(error) === "EEXIST") return "exists";
  throw error;
}

async function writeSynced(path: string, body: Uint8Array): Promise<void> {
  const file = await open(path, "wx", 0o640);
  try {
    await file.writeFile(body);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

async function keysBelow(root: string, prefix: string): Promise<string[]> {
  const folder = prefix.slice(0, prefix.lastIndexOf("/") + 1);
  const entries = await readdir(join(root, folder), { recursive: true, withFileTypes: true }).catch(undefinedIfMissing);
  return (entries ?? [])
    .filter((entry) => entry.isFile() && !entry.name.startsWith(privatePrefix))
    .map((entry) => join(entry.parentPath, entry.name).slice(join(root, "/").length));
}

/**
 * Removes private files that a killed writer left. Only files of an hour ago: another process of the same ledger may be
 * writing (the chart runs one, and a link takes milliseconds).
 */
async function removeAbandoned(root: string): Promise<void> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true }).catch(undefinedIfMissing);
  for (const entry of entries ?? []) {
    if (!entry.isFile() || !entry.name.startsWith(privatePrefix)) continue;
    const path = join(entry.parentPath, entry.name);
    const found = await stat(path).catch(undefinedIfMissing);
    if (found && found.mtimeMs < Date.now() - ABANDONED_AFTER_MS) await rm(path, { force: true });
  }
}

function undefinedIfMissing(error: unknown): undefined {
  if (codeOf(error) === "ENOENT" || codeOf(error) === "ENOTDIR") return undefined;
  throw error;
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error ? String(error.code) : undefined;
}

async function translated<T>(root: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    if (error instanceof TerminalError) throw error;
    if (codeOf(error) === "EACCES" || codeOf(error) === "EROFS" || codeOf(error) === "EPERM") {
      const message = `the ledger's directory ${root} cannot be written: ${messageOf(error)}; mount it writable for the operator's user`;
      throw new TerminalError("LedgerAccessDenied", message, { cause: error });
    }
    throw new RetryError(error);
  }
}
