/**
 * One import from beginning to end: list, inspect, copy, commit. May be killed at any point and called again with the same
 * arguments; it then goes on with the files that are not in the store yet. Knows nothing of Kubernetes.
 */
import type { Clock, ObjectSource, ObjectStore } from "../ports.ts";
import { instantOf } from "../api/conditions.ts";
import type { ModelRevision } from "../api/model.ts";
import type { ImportObserver, ImportResult } from "../plan/model/importing.ts";
import type { ModelFacts } from "../plan/model/inspect.ts";
import { filesOf } from "../plan/model/listing.ts";
import type { Listing } from "../plan/model/listing.ts";
import { fingerprintText, nextNumber, revisionFolder } from "../plan/model/manifest.ts";
import type { FoundRevision, ImportRecord, StoreOwner } from "../plan/model/manifest.ts";
import { isProblem } from "../plan/model/problem.ts";
import { copyFiles } from "./copy.ts";
import { sha256Digest } from "./hash.ts";
import { inspectSource } from "./headers.ts";
import { listSource } from "./listing.ts";
import type { RetryOptions } from "./retry.ts";
import { commitRevision, findRevisions, removeLeftovers } from "./revisions.ts";
import type { Slots } from "./slots.ts";

export interface ImportJob {
  readonly source: ObjectSource;
  readonly store: ObjectStore;
  readonly owner: StoreOwner;
  /** Where the source is, for the record beside the manifest. */
  readonly origin: ImportRecord["source"];
  readonly maxSizeBytes: number;
  /** False: list and inspect only. */
  readonly copy: boolean;
  readonly clock: Clock;
  /** Places for parts in memory, shared by all imports of the process. */
  readonly slots: Slots;
  /** Places for imports that copy; inspection waits for none. */
  readonly copies: Slots;
  readonly signal?: AbortSignal;
  readonly observer: ImportObserver;
  /** First pause between two tries of one request; 200 ms by default. */
  readonly retryBaseMs?: number;
}

/** A revision as the Model's status lists it. */
function revisionOf(found: FoundRevision, now: number): ModelRevision {
  return {
    number: found.number,
    digest: found.manifest.digest,
    sizeBytes: found.manifest.files.reduce((sum, file) => sum + file.sizeBytes, 0),
    importedAt: found.importedAt ?? instantOf(now),
    ...(found.fingerprint === undefined ? {} : { sourceFingerprint: found.fingerprint }),
    ...(found.commit === undefined ? {} : { sourceCommit: found.commit }),
  };
}

async function copyRevision(
  job: ImportJob,
  retry: RetryOptions,
  listing: Listing,
  facts: ModelFacts,
  number: number,
): Promise<FoundRevision> {
  const { source, store, owner, slots, observer, clock, origin } = job;
  const folder = revisionFolder(owner, number);
  const onBytes = (bytes: number, copied: boolean): void => observer.bytes(bytes, copied);
  const records = await copyFiles({
    source,
    store,
    folder,
    files: listing.files,
    retry,
    slots,
    onBytes,
    onFile: observer.file,
  });
  observer.committing();
  const fingerprint = sha256Digest(fingerprintText(listing.files));
  const importedAt = instantOf(clock.now());
  const etags = Object.fromEntries(listing.files.map((file) => [file.path, file.etag]));
  const manifest = await commitRevision(store, folder, records, {
    fingerprint,
    source: origin,
    importedAt,
    facts,
    etags,
  });
  await removeLeftovers(store, folder, manifest.files);
  return { number, manifest, fingerprint, importedAt, ...("commit" in origin ? { commit: origin.commit } : {}) };
}

/** Refusals of the model are values; faults of source and store are thrown (TerminalError, RetryError, AbortError). */
export async function importModel(job: ImportJob): Promise<ImportResult> {
  const { source, store, owner, clock, signal } = job;
  const retry: RetryOptions = {
    clock,
    signal,
    tries: 5,
    baseMs: job.retryBaseMs ?? 200,
    onRetry: job.observer.retried,
  };
  const prefix = "prefix" in job.origin ? job.origin.prefix : "";
  const kind = "commit" in job.origin ? "repository" : "bucket";
  const listing = filesOf(await listSource(source, prefix, retry), prefix, job.maxSizeBytes, kind);
  if (isProblem(listing)) return { kind: "refused", problem: listing };
  job.observer.listed(listing);
  const facts = await inspectSource({ source, retry }, listing);
  if (isProblem(facts)) return { kind: "refused", problem: facts };
  job.observer.inspected(facts);
  const found = await findRevisions(store, owner);
  const now = clock.now();
  const newest = found.at(-1);
  const same = newest?.fingerprint === sha256Digest(fingerprintText(listing.files));
  const known = found.map((revision) => revisionOf(revision, now));
  const pinned = "commit" in job.origin ? { commit: job.origin.commit } : {};
  if (same) {
    // Whoever wrote the manifest may have been killed before it took away what only the copying needed.
    await removeLeftovers(store, revisionFolder(owner, newest.number), newest.manifest.files);
    return { kind: "imported", facts, revisions: known, copied: false, ...pinned };
  }
  if (!job.copy) return { kind: "inspected", facts, revisions: known, ...pinned };
  const release = await job.copies.take(signal);
  const added = await copyRevision(job, retry, listing, facts, nextNumber(found)).finally(release);
  return { kind: "imported", facts, revisions: [...known, revisionOf(added, now)], copied: true, ...pinned };
}
