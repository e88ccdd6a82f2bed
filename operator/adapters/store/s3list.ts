/** What stands in a bucket, and what is on its way into it. */
import {
  AbortMultipartUploadCommand,
  DeleteObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  ListPartsCommand,
} from "@aws-sdk/client-s3";
import type { ListMultipartUploadsCommandOutput } from "@aws-sdk/client-s3";
import type { ListedObject } from "../../ports.ts";
import { statusOf } from "../s3/errors.ts";
import { INCOMING } from "./s3upload.ts";
import type { Place } from "./s3upload.ts";

export async function* listAll({ client, bucket, prefix }: Place, below: string): AsyncIterable<ListedObject> {
  let next: string | undefined;
  do {
    const request = { Bucket: bucket, Prefix: prefix + below, ContinuationToken: next };
    const page = await client.send(new ListObjectsV2Command(request));
    for (const object of page.Contents ?? []) {
      if (below === "" && object.Key?.startsWith(prefix + INCOMING)) continue;
      const modifiedAtMs = object.LastModified?.getTime() ?? 0;
      yield { key: (object.Key ?? "").slice(prefix.length), sizeBytes: object.Size ?? 0, modifiedAtMs };
    }
    next = page.IsTruncated ? page.NextContinuationToken : undefined;
  } while (next !== undefined);
}

/** Uploads in parts; their bytes are not told. Notes whose upload is gone count as well: somebody must take them away. */
export async function* openUploads(place: Place, below: string): AsyncIterable<ListedObject> {
  // Notes first: one whose upload ends meanwhile is then told, which is no harm, and none is overlooked.
  const notes = new Map<string, ListedObject>();
  for await (const note of listAll(place, INCOMING + below)) notes.set(note.key.slice(INCOMING.length), note);
  for await (const upload of multipartUploads(place, below)) {
    const notedAtMs = notes.get(upload.key)?.modifiedAtMs ?? 0;
    notes.delete(upload.key);
    yield { ...upload, modifiedAtMs: Math.max(upload.modifiedAtMs, notedAtMs) };
  }
  for (const [key, note] of notes) yield { ...note, key, sizeBytes: 0 };
}

type UploadsPage = Pick<
  ListMultipartUploadsCommandOutput,
  "Uploads" | "IsTruncated" | "NextKeyMarker" | "NextUploadIdMarker"
>;

/**
 * versitygw (1.8) refuses the id that it gave for the next page and goes on by the key alone, which passes over further uploads of that key:
 * they are asked for by it.
 */
async function uploadsBehind({ client, bucket }: Place, Prefix: string, key: string): Promise<UploadsPage> {
  const ofKey = await client.send(new ListMultipartUploadsCommand({ Bucket: bucket, Prefix: key }));
  const page = await client.send(new ListMultipartUploadsCommand({ Bucket: bucket, Prefix, KeyMarker: key }));
  const again = (ofKey.Uploads ?? []).filter(({ Key }) => Key === key);
  return { ...page, Uploads: [...again, ...(page.Uploads ?? [])] };
}

async function* multipartUploads(place: Place, below: string): AsyncIterable<ListedObject> {
  const { client, bucket, prefix } = place;
  let next: { KeyMarker?: string; UploadIdMarker?: string | undefined } = {};
  for (;;) {
    const { KeyMarker, UploadIdMarker } = next;
    const request = { Bucket: bucket, Prefix: prefix + below, ...next };
    const page: UploadsPage = await client.send(new ListMultipartUploadsCommand(request)).catch((error: unknown) => {
      if (statusOf(error) !== 400 || KeyMarker === undefined || UploadIdMarker === undefined) throw error;
      return uploadsBehind(place, prefix + below, KeyMarker);
    });
    for (const { Key = "", UploadId = "", Initiated } of page.Uploads ?? []) {
      if (!Key.startsWith(prefix + below)) continue;
      const modifiedAtMs = Math.max(Initiated?.getTime() ?? 0, await lastPartMs(place, Key, UploadId));
      yield { key: Key.slice(prefix.length), sizeBytes: 0, modifiedAtMs };
    }
    if (!page.IsTruncated || page.NextKeyMarker === undefined) return;
    next = { KeyMarker: page.NextKeyMarker, UploadIdMarker: page.NextUploadIdMarker };
  }
}

/** When the newest part came, which the listing of uploads does not say; 0 where there is none, or the upload is over. */
async function lastPartMs({ client, bucket }: Place, Key: string, UploadId: string): Promise<number> {
  let lastMs = 0;
  for (let marker: string | undefined; ;) {
    const request = { Bucket: bucket, Key, UploadId, PartNumberMarker: marker };
    const page = await client.send(new ListPartsCommand(request)).catch((error: unknown) => {
      if (statusOf(error) !== 404) throw error;
      return undefined;
    });
    for (const { LastModified } of page?.Parts ?? []) lastMs = Math.max(lastMs, LastModified?.getTime() ?? 0);
    const next = page?.IsTruncated ? page.NextPartNumberMarker : undefined;
    if (next === undefined || next === marker) return lastMs;
    marker = next;
  }
}

export async function abortAll(place: Place, below: string): Promise<void> {
  const { client, bucket, prefix } = place;
  for await (const { key } of listAll(place, INCOMING + below))
    await client.send(new DeleteObjectCommand({ Bucket: bucket, Key: prefix + key }));
  for (;;) {
    const page = await client.send(new ListMultipartUploadsCommand({ Bucket: bucket, Prefix: prefix + below }));
    const uploads = (page.Uploads ?? []).filter((upload) => upload.Key?.startsWith(prefix + below));
    for (const { Key, UploadId } of uploads) {
      await client.send(new AbortMultipartUploadCommand({ Bucket: bucket, Key, UploadId })).catch((error: unknown) => {
        if (statusOf(error) !== 404) throw error;
      });
    }
    if (!page.IsTruncated || uploads.length === 0) return;
  }
}
