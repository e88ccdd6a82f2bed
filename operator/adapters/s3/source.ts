/** A tenant's bucket as an ObjectSource: bounded listing pages, and ranged reads pinned to an ETag. Redirects are never followed. */
import { GetObjectCommand, ListObjectsV2Command } from "@aws-sdk/client-s3";
import type { GetObjectCommandOutput } from "@aws-sdk/client-s3";
import type { Readable } from "node:stream";
import type { ObjectSource, SourceObject } from "../../ports.ts";
import { RetryError, TerminalError } from "../../runtime/errors.ts";
import { newS3Client } from "./client.ts";
import type { S3Access } from "./client.ts";
import { sourceError } from "./errors.ts";

/** Keys come URL-encoded, so that one with a control character does not break the XML; not every server complies. */
function decodedKey(key: string, encoding: string | undefined): string {
  if (encoding !== "url") return key;
  try {
    return decodeURIComponent(key.replaceAll("+", " "));
  } catch {
    return key;
  }
}

/** Total size out of `bytes 0-9/100`; undefined where the server does not tell. */
function totalOf(contentRange: string | undefined): number | undefined {
  const total = /^bytes \d+-\d+\/(\d+)$/.exec(contentRange ?? "")?.[1];
  return total === undefined ? undefined : Number(total);
}

const changed = (object: SourceObject, what: string): RetryError =>
  new RetryError(new TerminalError("SourceChanged", `${object.key.slice(0, 200)} ${what} while it was read`));

/** Reads exactly `lengthBytes` into one buffer; more or less is a fault of the server. */
async function collect(body: Readable, lengthBytes: number, signal: AbortSignal | undefined): Promise<Uint8Array> {
  const bytes = Buffer.allocUnsafe(lengthBytes);
  let at = 0;
  const abort = (): void => void body.destroy(new Error("aborted"));
  signal?.addEventListener("abort", abort, { once: true });
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      if (at + chunk.length > lengthBytes) throw new Error("the server sends more bytes than were asked for");
      at += chunk.copy(bytes, at);
    }
  } finally {
    signal?.removeEventListener("abort", abort);
    body.destroy();
  }
  if (at < lengthBytes) throw new Error(`the answer ended after ${String(at)} of ${String(lengthBytes)} bytes`);
  return bytes;
}

function checkRange(object: SourceObject, lengthBytes: number, answer: GetObjectCommandOutput): void {
  const total = totalOf(answer.ContentRange);
  if (total !== undefined && total !== object.sizeBytes) throw changed(object, "changed its size");
  if (total === undefined && lengthBytes !== object.sizeBytes) throw new Error("the server ignores ranges");
}

export interface S3SourceOptions extends S3Access {
  readonly endpoint: string;
  readonly bucket: string;
}

/** Errors are those of ports.ObjectSource, in the words of the server; see errors.ts. */
export function newS3Source(options: S3SourceOptions): ObjectSource {
  const client = newS3Client(options);
  const { bucket, endpoint, credentials } = options;
  const hidden = credentials
    ? [credentials.accessKeyId, credentials.secretAccessKey, credentials.sessionToken ?? ""]
    : [];
  const place = { endpoint, bucket, hidden };
  return {
    async list(prefix, next) {
      try {
        const request = {
          Bucket: bucket,
          Prefix: prefix,
          MaxKeys: 1000,
          EncodingType: "url" as const,
          ContinuationToken: next,
        };
        const page = await client.send(new ListObjectsV2Command(request));
        const objects = (page.Contents ?? []).map((o) => ({
          key: decodedKey(o.Key ?? "", page.EncodingType),
          sizeBytes: o.Size ?? 0,
          etag: o.ETag ?? "",
        }));
        const more = page.IsTruncated ? page.NextContinuationToken : undefined;
        return more === undefined ? { objects } : { objects, next: more };
      } catch (error) {
        throw sourceError(error, place);
      }
    },
    async read(object, offset, lengthBytes, signal) {
      const range = `bytes=${String(offset)}-${String(offset + lengthBytes - 1)}`;
      const request = { Bucket: bucket, Key: object.key, Range: range, IfMatch: object.etag };
      try {
        const answer = await client.send(new GetObjectCommand(request), signal ? { abortSignal: signal } : {});
        const body = answer.Body as Readable | undefined;
        if (!body) throw new Error("the answer has no body");
        try {
          checkRange(object, lengthBytes, answer);
        } catch (error) {
          body.destroy();
          throw error;
        }
        return await collect(body, lengthBytes, signal);
      } catch (error) {
        throw sourceError(error, { ...place, reading: true });
      }
    },
    close: () => client.destroy(),
  };
}
