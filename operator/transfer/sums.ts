/** Reads the lists of checksums that stand beside a model. */
import type { ObjectSource, SourceObject } from "../ports.ts";
import type { ModelFile } from "../plan/model/listing.ts";
import { MAX_SUMS_BYTES, SUMS_NAMES, newSums } from "../plan/model/sums.ts";
import { inTime } from "./deadline.ts";
import { inPlace } from "./largereads.ts";
import type { LargeReads } from "./largereads.ts";
import { withRetries } from "./retry.ts";

export interface SumsReading extends LargeReads {
  readonly source: ObjectSource;
}

/** The digests of the files that the lists state, one list after the other; what is too long for one is left alone. */
export function readSums(
  reading: SumsReading,
  objects: readonly SourceObject[],
  folder: string,
  files: readonly ModelFile[],
): Promise<ReadonlyMap<string, string>> {
  const isList = ({ sizeBytes }: SourceObject): boolean => sizeBytes > 0 && sizeBytes <= MAX_SUMS_BYTES;
  const lists = SUMS_NAMES.flatMap((name) => {
    const list = objects.find(({ key }) => key === folder + name);
    return list && isList(list) ? [{ name, list }] : [];
  });
  const largest = Math.max(0, ...lists.map(({ list }) => list.sizeBytes));
  return inPlace(reading, largest, async ({ source, retry }) => {
    const sums = newSums(files.map(({ path }) => path));
    for (const { name, list } of lists) {
      const { sizeBytes: lengthBytes } = list;
      const bytes = await withRetries(retry, () =>
        inTime(retry, { what: name, lengthBytes }, (signal) => source.read(list, 0, lengthBytes, signal)),
      );
      sums.add({ name, text: new TextDecoder().decode(bytes) });
    }
    return sums.agreed();
  });
}
