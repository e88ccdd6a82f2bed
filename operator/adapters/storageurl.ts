/** What a URL of storage must look like: each answers why this one does not, as the end of a sentence, and undefined where it does. */
import { fileURLToPath } from "node:url";

export const STORAGE_FORM = "write s3://bucket/prefix or file:///path";
export const ENDPOINT_FORM = "write http://host:port or https://host";

/** Words with a URL in them, up to the last @: secrets of AWS hold slashes. */
export const withoutKeys = (text: string): string => text.replace(/\/\/.*@/s, "//…@");

/** For messages: whoever puts a key into a URL shall not find it in a log, not even without a scheme. */
export const shownURL = (text: string): string =>
  `"${text.replace(/^([a-z][a-z0-9+.-]*:\/\/)?.*@/is, "$1…@").slice(0, 200)}"`;

/** Of a ledger or a store. */
export function storageFault(text: string): string | undefined {
  if (!URL.canParse(text)) return "is no URL";
  const { protocol, host, hostname } = new URL(text);
  if (protocol === "file:") return host === "" ? undefined : "names a host";
  if (protocol !== "s3:") return "has another scheme";
  return hostname === "" ? "names no bucket" : undefined;
}

function isDecodable(url: URL): boolean {
  try {
    if (url.protocol === "file:") fileURLToPath(url);
    else decodeURIComponent(url.pathname);
    return true;
  } catch {
    return false;
  }
}

/** Of a store, whose path may hold codes like %20. What would be left out of it without a word is a fault too. */
export function storeFault(text: string): string | undefined {
  const fault = storageFault(text);
  if (fault !== undefined) return fault;
  if (!/^(s3|file):\/\//.test(text)) return "lacks // behind the scheme";
  const url = new URL(text);
  if (url.search !== "" || url.hash !== "" || /[?#]/.test(text)) return "holds ? or #, which in a path are %3F and %23";
  if (url.port !== "" || url.username !== "" || url.password !== "") return "names more than a bucket before its path";
  return isDecodable(url) ? undefined : "holds a % that begins no code, or the code of a slash";
}

/** Of an S3 server. */
export function endpointFault(text: string): string | undefined {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url || !/^https?:$/.test(url.protocol)) return "is no http or https URL";
  return url.username === "" && url.password === "" ? undefined : "names a user or a key before its host";
}
