// One import alone in a process, for tests that kill it. What and where comes as JSON in TEST_IMPORT; the way is printed when it is chosen, and the revision's digest.
import { newS3Source } from "../../operator/adapters/s3/source.ts";
import { openStore } from "../../operator/adapters/store/open.ts";
import type { AnswersFor } from "../../operator/plan/model/answers.ts";
import type { WayChoice } from "../../operator/plan/model/way.ts";
import type { ObjectStore } from "../../operator/ports.ts";
import { systemClock } from "../../operator/runtime/clock.ts";
import { importModel } from "../../operator/transfer/import.ts";
import { newPartPlaces } from "../../operator/transfer/places.ts";
import { newRawClient } from "../../operator/transfer/rawget.ts";
import { jobFor, newObserver } from "./bench.ts";

export interface ProcessJob {
  /** Of source and store. */
  readonly endpoint: string;
  readonly region: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly bucket: string;
  readonly prefix: string;
  readonly storeUrl: string;
  readonly partBytes: number;
  /** Places for parts. */
  readonly partsAtOnce: number;
  /** How large files are asked for at first. */
  readonly answersFor: AnswersFor;
  /** False: list and inspect only. */
  readonly copy?: boolean;
  /** Whether the service of both buckets may copy. */
  readonly serverSideCopy?: boolean;
  /** Dies in place of this request of those that change the store once every file is there, counted from 0. */
  readonly diesAt?: number;
}

type Change = "put" | "remove" | "abortUploads";

/** Dies by SIGKILL in place of a request; `begin` starts to count them. */
function mortal(store: ObjectStore, diesAt: number): { readonly store: ObjectStore; readonly begin: () => void } {
  let left = Infinity;
  const orDie =
    <K extends Change>(name: K) =>
    (...args: Parameters<ObjectStore[K]>): ReturnType<ObjectStore[K]> => {
      if (left-- === 0) {
        process.kill(process.pid, "SIGKILL");
        return new Promise(() => undefined) as ReturnType<ObjectStore[K]>;
      }
      return (store[name] as (...all: Parameters<ObjectStore[K]>) => ReturnType<ObjectStore[K]>)(...args);
    };
  return {
    store: { ...store, put: orDie("put"), remove: orDie("remove"), abortUploads: orDie("abortUploads") },
    begin: () => void (left = diesAt),
  };
}

async function main(job: ProcessJob): Promise<string> {
  const { endpoint, region, bucket, prefix, partBytes, partsAtOnce, accessKeyId, secretAccessKey } = job;
  const credentials = { accessKeyId, secretAccessKey };
  const bulk = newRawClient({ silenceMs: 20_000 });
  const source = newS3Source({ endpoint, region, bucket, credentials, bulk });
  const opened = openStore({ url: job.storeUrl, endpoint, region, credentials });
  const { store, begin } = mortal(opened, job.diesAt ?? Infinity);
  const places = newPartPlaces({ clock: systemClock, bufferBytes: partsAtOnce * partBytes, partBytes });
  // Written to a pipe before anything else happens, so a death takes none of it away.
  const going = ({ way, because }: WayChoice): unknown => process.stdout.write(`way ${way}: ${because}\n`);
  const observer = newObserver({ committing: begin, going });
  const copying = { copy: job.copy !== false, serverSideCopy: job.serverSideCopy === true };
  const result = await importModel(
    jobFor({ source, store, prefix, places, observer, answersFor: job.answersFor, ...copying }),
  );
  source.close();
  store.close();
  if (result.kind === "refused") throw new Error(`${result.problem.reason}: ${result.problem.message}`);
  return result.revisions.at(-1)?.digest ?? "none";
}

process.stdout.write(`${await main(JSON.parse(process.env["TEST_IMPORT"] ?? "{}") as ProcessJob)}\n`);
