/** A page of a bucket's listing, as the server's XML has it: what is judged of keys and sizes is judged by others. */
import { ListObjectsV2Command } from "@aws-sdk/client-s3";
import type { S3Client } from "@aws-sdk/client-s3";
import type { ObjectSource } from "../../ports.ts";
import { TerminalError } from "../../runtime/errors.ts";

/** Keys come URL-encoded, so that one with a control character does not break the XML; not every server complies. */
function decodedKey(key: string, encoding: string | undefined): string {
  if (encoding !== "url") return key;
  try {
    return decodeURIComponent(key.replaceAll("+", " "));
  } catch {
    return key;
  }
}

/** Servers of before ListObjectsV2 answer so; what is there of the listing would pass for the whole model. */
function unfinished(): TerminalError {
  const what = "the source's listing goes on, but does not say where (IsTruncated without NextContinuationToken)";
  const remedy = "check spec.source.s3.endpoint, what answers there does not list as S3 does (ListObjectsV2)";
  return new TerminalError("ListingInvalid", `${what}: ${remedy}`);
}

/** Throws what the SDK throws, and TerminalError for a page that ends in the middle. */
export async function listPage(
  { client, bucket }: { readonly client: S3Client; readonly bucket: string },
  prefix: string,
  next: string | undefined,
  abortSignal?: AbortSignal,
): ReturnType<ObjectSource["list"]> {
  const request = {
    Bucket: bucket,
    Prefix: prefix,
    MaxKeys: 1000,
    EncodingType: "url" as const,
    ContinuationToken: next,
  };
  const page = await client.send(new ListObjectsV2Command(request), abortSignal && { abortSignal });
  const objects = (page.Contents ?? []).map((o) => ({
    key: decodedKey(o.Key ?? "", page.EncodingType),
    sizeBytes: o.Size ?? 0,
    etag: o.ETag ?? "",
  }));
  if (!page.IsTruncated) return { objects };
  if (!page.NextContinuationToken) throw unfinished();
  return { objects, next: page.NextContinuationToken };
}
