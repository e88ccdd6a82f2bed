/** The whole listing of a source, bounded however the server pages. */
import type { ObjectSource, SourceObject } from "../ports.ts";
import { TerminalError } from "../runtime/errors.ts";
import { pageFault } from "../plan/model/entries.ts";
import { MAX_OBJECTS, folderOf } from "../plan/model/listing.ts";
import { inTime } from "./deadline.ts";
import { withRetries } from "./retry.ts";
import type { RetryOptions } from "./retry.ts";

const maxPages = 100;
const aPage = { what: "a page of the listing", lengthBytes: 0 };

/** At most MAX_OBJECTS + 1 objects below the prefix's folder; one more than allowed tells the caller that there are too many. */
export async function listSource(source: ObjectSource, prefix: string, retry: RetryOptions): Promise<SourceObject[]> {
  const objects: SourceObject[] = [];
  const tokens = new Set<string>();
  let next: string | undefined;
  for (let pages = 0; pages < maxPages; pages++) {
    const page = await withRetries(retry, () =>
      inTime(retry, aPage, (signal) => source.list(folderOf(prefix), next, signal)),
    );
    const fault = pageFault(page);
    if (fault) throw new TerminalError(fault.reason, fault.message);
    objects.push(...page.objects.slice(0, MAX_OBJECTS + 1 - objects.length));
    if (page.next === undefined || objects.length > MAX_OBJECTS) return objects;
    if (tokens.has(page.next)) break;
    tokens.add(page.next);
    next = page.next;
  }
  const remedy = "check spec.source.s3.endpoint, what answers there is no S3 server";
  throw new TerminalError("ListingInvalid", `the source's listing does not come to an end: ${remedy}`);
}
