/** One model from the store role into a folder: manifest, space, files side by side, each verified. Can be killed and run again. */
import { resolve } from "node:path";
import { MAX_MANIFEST_BYTES, digestText, manifestProblem, parseManifest } from "../plan/model/manifest.ts";
import type { Manifest, StoredFile } from "../plan/model/manifest.ts";
import type { Clock, Log } from "../ports.ts";
import { RetryError, TerminalError } from "../runtime/errors.ts";
import { cacheFolderOf, enterCache } from "./fetchcache.ts";
import type { CacheOptions, CachePlace } from "./fetchcache.ts";
import type { StoreClient } from "./fetchclient.ts";
import { FETCH_PART_BYTES, fetchFile, isFinished } from "./fetchfile.ts";
import type { FileWork } from "./fetchfile.ts";
import { EPHEMERAL_REMEDY, diskError, openFetchFolder } from "./fetchfolder.ts";
import type { FetchFolder } from "./fetchfolder.ts";
import { newPatience } from "./fetchpatience.ts";
import type { Patience } from "./fetchpatience.ts";
import { checkDigest, checkSignature } from "./fetchtrust.ts";
import type { FetchTrust } from "./fetchtrust.ts";
import { sha256Digest } from "./hash.ts";
import { newHashThreads } from "./hashthreads.ts";
import { abortError, isAbort, newSlots } from "./slots.ts";
import { ThreadDiedError, againIfDead } from "./thread.ts";

export interface FetchJob {
  readonly client: StoreClient;
  readonly into: string;
  /** Whose signature the manifest must have; any manifest is taken where absent. */
  readonly trust?: FetchTrust;
  /** The cache of the node that `into` is the model's folder of, where there is one. */
  readonly cache?: Pick<CacheOptions, "root" | "limitBytes" | "nodeName">;
  readonly partsAtOnce: number;
  /** How long requests may fail without a byte in between before the fetch does. */
  readonly patienceMs: number;
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
  readonly progress: FetchProgress;
}

/** Counted while the fetch runs; read by whoever shows it. */
export interface FetchProgress {
  totalBytes: number;
  /** Verified from the disk or from the store. */
  doneBytes: number;
  /** Came over the network, repeats included. */
  receivedBytes: number;
  /** Of those, what came from the object storage without the store role between. */
  directBytes: number;
  files: number;
  totalFiles: number;
}

export const newProgress = (): FetchProgress => ({
  totalBytes: 0,
  doneBytes: 0,
  receivedBytes: 0,
  directBytes: 0,
  files: 0,
  totalFiles: 0,
});

const FILES_AT_ONCE = 8;
/** What the work folder needs beside the files themselves. */
const SPARE_BYTES = 16 << 20;
/** A part that was damaged on the way may be whole the next time; the store's own damage stays. */
const TRIES_PER_FILE = 2;

async function readManifest(job: FetchJob, { withPatience, renew }: Patience): Promise<Manifest> {
  return withPatience(async () => {
    const bytes = await job.client.manifest(MAX_MANIFEST_BYTES, job.signal);
    if (job.trust) await checkSignature(bytes, job.trust, job);
    renew();
    const manifest = parseManifest(new TextDecoder().decode(bytes));
    const problem =
      manifest === undefined
        ? "it is no manifest"
        : (manifestProblem(manifest) ??
          (sha256Digest(digestText(manifest.files)) === manifest.digest
            ? undefined
            : "its digest is not that of its files"));
    if (manifest && problem === undefined) {
      if (job.trust) checkDigest(manifest.digest, job.trust);
      return manifest;
    }
    throw new TerminalError(
      "ManifestDamaged",
      `the manifest from the store cannot be used: ${problem ?? ""}: import the model again`,
    );
  });
}

const remedyOf = ({ cache }: FetchJob): string =>
  cache ? "give the volumes of the node type's cache more space" : EPHEMERAL_REMEDY;

