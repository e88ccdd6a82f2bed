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
/** For how long others' fetches may be in the way. */
const ROOM_PATIENCE_MS = 1_800_000;

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

const lockOf = (root: string, hex: string): string => join(root, CACHE_NOTES, `${hex}.lock`);
const useOf = (root: string, hex: string): string => join(root, CACHE_NOTES, `${hex}.use`);

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

const isAlive = (clock: Clock, lock: { readonly mtimeMs: number }): boolean =>
  clock.now() - lock.mtimeMs < DEAD_AFTER_MS;

/** True where the lock is ours now; what a dead fetch left of it is no hindrance. */
async function tryLock({ clock }: CacheOptions, lock: string): Promise<boolean> {
  for (;;) {
    const made = await unless("EEXIST", open(lock, "wx", 0o644));
    if (made) return made.close().then(() => true);
    const found = await unless("ENOENT", stat(lock));
    if (found && isAlive(clock, found)) return false;
    if (found) await bury(lock, found.ino);
  }
}

/** A lock with its heart beating. */
function holdLock(options: CacheOptions, lock: string): CachePlace {
  const rest = beat(options, lock);
  return {
    async release() {
      rest();
      await rm(lock, { force: true });
    },
  };
}

async function takeLock(options: CacheOptions, lock: string): Promise<CachePlace> {
  const { clock, log, signal } = options;
  for (let told = false; ; told = true) {
    if (signal.aborted) throw abortError();
    if (await tryLock(options, lock)) return holdLock(options, lock);
    if (!told) log.info({ lock }, "waiting for another fetch of this model on this node");
    await pause(clock, LOOK_AGAIN_MS, signal);
  }
}

function beat({ clock, signal }: CacheOptions, lock: string): () => void {
  let cancel: () => void = () => undefined;
  const rest = (): void => {
    signal.removeEventListener("abort", rest);
    cancel();
  };
  signal.addEventListener("abort", rest, { once: true });
  const next = (): void => {
    cancel = clock.after(HEARTBEAT_MS, () => {
      const at = new Date(clock.now());
      utimes(lock, at, at).catch(() => undefined);
      next();
    });
  };
  next();
  return rest;
}

interface Kept {
  readonly hex: string;
  readonly bytes: number;
  readonly usedMs: number;
}

/**
 * Every model in the cache but this one, the least recently used first; one without a note of its use was never whole, and one without a
 * folder has a fetch that is about to make it.
 */
async function others(root: string, mine: string): Promise<Kept[]> {
  const noted = (await readdir(join(root, CACHE_NOTES))).map((name) => name.replace(/\.use$/, ""));
  const names = new Set([...(await readdir(root)), ...noted]);
  const found = [...names].filter((name) => HEX.test(name) && name !== mine);
  const kept = found.map(async (hex): Promise<Kept> => {
    const note = useOf(root, hex);
    const [text, state] = [await unless("ENOENT", readFile(note, "utf8")), await unless("ENOENT", stat(note))];
    // Empty where the node lost its power: that is no model of 0 bytes.
    const bytes = /^\d+$/.test(text ?? "") ? Number(text) : NaN;
    const isKnown = state !== undefined && Number.isSafeInteger(bytes);
    return isKnown ? { hex, bytes, usedMs: state.mtimeMs } : { hex, bytes: Infinity, usedMs: 0 };
  });
  return (await Promise.all(kept)).sort((a, b) => a.usedMs - b.usedMs || (a.hex < b.hex ? -1 : 1));
}

/** Bytes of those that a fetch holds now: no removing of others makes room that these take. */
async function heldBytes({ root, clock }: CacheOptions, kept: readonly Kept[]): Promise<number> {
  const held = kept.map(async ({ hex, bytes }) => {
    const lock = await unless("ENOENT", stat(lockOf(root, hex)));
    return lock && isAlive(clock, lock) ? bytes : 0;
  });
  return (await Promise.all(held)).reduce((sum, bytes) => sum + bytes, 0);
}

/** Under another name first, so that nobody reads half a number. Whoever was faster, by a lock taken for dead, has noted the same. */
async function noteUse(root: string, hex: string, sizeBytes: number): Promise<void> {
  const note = useOf(root, hex);
  await writeFile(`${note}.new`, String(sizeBytes));
  await unless("ENOENT", rename(`${note}.new`, note));
}

