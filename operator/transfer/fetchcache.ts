/**
 * A folder of models that outlives pods, one a node (NodeType.spec.cache). `<hex of the digest>/` holds one model's files;
 * `.berth-cache/` for each of them `<hex>.lock`, which a fetch holds while it fills or checks the files (its mtime is the heartbeat),
 * and `<hex>.use` (how many bytes; its mtime is the last use). Nothing that lies here is believed: fetch hashes every file before use.
 */
import { open, readFile, readdir, rename, rm, stat, unlink, utimes, writeFile } from "node:fs/promises";
import { randomUUID } from "node:crypto";
import { basename, join, resolve } from "node:path";
import { makeFolders } from "../adapters/makefolders.ts";
import type { Clock, Log } from "../ports.ts";
import { pause } from "../runtime/clock.ts";
import { TerminalError } from "../runtime/errors.ts";
import { abortError } from "./slots.ts";

export const CACHE_NOTES = ".berth-cache";
const NODE_NOTE = "node";
const HEX = /^[0-9a-f]{64}$/;
const HEARTBEAT_MS = 15_000;
/** A lock whose heart has not beaten for so long belongs to a fetch that was killed. */
const DEAD_AFTER_MS = 60_000;
const LOOK_AGAIN_MS = 1_000;

export interface CacheOptions {
  /** Root of the volume. */
  readonly root: string;
  /** Bytes of models that may lie in it. */
  readonly limitBytes: number;
  /** The folder must belong to this node alone. */
  readonly nodeName: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** One model's folder in the cache, ours until it is released. */
export interface CachePlace {
  release(): Promise<void>;
}

const codeOf = (error: unknown): string | undefined => (error as { code?: string }).code;

async function unless<T>(code: string, work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (codeOf(error) === code) return undefined;
    throw error;
  }
}

/** Folder of the model with that digest (`sha256:` and 64 hex digits, or the digits alone). */
export const cacheFolderOf = (root: string, digest: string): string => join(root, digest.replace(/^sha256:/, ""));

/** Whose folder this is: a class that shares one folder among nodes would let one node's fetch remove what another serves. */
async function checkNode({ root, nodeName }: CacheOptions): Promise<void> {
  const note = join(root, CACHE_NOTES, NODE_NOTE);
  await unless("EEXIST", writeFile(note, nodeName, { flag: "wx" }));
  const owner = await readFile(note, "utf8");
  if (owner === nodeName) return;
  throw new TerminalError(
    "CacheShared",
    `the cache in ${root} belongs to node ${owner.slice(0, 253)}, and this is ${nodeName}: the storage class of the node type's cache must give each node a folder of its own`,
  );
}

/** Takes a dead fetch's lock away; only if it is still the one that was judged. */
async function bury(lock: string, inode: number): Promise<void> {
  const aside = `${lock}.${randomUUID()}`;
  if (
    (await unless(
      "ENOENT",
      rename(lock, aside).then(() => true),
    )) === undefined
  )
    return;
  // Somebody was faster and holds it anew: both go on, since each writes the same verified bytes.
  if ((await stat(aside)).ino === inode) await unlink(aside);
  else await rename(aside, lock);
}

async function isHeld(lock: string, clock: Clock): Promise<boolean> {
  const found = await unless("ENOENT", stat(lock));
  return found !== undefined && clock.now() - found.mtimeMs < DEAD_AFTER_MS;
}

async function takeLock({ clock, log, signal }: CacheOptions, lock: string): Promise<void> {
  for (let told = false; ; told = true) {
    if (signal.aborted) throw abortError();
    const made = await unless("EEXIST", open(lock, "wx", 0o644));
    if (made) return made.close();
    const found = await unless("ENOENT", stat(lock));
    if (!found) continue;
    if (clock.now() - found.mtimeMs >= DEAD_AFTER_MS) {
      await bury(lock, found.ino);
      continue;
    }
    if (!told) log.info({ lock }, "waiting for another fetch of this model on this node");
    await pause(clock, LOOK_AGAIN_MS, signal);
  }
}

