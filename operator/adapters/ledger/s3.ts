/** A ledger in an S3 bucket. A write carries `If-None-Match: *`: 412 says that the object is there, 409 that another write is on its way. */
import { DeleteObjectCommand, GetObjectCommand, ListObjectsV2Command, PutObjectCommand } from "@aws-sdk/client-s3";
import type { S3Client } from "@aws-sdk/client-s3";

import { RetryError, TerminalError, messageOf } from "../../runtime/errors.ts";
import type { PlainLedger } from "./compression.ts";
import { checkKey } from "./keys.ts";
import { probeLedger } from "./probe.ts";

export interface S3LedgerPlace {
  readonly client: S3Client;
  readonly bucket: string;
  /** Without slashes at its ends; empty for the whole bucket. */
  readonly prefix: string;
}

export function newS3Ledger(place: S3LedgerPlace): PlainLedger {
  const { client, bucket } = place;
  const root = place.prefix === "" ? "" : `${place.prefix}/`;
  const at = (key: string) => ({ Bucket: bucket, Key: root + checkKey(key) });
  const plain: Omit<PlainLedger, "probe"> = {
    putOnce: (key, body) => translated(bucket, () => putOnce(client, { ...at(key), Body: body })),
    get: (key) => translated(bucket, () => getWhole(client, at(key))),
    list: (prefix, options) => translated(bucket, () => listKeys(place, root, prefix, options?.startAfter)),
    async remove(key) {
      await translated(bucket, () => client.send(new DeleteObjectCommand(at(key))));
    },
  };
  return { ...plain, probe: () => probeLedger(plain) };
}

interface Place {
  readonly Bucket: string;
  readonly Key: string;
}

async function putOnce(client: S3Client, object: Place & { readonly Body: Uint8Array }): Promise<"created" | "exists"> {
  try {
    await client.send(new PutObjectCommand({ ...object, IfNoneMatch: "*", ContentLength: object.Body.byteLength }));
    return "created";
  } catch (error) {
    if (statusOf(error) === 412) return "exists";
    throw error;
  }
}

async function getWhole(client: S3Client, place: Place): Promise<Uint8Array | undefined> {
  try {
    const answer = await client.send(new GetObjectCommand(place));
    const bytes = await answer.Body?.transformToByteArray();
    if (bytes && answer.ContentLength !== undefined && bytes.byteLength !== answer.ContentLength) {
      throw new Error(`${place.Key} was cut off: ${bytes.byteLength} of ${answer.ContentLength} bytes`);
    }
    return bytes;
  } catch (error) {
    if (nameOf(error) === "NoSuchKey" || (statusOf(error) === 404 && nameOf(error) !== "NoSuchBucket"))
      return undefined;
    throw error;
  }
}

async function listKeys(
  { client, bucket }: S3LedgerPlace,
  root: string,
  prefix: string,
  startAfter: string | undefined,
): Promise<string[]> {
  const keys: string[] = [];
  let token: string | undefined;
  do {
    const page = await client.send(
      new ListObjectsV2Command({
        Bucket: bucket,
        Prefix: root + prefix,
        ...(startAfter === undefined ? {} : { StartAfter: root + startAfter }),
        ...(token === undefined ? {} : { ContinuationToken: token }),
      }),
    );
    for (const { Key } of page.Contents ?? []) if (Key !== undefined) keys.push(Key.slice(root.length));
    token = page.IsTruncated ? page.NextContinuationToken : undefined;
  } while (token !== undefined);
  // A server may ignore StartAfter or sort otherwise.
  return keys.filter((key) => key > (startAfter ?? "")).sort();
}

function statusOf(error: unknown): number | undefined {
  if (!(error instanceof Error) || !("$metadata" in error)) return undefined;
  const metadata = error.$metadata as { readonly httpStatusCode?: number } | undefined;
  return metadata?.httpStatusCode;
}

function nameOf(error: unknown): string {
  return error instanceof Error ? error.name : "";
}

async function translated<T>(bucket: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    if (error instanceof TerminalError) throw error;
    if (nameOf(error) === "NoSuchBucket") {
      const message = `the ledger's bucket ${bucket} does not exist: create it, or correct --ledger-url`;
      throw new TerminalError("LedgerBucketMissing", message, { cause: error });
    }
    if (statusOf(error) === 403 || statusOf(error) === 401) {
      const message = `the ledger's store refuses access to bucket ${bucket} (${nameOf(error)}: ${messageOf(error)}): check BERTH_LEDGER_ACCESS_KEY_ID and its policy`;
      throw new TerminalError("LedgerAccessDenied", message, { cause: error });
    }
    throw new RetryError(error);
  }
}
