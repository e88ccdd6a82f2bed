/** How the bytes of an import come into the store. Every byte is read and hashed on each of these ways; they differ in who writes. */

/**
 * ServerSideCopy: the service that holds both buckets copies the parts of large files, after each was read with the source's own
 * credentials. StreamedUpload: the importer sends what it read. Directory: it writes files.
 */
export const ways = ["ServerSideCopy", "StreamedUpload", "Directory"] as const;
export type Way = (typeof ways)[number];

/** Records are read by older and newer Berths than wrote them. */
export function isWay(value: unknown): value is Way {
  return ways.some((way) => way === value);
}

export interface WayChoice {
  readonly way: Way;
  /** For people: why this one. */
  readonly because: string;
}

export interface WayQuestion {
  /** The S3 services of store and source, where they are such; equal names are one service. */
  readonly storeService: string | undefined;
  readonly sourceService: string | undefined;
  /** Whether the administrator lets the store's credentials be used on the buckets of sources. */
  readonly isAllowed: boolean;
  /** Whether any file has more than one part: smaller ones are put whole, from memory. */
  readonly isLarge: boolean;
}

export function chooseWay({ storeService, sourceService, isAllowed, isLarge }: WayQuestion): WayChoice {
  if (storeService === undefined) return { way: "Directory", because: "the store is a directory" };
  const streamed = (because: string): WayChoice => ({ way: "StreamedUpload", because });
  if (storeService !== sourceService) return streamed("the source is not in the store's own service");
  if (!isAllowed) return streamed("server-side copy is not enabled");
  if (!isLarge) return streamed("no file is larger than one part");
  return { way: "ServerSideCopy", because: "source and store are buckets of one service" };
}

/** What is left after the service would not copy: everything that follows is sent. */
export function afterRefusal(why: string): WayChoice {
  return { way: "StreamedUpload", because: `the server-side copy was given up: ${why}` };
}
