/** A bucket or folder of the platform's own, for the ledger or for models. */
import {
  ENDPOINT_FORM,
  STORAGE_FORM,
  endpointFault,
  shownURL,
  storageFault,
  storeFault,
} from "../adapters/storageurl.ts";
import type { Environment, Reader } from "./reader.ts";

interface Given {
  readonly flag: string;
  readonly text: string;
  readonly form: string;
}

export interface S3Keys {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

export interface PlaceConfig {
  readonly url: string;
  readonly endpoint?: string;
  readonly region: string;
  /** The store's alone: where the bucket's name stands with an endpoint. */
  readonly addressing?: "Path" | "VirtualHost" | undefined;
  readonly credentials?: S3Keys;
}

export function place(read: Reader, env: Environment, what: "ledger" | "store"): PlaceConfig {
  const accessKeyId = env[`BERTH_${what.toUpperCase()}_ACCESS_KEY_ID`];
  const secretAccessKey = env[`BERTH_${what.toUpperCase()}_SECRET_ACCESS_KEY`];
  const url = read.url(`${what}-url`, "s3", "file");
  const endpoint = read.text(`${what}-endpoint`);
  if (/^(s3|file):/.test(url))
    check(read, { flag: `${what}-url`, text: url, form: STORAGE_FORM }, what === "store" ? storeFault : storageFault);
  if (endpoint) check(read, { flag: `${what}-endpoint`, text: endpoint, form: ENDPOINT_FORM }, endpointFault);
  if ((accessKeyId === undefined) !== (secretAccessKey === undefined)) {
    read.problems.push(
      `set both BERTH_${what.toUpperCase()}_ACCESS_KEY_ID and BERTH_${what.toUpperCase()}_SECRET_ACCESS_KEY, or neither`,
    );
  }
  return {
    url,
    endpoint,
    region: read.text(`${what}-region`) ?? "us-east-1",
    ...(what === "store" ? { addressing: addressingStyle(read) } : {}),
    ...(accessKeyId && secretAccessKey ? { credentials: { accessKeyId, secretAccessKey } } : {}),
  };
}

function check({ problems }: Reader, { flag, text, form }: Given, faultOf: (text: string) => string | undefined): void {
  const fault = faultOf(text);
  if (fault !== undefined) problems.push(`--${flag} ${shownURL(text)} ${fault}: ${form}`);
}

function addressingStyle(read: Reader): "Path" | "VirtualHost" {
  const text = read.text("store-addressing-style") ?? "Path";
  if (text !== "Path" && text !== "VirtualHost")
    read.problems.push(`--store-addressing-style is "${text}": give Path or VirtualHost`);
  return text === "VirtualHost" ? text : "Path";
}
