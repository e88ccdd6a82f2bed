/**
 * Copies the files of one revision. Parts of all files share a fixed number of places, so memory is bounded whatever their sizes;
 * few large files are open at once, since after a kill those are hashed again.
 */
import type { ManifestSigner, ObjectSource, ObjectStore } from "../ports.ts";
import type { AnswersFor } from "../plan/model/answers.ts";
import type { FileRecord } from "../plan/model/manifest.ts";
import type { ModelFile } from "../plan/model/listing.ts";
import { newAnswers } from "./answers.ts";
import { copyFile } from "./copyfile.ts";
import { newHashThreads } from "./hashthreads.ts";
import { settleAll } from "./moveparts.ts";
import type { PartPlaces } from "./places.ts";
import { openRecords } from "./records.ts";
import type { RetryOptions } from "./retry.ts";
import { newSeals } from "./seals.ts";
import type { ServerCopy } from "./servercopy.ts";
import { newSlots } from "./slots.ts";

/** A store that shows unfinished parts hashes them again by itself; from others they must be read from the source once more. */
const largeAtOnce = { readsBack: 6, blind: 2 } as const;
/** Enough to have work for both ends while files are flushed; the places hold them to fewer where a server asks for that. */
const smallAtOnce = 64;

export interface CopyJob {
  readonly source: ObjectSource;
  readonly store: ObjectStore;
  /** Folder of the revision in the store; ends with '/'. */
  readonly folder: string;
  readonly files: readonly ModelFile[];
  readonly retry: RetryOptions;
  /** Memory for parts, shared with other imports of this process. */
  readonly places: PartPlaces;
  readonly serverCopy?: ServerCopy | undefined;
  /** How large files are asked for at first; "Files" where absent. */
  readonly answersFor?: AnswersFor | undefined;
  /** Whose key the copy will be signed with: only what the same one has vouched for is taken as there. */
  readonly signer?: ManifestSigner | undefined;
  /** Called after each part that is in the store; `copied` is false for those that an earlier attempt had brought. */
  readonly onBytes: (bytes: number, copied: boolean) => void;
  readonly onFile: () => void;
  /** The source refuses to say what it states of a file. */
  readonly onUnstated: (path: string, because: string) => void;
}

/** Copies what is not there yet and returns the record of every file, in the order of `files`. */
export async function copyFiles(job: CopyJob): Promise<FileRecord[]> {
  const { store, folder, places, retry } = job;
  const seals = newSeals(job.signer, folder);
  const records = await openRecords({ store, folder, retry, seals });
  const hashes = newHashThreads();
  // What the service copies is asked for in the same ranges before, by who may read them.
  const answers = newAnswers(retry.clock, job.serverCopy ? "Parts" : job.answersFor);
  const large = newSlots(store.readsBack ? largeAtOnce.readsBack : largeAtOnce.blind);
  const small = newSlots(smallAtOnce);
  let failed = false;
  const one = async (file: ModelFile): Promise<FileRecord | undefined> => {
    const release = await (file.sizeBytes > places.partBytes ? large : small).take(retry.signal);
    try {
      if (failed) return undefined;
      const record = await copyFile({ ...job, hashes, records, seals, answers }, file);
      job.onFile();
      return record;
    } catch (error) {
      failed = true;
      throw error;
    } finally {
      release();
    }
  };
  const work = job.files.map(one);
  try {
    await settleAll(work);
  } finally {
    // Also where another file has failed: what is there need not come again. Where this fails too it is no more than a batch, and
    // where all files are there the manifest says the same.
    await Promise.allSettled([records.flush(), hashes.close()]);
  }
  return (await Promise.all(work)).filter((record) => record !== undefined);
}
