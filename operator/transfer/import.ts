/**
 * One import from beginning to end: list, inspect, copy, commit. May be killed at any point and called again with the same
 * arguments; it then goes on with the files that are not in the store yet. Knows nothing of Kubernetes.
 */
import type { Clock, ManifestSigner, ObjectSource, ObjectStore } from "../ports.ts";
import { instantOf } from "../api/conditions.ts";
import type { ModelRevision } from "../api/model.ts";
import type { ImportObserver, ImportResult } from "../plan/model/importing.ts";
import type { ModelFacts } from "../plan/model/inspect.ts";
import { filesOf } from "../plan/model/listing.ts";
import type { Listing } from "../plan/model/listing.ts";
import { fingerprintText, revisionFolder } from "../plan/model/manifest.ts";
import type { FileRecord, FoundRevision, SourceOrigin, StoreOwner } from "../plan/model/manifest.ts";
import { isProblem } from "../plan/model/problem.ts";
import { pointedAtEarlier, reusable } from "../plan/model/reuse.ts";
import { copyFiles } from "./copy.ts";
import { sha256Digest } from "./hash.ts";
import { inspectSource } from "./headers.ts";
import { listSource } from "./listing.ts";
import type { RetryOptions } from "./retry.ts";
import { claimEarlier, commitRevision, findRevisions, removeLeftovers } from "./revisions.ts";
import type { StoredRevisions } from "./revisions.ts";
import type { Slots } from "./slots.ts";

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
  /** False: list and inspect only. */
  readonly copy: boolean;
  /** A request to read every byte from the source and write it, whatever the store holds of it; answered once. */
  readonly reimport?: string;
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
function revisionOf({ number, manifest, record }: FoundRevision, now: number): ModelRevision {
  return {
    number,
    digest: manifest.digest,
    sizeBytes: manifest.files.reduce((sum, file) => sum + file.sizeBytes, 0),
    importedAt: record?.importedAt ?? instantOf(now),
    ...(record === undefined ? {} : { sourceFingerprint: record.fingerprint }),
    ...(record && "commit" in record.source ? { sourceCommit: record.source.commit } : {}),
  };
}

const storedFileOf = ({ path, sizeBytes, sha256, key }: FileRecord) => ({ path, sizeBytes, sha256, key });

/** Copies what no earlier revision holds; the others are pointed at. */
async function copyRevision(
  job: ImportJob,
  retry: RetryOptions,
  listing: Listing,
  facts: ModelFacts,
  { found, next }: StoredRevisions,
): Promise<FoundRevision> {
  const { source, store, owner, slots, observer, clock, origin, version } = job;
  const folder = revisionFolder(owner, next);
  const isFirst = found.length === 0 || job.reimport !== undefined;
  const earlier = isFirst ? [] : await claimEarlier(store, owner, next);
  const reused = reusable(listing.files, origin, earlier);
  for (const { sizeBytes } of reused.values()) {
    observer.reused(sizeBytes);
    observer.file();
  }
  const records = await copyFiles({
    source,
    store,
    folder,
    files: listing.files.filter(({ path }) => !reused.has(path)),
    retry,
    slots,
    onBytes: observer.bytes.bind(observer),
    onFile: observer.file.bind(observer),
  });
  observer.committing();
  const files = [...reused.values(), ...pointedAtEarlier(records.map(storedFileOf), earlier)];
  const record = {
    fingerprint: sha256Digest(fingerprintText(listing.files)),
    source: origin,
    importedAt: instantOf(clock.now()),
    version,
    facts,
    ...(job.reimport === undefined ? {} : { reimport: job.reimport }),
    etags: Object.fromEntries(listing.files.map((file) => [file.path, file.etag])),
  };
  const manifest = await commitRevision(store, folder, files, record, job.signer);
  await removeLeftovers(store, folder, manifest.files);
  return { number: next, manifest, record: { digest: manifest.digest, ...record } };
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
  const stored = await findRevisions(store, owner);
  const now = clock.now();
  const newest = stored.found.at(-1);
  const isAnswered = job.reimport === undefined || newest?.record?.reimport === job.reimport;
  const same = isAnswered && newest?.record?.fingerprint === sha256Digest(fingerprintText(listing.files));
  const known = stored.found.map((revision) => revisionOf(revision, now));
  const pinned = "commit" in job.origin ? { commit: job.origin.commit } : {};
  if (newest && same) {
    // Whoever wrote the manifest may have been killed before it took away what only the copying needed.
    await removeLeftovers(store, revisionFolder(owner, newest.number), newest.manifest.files);
    return { kind: "imported", facts, revisions: known, copied: false, ...pinned };
  }
  if (!job.copy) return { kind: "inspected", facts, revisions: known, ...pinned };
  const release = await job.copies.take(signal);
  const added = await copyRevision(job, retry, listing, facts, stored).finally(release);
  return { kind: "imported", facts, revisions: [...known, revisionOf(added, now)], copied: true, ...pinned };
}
