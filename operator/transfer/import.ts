/**
 * One import from beginning to end: list, inspect, copy, commit. May be killed at any point and called again with the same
 * arguments; it then goes on with the files that are not in the store yet. Knows nothing of Kubernetes.
 */
import type { Clock, ManifestSigner, ObjectSource, ObjectStore } from "../ports.ts";
import { instantOf } from "../api/conditions.ts";
import type { ModelRevision } from "../api/model.ts";
import type { ImportObserver, ImportResult } from "../plan/model/importing.ts";
import type { AnswersFor } from "../plan/model/answers.ts";
import type { FoundRevision, SourceOrigin } from "../plan/model/importrecord.ts";
import type { ModelFacts } from "../plan/model/inspect.ts";
import { filesOf, folderOf } from "../plan/model/listing.ts";
import type { Listing } from "../plan/model/listing.ts";
import { fingerprintText, revisionFolder } from "../plan/model/manifest.ts";
import type { FileRecord, StoreOwner } from "../plan/model/manifest.ts";
import { isProblem } from "../plan/model/problem.ts";
import { withSums } from "../plan/model/sums.ts";
import { isWay } from "../plan/model/way.ts";
import type { Way, WayChoice } from "../plan/model/way.ts";
import { RetryError, TerminalError } from "../runtime/errors.ts";
import { copyFiles } from "./copy.ts";
import type { PartPlaces } from "./places.ts";
import { sha256Digest } from "./hash.ts";
import { inspectSource } from "./headers.ts";
import { newInspected, otherBytes } from "./inspected.ts";
import type { Inspected } from "./inspected.ts";
import { listSource } from "./listing.ts";
import { readSums } from "./sums.ts";
import type { RetryOptions } from "./retry.ts";
import { isThisState, othersThanInspected, pointed, reusedOf } from "./reuse.ts";
import { claimEarlier, commitRevision, findRevisions, finishRevision } from "./revisions.ts";
import type { StoredRevisions } from "./revisions.ts";
import { vouchedFor } from "./seals.ts";
import { openWay } from "./servercopy.ts";
import type { Slots } from "./slots.ts";
import { takeTurn } from "./turn.ts";

export interface ImportJob {
  readonly source: ObjectSource;
  readonly store: ObjectStore;
  readonly owner: StoreOwner;
  /** Where the source is, for the record beside the manifest. */
  readonly origin: SourceOrigin;
  /** Of this Berth, for the same record. */
  readonly version: string;
  /** Signs the manifest, where the platform has a key for it. */
  readonly signer?: ManifestSigner;
  readonly maxSizeBytes: number;
  /** Lets GGUF files along beside safetensors, where the platform says so. */
  readonly allowGguf?: boolean;
  /** False: list and inspect only. */
  readonly copy: boolean;
  /** Whether the store's credentials may copy from the source's bucket, where one service holds both; false where absent. */
  readonly serverSideCopy?: boolean;
  /** How large files are asked for at first; by what an import then sees, it may go on otherwise. One answer a file where absent. */
  readonly answersFor?: AnswersFor | undefined;
  /** A request to read every byte from the source and write it, whatever the store holds of it; answered once. */
  readonly reimport?: string;
  readonly clock: Clock;
  /** Memory for parts, shared by all imports of the process. */
  readonly places: PartPlaces;
  /** Places for imports that copy; inspection waits for none. */
  readonly copies: Slots;
  /** Places for models with much to inspect; none waits where absent. */
  readonly inspections?: Slots;
  readonly signal?: AbortSignal;
  readonly observer: ImportObserver;
  /** Milliseconds that any answer of the source may take, however short; 60 s by default. */
  readonly leastDeadlineMs?: number | undefined;
  /** First pause between two tries of one request; 200 ms by default. */
  readonly retryBaseMs?: number;
}

