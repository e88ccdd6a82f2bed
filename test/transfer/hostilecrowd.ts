// What hostilecrowd.test.ts starts: a process that inspects many models at once, as the importer does, and then imports a good one.
// Arguments: the place of the source as JSON, the folder of the store. Prints one line of JSON.
import { newS3Source } from "../../operator/adapters/s3/source.ts";
import { openStore } from "../../operator/adapters/store/open.ts";
import { problemOf } from "../../operator/controllers/modelimport.ts";
import { importModel } from "../../operator/transfer/import.ts";
import { newRawClient } from "../../operator/transfer/rawget.ts";
import { newSlots } from "../../operator/transfer/slots.ts";
import { jobFor, newObserver } from "./bench.ts";

export interface Crowd {
  readonly endpoint: string;
  readonly region: string;
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string };
  /** Each is imported so often. */
  readonly prefixes: readonly string[];
  readonly each: number;
}

export interface CrowdEnd {
  readonly ends: readonly (readonly [prefix: string, reason: string, copiedBytes: number])[];
  readonly good: string;
  readonly peakMebibytes: number;
}

async function main(crowd: Crowd, folder: string): Promise<CrowdEnd> {
  const { endpoint, region, credentials, prefixes, each } = crowd;
  const store = openStore({ url: `file://${folder}`, region });
  const inspections = newSlots(1);
  const shared = { store, inspections };
  const bulk = newRawClient({ silenceMs: 60_000 });
  const attempt = async (prefix: string, modelUID: string): Promise<readonly [string, string, number]> => {
    const source = newS3Source({ endpoint, region, bucket: "source", credentials, bulk });
    const observer = newObserver();
    const owner = { namespaceUID: "ns-uid", modelUID };
    const end = await importModel(jobFor({ ...shared, source, prefix, observer, owner })).then(
      (result) => (result.kind === "refused" ? result.problem.reason : result.kind),
      (error: unknown) => problemOf(error)?.reason ?? String(error),
    );
    source.close();
    return [prefix, end, observer.copiedBytes];
  };
  const all = prefixes.flatMap((prefix) => Array.from({ length: each }, () => prefix));
  const ends = await Promise.all(all.map((prefix, number) => attempt(prefix, `model-${String(number)}`)));
  const [, good] = await attempt("good", "good");
  return { ends, good, peakMebibytes: process.resourceUsage().maxRSS / 1024 };
}

console.log(JSON.stringify(await main(JSON.parse(process.argv[2] ?? "") as Crowd, process.argv[3] ?? "")));