const gib = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(2)} GiB`;

/** Removes the least recently used model that no fetch holds, under its lock: who wants it meanwhile waits and fetches it anew. */
async function evictOne(options: CacheOptions, kept: readonly Kept[]): Promise<boolean> {
  const { root, log } = options;
  for (const { hex, bytes } of kept) {
    const lock = lockOf(root, hex);
    if (!(await tryLock(options, lock))) continue;
    const held = holdLock(options, lock);
    try {
      log.info({ digest: hex, bytes: Number.isFinite(bytes) ? bytes : undefined }, "removing a model from the cache");
      await rm(join(root, hex), { recursive: true, force: true });
      await rm(useOf(root, hex), { force: true });
    } finally {
      await held.release();
    }
    return true;
  }
  return false;
}

/** Notes that the model is used, where it fits beside the others; false where it does not as long as fetches hold what they have. */
async function makeRoom(options: CacheOptions, hex: string, sizeBytes: number): Promise<boolean> {
  const { root, limitBytes, signal } = options;
  const fits = (kept: readonly Kept[]): boolean =>
    kept.reduce((sum, { bytes }) => sum + bytes, sizeBytes) <= limitBytes;
  for (let kept = await others(root, hex); !fits(kept); kept = await others(root, hex)) {
    if (signal.aborted) throw abortError();
    if (sizeBytes + (await heldBytes(options, kept)) > limitBytes) return false;
    if (!(await evictOne(options, kept))) return false;
  }
  await noteUse(root, hex, sizeBytes);
  // Another fetch may have taken the same room: whoever noted it last sees both.
  return fits(await others(root, hex));
}

function checkSize({ limitBytes }: CacheOptions, sizeBytes: number): void {
  if (sizeBytes <= limitBytes) return;
  throw new TerminalError(
    "NoSpace",
    `the model needs ${gib(sizeBytes)} of the node's cache, which may hold ${gib(limitBytes)}: raise spec.cache.size of the node type`,
  );
}

/** The model's lock, with room for the model. Not held while it waits for room: two that wait for each other's would do so for ever. */
async function takePlace(options: CacheOptions, hex: string, sizeBytes: number): Promise<CachePlace> {
  const { root, limitBytes, clock, log, signal } = options;
  let sinceMs: number | undefined;
  for (;;) {
    const held = await takeLock(options, lockOf(root, hex));
    const hasRoom = await makeRoom(options, hex, sizeBytes).catch(async (error: unknown) => {
      await held.release();
      throw error;
    });
    if (hasRoom) return held;
    await held.release();
    if (sinceMs === undefined)
      log.info({ digest: hex, bytes: sizeBytes }, "waiting for room in the cache of this node");
    sinceMs ??= clock.monotonicMs();
    if (clock.monotonicMs() - sinceMs > ROOM_PATIENCE_MS)
      throw new TerminalError(
        "NoSpace",
        `the model needs ${gib(sizeBytes)} of the node's cache, which may hold ${gib(limitBytes)}, and for half an hour other fetches on this node held what had to go for it: raise spec.cache.size of the node type, or look at the node's other pods`,
      );
    // By chance, so that two that were in each other's way do not meet again.
    await pause(clock, LOOK_AGAIN_MS * (0.5 + Math.random()), signal);
  }
}

/** Waits for the model's folder, makes room for it, and notes that it is used. Throws TerminalError (CacheShared, NoSpace) or an abort. */
export async function enterCache(options: CacheOptions, digest: string, sizeBytes: number): Promise<CachePlace> {
  const root = resolve(options.root);
  const hex = basename(cacheFolderOf(root, digest));
  if (!HEX.test(hex)) throw new TerminalError("ManifestDamaged", `${digest.slice(0, 100)} is no digest of a model`);
  await makeFolders(join(root, CACHE_NOTES), 0o755);
  await checkNode({ ...options, root });
  checkSize(options, sizeBytes);
  const place = await takePlace({ ...options, root }, hex, sizeBytes);
  options.log.info({ digest, folder: join(root, hex) }, "using the cache of this node");
  return place;
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