/** A revision as the Model's status lists it. */
function revisionOf({ number, manifest, record }: FoundRevision, now: number): ModelRevision {
  return {
    number,
    digest: manifest.digest,
    sizeBytes: manifest.files.reduce((sum, file) => sum + file.sizeBytes, 0),
    importedAt: record?.importedAt ?? instantOf(now),
    ...(record === undefined ? {} : { sourceFingerprint: record.fingerprint }),
    ...(record && "commit" in record.source ? { sourceCommit: record.source.commit } : {}),
    ...(isWay(record?.way) ? { way: record.way } : {}),
  };
}

type CopyJob = ImportJob & { readonly inspected: Inspected };

/** By path, of those objects that the source read by their version. */
function versionsOf({ source }: ImportJob, { files }: Listing): Readonly<Record<string, string>> {
  const named = files.map((file) => [file.path, source.originOf?.(file).versionId] as const);
  return Object.fromEntries(named.filter((one): one is readonly [string, string] => one[1] !== undefined));
}

/** What stands beside the manifest. */
function recordOf(job: ImportJob, listing: Listing, facts: ModelFacts, way: Way) {
  const { origin, clock, version } = job;
  const versionIds = versionsOf(job, listing);
  return {
    fingerprint: sha256Digest(fingerprintText(listing.files)),
    source: origin,
    importedAt: instantOf(clock.now()),
    version,
    facts,
    ...(job.reimport === undefined ? {} : { reimport: job.reimport }),
    way,
    etags: Object.fromEntries(listing.files.map((file) => [file.path, file.etag])),
    ...(Object.keys(versionIds).length === 0 ? {} : { versionIds }),
  };
}

interface Copied {
  readonly revision: FoundRevision;
  readonly way: WayChoice;
}

const isFull = (error: unknown): error is RetryError & { readonly cause: TerminalError } =>
  error instanceof RetryError && error.cause instanceof TerminalError && error.cause.reason === "StoreFull";

/** Where the store is full, says besides how much the model still needs: what failed is one part of it. */
async function copyOrFull(copy: Parameters<typeof copyFiles>[0]): Promise<FileRecord[]> {
  let missingBytes = copy.files.reduce((sum, file) => sum + file.sizeBytes, 0);
  const onBytes: typeof copy.onBytes = (bytes, copied) => {
    missingBytes -= bytes;
    copy.onBytes(bytes, copied);
  };
  try {
    return await copyFiles({ ...copy, onBytes });
  } catch (error) {
    if (!isFull(error)) throw error;
    const words = `${error.cause.message}; ${String(missingBytes)} bytes of the model are still to come`;
    throw new RetryError(new TerminalError("StoreFull", words));
  }
}

/** What an observer hears of files on their way. */
const told = (observer: ImportObserver) => ({
  onBytes: observer.bytes.bind(observer),
  onFile: observer.file.bind(observer),
  onUnstated: observer.unstated.bind(observer),
});

/** Revisions whose files the coming one may point at. */
async function earlierOf(job: ImportJob, { found, next }: StoredRevisions): Promise<readonly FoundRevision[]> {
  if (found.length === 0 || job.reimport !== undefined) return [];
  return vouchedFor(job, await claimEarlier(job.store, job.owner, next));
}

/** Copies what no earlier revision holds; the others are pointed at. */
async function copyRevision(
  job: CopyJob,
  retry: RetryOptions,
  { listing, sums }: { readonly listing: Listing; readonly sums: ReadonlyMap<string, string> },
  facts: ModelFacts,
  revisions: StoredRevisions,
): Promise<Copied> {
  const { source, store, owner, places, observer, inspected, signer } = job;
  const folder = revisionFolder(owner, revisions.next);
  const earlier = await earlierOf(job, revisions);
  const reused = await reusedOf({ ...job, retry }, listing, earlier);
  const reusedBytes = [...reused.values()].reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  if (reused.size > 0) observer.reused(reused.size, reusedBytes);
  // A list of checksums may be older than the files: what is copied is held to it, but nothing is left unread for its sake.
  const files = withSums(
    listing.files.filter(({ path }) => !reused.has(path)),
    sums,
  );
  const way = openWay(job, files, retry, observer.going.bind(observer));
  const records = await copyOrFull({
    source: inspected.held(source),
    store,
    folder,
    files,
    retry,
    places: places.share(),
    serverCopy: way.serverCopy,
    answersFor: job.answersFor,
    signer,
    ...told(observer),
  });
  const copied = new Map(records.map(({ path, key }) => [path, key]));
  const [other] = await othersThanInspected({ ...job, retry }, listing.files, copied, "isBrought");
  if (other) throw otherBytes(other);
  observer.committing();
  const stored = [...reused.values(), ...(await pointed({ ...job, retry }, listing, records, earlier))];
  const record = recordOf(job, listing, facts, way.choice.way);
  const revision = await commitRevision(store, folder, stored, record, signer);
  await finishRevision(store, folder, revision);
  return { revision, way: way.choice };
}