function beat({ clock, signal }: CacheOptions, lock: string): () => void {
  let cancel: () => void = () => undefined;
  signal.addEventListener("abort", () => cancel(), { once: true });
  const next = (): void => {
    cancel = clock.after(HEARTBEAT_MS, () => {
      const at = new Date(clock.now());
      utimes(lock, at, at).catch(() => undefined);
      next();
    });
  };
  next();
  return () => cancel();
}

interface Kept {
  readonly hex: string;
  readonly bytes: number;
  readonly usedMs: number;
}

/** Every model in the cache but this one, the least recently used first; one without a note of its use was never whole. */
async function others(root: string, mine: string): Promise<Kept[]> {
  const found = (await readdir(root)).filter((name) => HEX.test(name) && name !== mine);
  const kept = found.map(async (hex): Promise<Kept> => {
    const note = join(root, CACHE_NOTES, `${hex}.use`);
    const [text, state] = [await unless("ENOENT", readFile(note, "utf8")), await unless("ENOENT", stat(note))];
    const bytes = Number(text);
    const isKnown = state !== undefined && Number.isSafeInteger(bytes) && bytes >= 0;
    return isKnown ? { hex, bytes, usedMs: state.mtimeMs } : { hex, bytes: Infinity, usedMs: 0 };
  });
  return (await Promise.all(kept)).sort((a, b) => a.usedMs - b.usedMs || (a.hex < b.hex ? -1 : 1));
}

const gib = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(2)} GiB`;

/** Removes the least recently used model that no fetch holds; false where each is held. */
async function evictOne({ root, clock, log }: CacheOptions, kept: readonly Kept[]): Promise<boolean> {
  for (const { hex, bytes } of kept) {
    if (await isHeld(join(root, CACHE_NOTES, `${hex}.lock`), clock)) continue;
    log.info({ digest: hex, bytes: Number.isFinite(bytes) ? bytes : undefined }, "removing a model from the cache");
    await rm(join(root, hex), { recursive: true, force: true });
    await rm(join(root, CACHE_NOTES, `${hex}.use`), { force: true });
    return true;
  }
  return false;
}

async function makeRoom(options: CacheOptions, hex: string, sizeBytes: number): Promise<void> {
  const { root, limitBytes, clock, signal } = options;
  if (sizeBytes > limitBytes)
    throw new TerminalError(
      "NoSpace",
      `the model needs ${gib(sizeBytes)} of the node's cache, which may hold ${gib(limitBytes)}: raise spec.cache.size of the node type`,
    );
  for (;;) {
    if (signal.aborted) throw abortError();
    const kept = await others(root, hex);
    if (kept.reduce((sum, { bytes }) => sum + bytes, sizeBytes) <= limitBytes) return;
    if (!(await evictOne(options, kept))) await pause(clock, LOOK_AGAIN_MS, signal);
  }
}

/** Waits for the model's folder, makes room for it, and notes that it is used. Throws TerminalError (CacheShared, NoSpace) or an abort. */
export async function enterCache(options: CacheOptions, digest: string, sizeBytes: number): Promise<CachePlace> {
  const { log } = options;
  const root = resolve(options.root);
  const hex = basename(cacheFolderOf(root, digest));
  if (!HEX.test(hex)) throw new TerminalError("ManifestDamaged", `${digest.slice(0, 100)} is no digest of a model`);
  const notes = join(root, CACHE_NOTES);
  await makeFolders(notes, 0o755);
  await checkNode({ ...options, root });
  const lock = join(notes, `${hex}.lock`);
  await takeLock(options, lock);
  const rest = beat(options, lock);
  const release = async (): Promise<void> => {
    rest();
    await rm(lock, { force: true });
  };
  try {
    await makeRoom({ ...options, root }, hex, sizeBytes);
    await writeFile(join(notes, `${hex}.use`), String(sizeBytes));
  } catch (error) {
    await release();
    throw error;
  }
  log.info({ digest, folder: join(root, hex) }, "using the cache of this node");
  return { release };
}

/** Removes everything in the folder, also what Berth did not put there. Throws where something stays. */
export async function wipeCache(root: string): Promise<number> {
  const found = await readdir(root);
  for (const name of found) await rm(join(root, name), { recursive: true, force: true });
  const left = await readdir(root);
  if (left.length > 0)
    throw new TerminalError("FolderNotEmpty", `${root} still holds ${JSON.stringify(left[0]?.slice(0, 200))}`);
  return found.length;
}
