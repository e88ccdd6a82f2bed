/** The store by its URL. */
import { fileURLToPath } from "node:url";
import type { ObjectStore } from "../../ports.ts";
import { STORAGE_FORM, shownURL, storeFault } from "../storageurl.ts";
import { newFileStore } from "./file.ts";
import { newS3Store } from "./s3.ts";

export interface StorePlace {
  /** `s3://bucket/prefix` or `file:///absolute/path`. */
  readonly url: string;
  readonly endpoint?: string;
  readonly region: string;
  readonly credentials?: {
    readonly accessKeyId: string;
    readonly secretAccessKey: string;
    readonly sessionToken?: string;
  };
  /** S3 only: where the bucket's name stands with an endpoint. */
  readonly addressing?: "Path" | "VirtualHost" | undefined;
  /** S3 only: connections at once. */
  readonly maxSockets?: number;
}

/** Throws on a URL of another form; nothing is contacted yet. */
export function openStore(place: StorePlace): ObjectStore {
  const fault = storeFault(place.url);
  if (fault !== undefined) throw new Error(`the store's URL ${shownURL(place.url)} ${fault}: ${STORAGE_FORM}`);
  const url = new URL(place.url);
  if (url.protocol === "file:") return newFileStore(fileURLToPath(url));
  const { endpoint, region, addressing, credentials, maxSockets } = place;
  return newS3Store({
    bucket: url.hostname,
    prefix: decodeURIComponent(url.pathname),
    endpoint,
    region,
    addressing,
    credentials,
    maxSockets,
  });
}