async function checkSpace(job: FetchJob, folder: FetchFolder, files: readonly StoredFile[]): Promise<void> {
  let needBytes = SPARE_BYTES;
  for (const [index, file] of files.entries()) needBytes += file.sizeBytes - (await folder.held(index, file));
  const freeBytes = await folder.freeBytes();
  if (needBytes <= freeBytes) return;
  const gib = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(2)} GiB`;
  throw new TerminalError(
    "NoSpace",
    `the model needs ${gib(needBytes)} more in ${job.into}, where ${gib(freeBytes)} are free: ${remedyOf(job)}`,
  );
}

function newBuffers(): Pick<FileWork, "borrow" | "lend"> {
  const free: Uint8Array[] = [];
  return {
    borrow: () => free.pop() ?? new Uint8Array(new SharedArrayBuffer(FETCH_PART_BYTES)),
    lend: (buffer) => void free.push(buffer),
  };
}

/** A file that differs although all of it was fetched just now is damaged in the store. */
async function tryFile(index: number, file: StoredFile, work: FileWork, job: FetchJob): Promise<void> {
  if (await isFinished(file, work)) return;
  for (let tries = 0, fresh = false; ; fresh = true) {
    const { sha256, resumedBytes } = await fetchFile(index, file, work, fresh);
    if (sha256 === file.sha256) return;
    job.log.warn(
      { path: file.path, sha256, expected: file.sha256, resumedBytes },
      "a file is not what the manifest says",
    );
    work.onDone(-file.sizeBytes);
    job.client.avoidRedirects(`${file.path} came with a wrong byte`);
    // What an earlier run left may have been lost with its node's memory: that try does not count.
    if (resumedBytes === 0) tries++;
    if (tries < TRIES_PER_FILE) continue;
    await (await work.folder.begin(index, file, true)).file.close();
    throw new TerminalError(
      "DigestMismatch",
      `${file.path} in the store has SHA-256 ${sha256}, but was imported with ${file.sha256}: it was damaged there, import the model again`,
    );
  }
}

/** Where the thread died that hashed it, what was counted of the file comes again. */
function oneFile(index: number, file: StoredFile, work: FileWork, job: FetchJob): Promise<void> {
  return againIfDead(async () => {
    let counted = 0;
    const onDone = (bytes: number): void => work.onDone(((counted += bytes), bytes));
    try {
      await tryFile(index, file, { ...work, onDone }, job);
    } catch (error) {
      if (error instanceof ThreadDiedError) work.onDone(-counted);
      throw error;
    }
  });
}

async function allFiles(files: readonly StoredFile[], work: FileWork, job: FetchJob, stop: (error: unknown) => void) {
  const places = newSlots(FILES_AT_ONCE);
  const running: Promise<void>[] = [];
  for (const [index, file] of files.entries()) {
    const release = await places.take(work.signal);
    const one = oneFile(index, file, work, job)
      .then(() => void job.progress.files++)
      .catch((error: unknown) => {
        stop(error);
        throw error;
      })
      .finally(release);
    one.catch(() => undefined);
    running.push(one);
  }
  await Promise.allSettled(running);
}

/**
 * Resolves when every file of the model stands in the folder, verified. Throws TerminalError or RetryError (their reason
 * is for people), or an abort. What is finished stays for the next run.
 */
export async function fetchModel(job: FetchJob): Promise<Manifest> {
  const patience = newPatience(job);
  const manifest = await readManifest(job, patience);
  let place: CachePlace | undefined;
  try {
    place = await enterNodeCache(job, manifest);
    await fetchFiles(job, manifest, patience);
  } catch (error) {
    if (isAbort(error) || error instanceof RetryError) throw error;
    throw diskError(error, job.into, remedyOf(job));
  } finally {
    await place?.release();
  }
  return manifest;
}

async function enterNodeCache(job: FetchJob, { digest, files }: Manifest): Promise<CachePlace | undefined> {
  const { cache, into, clock, log, signal } = job;
  if (!cache) return undefined;
  if (resolve(into) !== resolve(cacheFolderOf(cache.root, digest))) {
    const message = `the store serves ${digest}, and ${into} is the folder of another model in the cache: change any field of the deployment's template to render it anew`;
    throw new TerminalError("ManifestDamaged", message);
  }
  const sizeBytes = files.reduce((sum, file) => sum + file.sizeBytes, 0);
  return enterCache({ ...cache, clock, log, signal }, digest, sizeBytes);
}

async function fetchFiles(job: FetchJob, { digest, files }: Manifest, patience: Patience): Promise<void> {
  const folder = await openFetchFolder(job.into, digest, files);
  job.progress.totalBytes = files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  job.progress.totalFiles = files.length;
  await checkSpace(job, folder, files);
  job.log.info({ digest, files: files.length, bytes: job.progress.totalBytes }, "fetching");
  await fetchInto(job, folder, files, patience);
  await folder.tidy();
}

/** Goes on after the last byte that came: whatever breaks off, a byte that renews patience is a new one. */
function newFill({ client, progress }: FetchJob, patience: Patience, signal: AbortSignal): FileWork["fill"] {
  return async (sha256, offset, into) => {
    let at = 0;
    const count = (bytes: number, isDirect: boolean): void => {
      at += bytes;
      progress.receivedBytes += bytes;
      if (isDirect) progress.directBytes += bytes;
      patience.renew();
    };
    await patience.withPatience(() =>
      client.part({ sha256, offset: offset + at, into: into.subarray(at) }, count, signal),
    );
  };
}

/** The first failure stops all files, and is the one that is told. */
async function fetchInto(
  job: FetchJob,
  folder: FetchFolder,
  files: readonly StoredFile[],
  patience: Patience,
): Promise<void> {
  const ending = new AbortController();
  const signal = AbortSignal.any([job.signal, ending.signal]);
  const hashes = newHashThreads();
  let failure: unknown;
  const stop = (error: unknown): void => {
    failure ??= error;
    ending.abort(abortError());
  };
  const work: FileWork = {
    folder,
    slots: newSlots(job.partsAtOnce),
    ...newBuffers(),
    hashes,
    fill: newFill(job, patience, signal),
    onDone: (bytes) => void (job.progress.doneBytes += bytes),
    log: job.log,
    signal,
  };
  await allFiles(files, work, job, stop).catch(stop);
  await hashes.close();
  if (job.signal.aborted) throw abortError();
  if (failure !== undefined) throw failure;
}