interface Look {
  readonly stored: StoredRevisions;
  readonly revisions: readonly ModelRevision[];
  /** The newest is this state of the source, and answers what was asked for. */
  readonly isThere: boolean;
}

/** What the store holds of the model. */
async function lookAt(job: CopyJob, retry: RetryOptions, listing: Listing): Promise<Look> {
  const { store, owner, reimport } = job;
  const stored = await findRevisions(store, owner);
  const now = job.clock.now();
  const revisions = stored.found.map((revision) => revisionOf(revision, now));
  const newest = stored.found.at(-1);
  if (!newest) return { stored, revisions, isThere: false };
  await finishRevision(store, revisionFolder(owner, newest.number), newest);
  const isAnswered = reimport === undefined || newest.record?.reimport === reimport;
  return { stored, revisions, isThere: isAnswered && (await isThisState({ ...job, retry }, listing, newest)) };
}

function retryOf({ clock, signal, observer, leastDeadlineMs, retryBaseMs = 200 }: ImportJob): RetryOptions {
  return { clock, signal, tries: 8, baseMs: retryBaseMs, onPartRetry: observer.partRetried, leastDeadlineMs };
}

/** Refusals of the model are values; faults of source and store are thrown (TerminalError, RetryError, AbortError). */
export async function importModel(job: ImportJob): Promise<ImportResult> {
  const { source, clock } = job;
  const retry = retryOf(job);
  const prefix = "prefix" in job.origin ? job.origin.prefix : "";
  const kind = "commit" in job.origin ? "repository" : "bucket";
  const objects = await listSource(source, prefix, retry);
  const listing = filesOf(objects, prefix, job.maxSizeBytes, kind, "copy", { gguf: job.allowGguf === true });
  if (isProblem(listing)) return { kind: "refused", problem: listing };
  job.observer.listed(listing);
  const inspected = newInspected();
  const reading = { source, retry, large: job.inspections, who: job.owner.namespaceUID };
  const facts = await inspectSource({ ...reading, inspected }, listing);
  if (isProblem(facts)) return { kind: "refused", problem: facts };
  job.observer.inspected(facts);
  const pinned = "commit" in job.origin ? { commit: job.origin.commit } : {};
  const copy = { ...job, inspected };
  const before = await lookAt(copy, retry, listing);
  const there = ({ revisions }: Look): ImportResult => ({
    kind: "imported",
    facts,
    revisions,
    copied: false,
    ...pinned,
  });
  if (before.isThere) return there(before);
  if (!job.copy) return { kind: "inspected", facts, revisions: before.revisions, ...pinned };
  // Before there is a place: whoever sends a list slowly holds up nobody's copies.
  const sums = await readSums(reading, objects, folderOf(prefix), listing.files);
  const { release, hasWaited } = await takeTurn(job);
  const copying = async (): Promise<ImportResult> => {
    // Meanwhile the folder may have been given up as garbage, or another import may have ended.
    const seen = hasWaited ? await lookAt(copy, retry, listing) : before;
    if (seen.isThere) return there(seen);
    const { revision, way } = await copyRevision(copy, retry, { listing, sums }, facts, seen.stored);
    const revisions = [...seen.revisions, revisionOf(revision, clock.now())];
    return { kind: "imported", facts, revisions, copied: true, way, ...pinned };
  };
  return copying().finally(release);
}
