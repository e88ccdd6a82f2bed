/** What no honest server lists: where it does, nothing that it says can be relied upon, and the model is refused whole. */
import type { SourceObject } from "../../ports.ts";
import { printable, refusal } from "./problem.ts";
import type { ModelProblem } from "./problem.ts";

/** What is done with the files: bytes that are copied must be pinned by an ETag, facts that are only shown need none. */
export type ListingUse = "copy" | "show";

/** S3's own limit of a key. */
const MAX_KEY_BYTES = 1024;
/** Servers send some forty; what is longer is kept for each object until the import ends. */
export const MAX_ETAG_BYTES = 256;
/** Of a version's id as JSON: a longer one, which would stand in the record of the import, no source names. */
export const MAX_VERSION_BYTES = 256;
/** Servers that put a key into it, escaped, stay below. */
const MAX_TOKEN_BYTES = 4096;

const bytesOf = (text: string): number => new TextEncoder().encode(text).length;

const endpointRemedy = "check its endpoint, this is no S3 listing";

/**
 * Words of a page that are longer than any server's: pages are gathered before a key is judged, and what is too long of one
 * source is memory of every import of the process.
 */
export function pageFault(page: {
  readonly objects: readonly SourceObject[];
  readonly next?: string;
}): ModelProblem | undefined {
  const tooLong = (what: string, bytes: number, most: number): ModelProblem =>
    refusal(
      "ListingInvalid",
      `the source lists ${what} of ${String(bytes)} bytes, more than the ${String(most)} that are allowed: ${endpointRemedy}`,
    );
  for (const { key, etag } of page.objects) {
    const keyBytes = bytesOf(key);
    if (keyBytes > MAX_KEY_BYTES) return tooLong(`a key ('${printable(key)}')`, keyBytes, MAX_KEY_BYTES);
    const etagBytes = bytesOf(etag);
    if (etagBytes > MAX_ETAG_BYTES) return tooLong(`'${printable(key)}' with an ETag`, etagBytes, MAX_ETAG_BYTES);
  }
  const tokenBytes = page.next === undefined ? 0 : bytesOf(page.next);
  return tokenBytes > MAX_TOKEN_BYTES ? tooLong("a continuation token", tokenBytes, MAX_TOKEN_BYTES) : undefined;
}

/** "folder/" of size 0 is how consoles of S3 services show a folder. */
export const isFolderMarker = ({ key, sizeBytes }: Pick<SourceObject, "key" | "sizeBytes">): boolean =>
  key.endsWith("/") && sizeBytes === 0;

/** Of the whole listing: entries that contradict what was asked for, each other or themselves. */
export function listingFault(
  objects: readonly SourceObject[],
  folder: string,
  use: ListingUse,
): ModelProblem | undefined {
  const keys = new Set<string>();
  for (const { key, sizeBytes, etag } of objects) {
    const said = (what: string): ModelProblem =>
      refusal("ListingInvalid", `the source lists '${printable(key)}' ${what}: ${endpointRemedy}`);
    if (!key.startsWith(folder)) return said(`although '${printable(folder)}' was asked for`);
    if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0) return said(`with the size ${String(sizeBytes)}`);
    if (use === "copy" && etag === "" && !isFolderMarker({ key, sizeBytes }))
      return said("without an ETag, so that no read could be held to it");
    if (keys.has(key)) return said("twice");
    keys.add(key);
  }
  return undefined;
}
