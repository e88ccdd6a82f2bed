/** The store in an S3 bucket: single puts for small objects, multipart for large ones, both committed with If-None-Match. */
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import type { CompletedPart, S3Client } from "@aws-sdk/client-s3";
import type { Readable } from "node:stream";
import type { ListedObject, ObjectStore, ObjectUpload, StoredObject } from "../../ports.ts";
import { newS3Client } from "../s3/client.ts";
import type { S3Access } from "../s3/client.ts";
import { statusOf, storeError } from "../s3/errors.ts";
import { presignGet } from "../s3/presign.ts";

interface Place {
  readonly client: S3Client;
  readonly bucket: string;
  /** Empty, or ends with '/'. */
  readonly prefix: string;
}

/** 412 is "somebody was first"; 409 means that two complete at once: the loser asks again later. */
async function ifFirst(work: () => Promise<unknown>): Promise<"written" | "exists"> {
  try {
    await work();
    return "written";
  } catch (error) {
    if (statusOf(error) === 412) return "exists";
    throw error;
  }
}

/** An object of one part: nothing is sent before commit. */
function smallUpload({ client, bucket, prefix }: Place, key: string): ObjectUpload {
  let body: Uint8Array = new Uint8Array(0);
  const command = () => new PutObjectCommand({ Bucket: bucket, Key: prefix + key, Body: body, IfNoneMatch: "*" });
  return {
    part: (_number, bytes) => {
      body = bytes;
      return Promise.resolve();
    },
    commit: () => ifFirst(() => client.send(command())),
    abort: () => Promise.resolve(),
  };
}

async function largeUpload({ client, bucket, prefix }: Place, key: string): Promise<ObjectUpload> {
  const target = { Bucket: bucket, Key: prefix + key };
  const { UploadId } = await client.send(new CreateMultipartUploadCommand(target));
  const parts = new Map<number, CompletedPart>();
  return {
    part: async (number, bytes) => {
      const PartNumber = number + 1;
      const done = await client.send(new UploadPartCommand({ ...target, UploadId, PartNumber, Body: bytes }));
      parts.set(PartNumber, { PartNumber, ETag: done.ETag });
    },
    commit: () => {
      const Parts = [...parts.values()].sort((a, b) => (a.PartNumber ?? 0) - (b.PartNumber ?? 0));
      const command = { ...target, UploadId, MultipartUpload: { Parts }, IfNoneMatch: "*" };
      return ifFirst(() => client.send(new CompleteMultipartUploadCommand(command)));
    },
    abort: async () => {
      await client.send(new AbortMultipartUploadCommand({ ...target, UploadId }));
    },
  };
}

async function* listAll({ client, bucket, prefix }: Place, below: string): AsyncIterable<ListedObject> {
  let next: string | undefined;
  do {
    const request = { Bucket: bucket, Prefix: prefix + below, ContinuationToken: next };
    const page = await client.send(new ListObjectsV2Command(request));
    for (const object of page.Contents ?? []) {
      const modifiedAtMs = object.LastModified?.getTime() ?? 0;
      yield { key: (object.Key ?? "").slice(prefix.length), sizeBytes: object.Size ?? 0, modifiedAtMs };
    }
    next = page.IsTruncated ? page.NextContinuationToken : undefined;
  } while (next !== undefined);
}

/** Uploads in parts; their bytes are not told. */
async function* openUploads({ client, bucket, prefix }: Place, below: string): AsyncIterable<ListedObject> {
  let next: { KeyMarker?: string; UploadIdMarker?: string } = {};
  for (;;) {
    const request = { Bucket: bucket, Prefix: prefix + below, ...next };
    const page = await client.send(new ListMultipartUploadsCommand(request));
    for (const { Key = "", Initiated } of page.Uploads ?? []) {
      if (!Key.startsWith(prefix + below)) continue;
      yield { key: Key.slice(prefix.length), sizeBytes: 0, modifiedAtMs: Initiated?.getTime() ?? 0 };
    }
    if (!page.IsTruncated || page.NextKeyMarker === undefined) return;
    next = { KeyMarker: page.NextKeyMarker, UploadIdMarker: page.NextUploadIdMarker };
  }
}

async function abortAll({ client, bucket, prefix }: Place, below: string): Promise<void> {
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

async function getWhole(
  { client, bucket, prefix }: Place,
  key: string,
  maxBytes: number,
): Promise<Uint8Array | undefined> {
  try {
    const answer = await client.send(new GetObjectCommand({ Bucket: bucket, Key: prefix + key }));
    if ((answer.ContentLength ?? 0) > maxBytes) {
      (answer.Body as { destroy?: () => void } | undefined)?.destroy?.();
      throw new Error(`${key} has ${String(answer.ContentLength)} bytes, more than expected`);
    }
    return (await answer.Body?.transformToByteArray()) ?? new Uint8Array(0);
  } catch (error) {
    if ((error as { name?: string }).name === "NoSuchKey") return undefined;
    throw error;
  }
}

async function getRange(place: Place, key: string, offset: number, lengthBytes: number): Promise<Uint8Array> {
  const range = `bytes=${String(offset)}-${String(offset + lengthBytes - 1)}`;
  try {
    const request = { Bucket: place.bucket, Key: place.prefix + key, Range: range };
    const answer = await place.client.send(new GetObjectCommand(request));
    return (await answer.Body?.transformToByteArray()) ?? new Uint8Array(0);
  } catch (error) {
    if (statusOf(error) === 416) return new Uint8Array(0);
    throw error;
  }
}

/** Not the SDK's retries but the reader's own: a body that breaks off in the middle is an error of the loop over it. */
async function streamRange(
  place: Place,
  key: string,
  [offset, lengthBytes]: readonly [number, number],
  signal: AbortSignal | undefined,
): Promise<AsyncIterable<Uint8Array>> {
  const range = `bytes=${String(offset)}-${String(offset + lengthBytes - 1)}`;
  const request = { Bucket: place.bucket, Key: place.prefix + key, Range: range };
  const answer = await place.client.send(new GetObjectCommand(request), signal ? { abortSignal: signal } : {});
  const body = answer.Body as Readable | undefined;
  if (!body) throw new Error("the answer has no body");
  // A server that ignores ranges would send the object's beginning in place of its middle.
  if (answer.ContentRange?.startsWith(`bytes ${String(offset)}-`) || (offset === 0 && !answer.ContentRange))
    return body;
  body.destroy();
  throw new Error("the server ignores ranges");
}

/** Every method with its errors translated; the methods of an upload too. */
function guarded(
  place: Place,
  guard: <T>(work: () => Promise<T>) => Promise<T>,
): Omit<ObjectStore, "url" | "list" | "listUploads" | "close"> {
  const { client, bucket, prefix } = place;
  const target = (key: string) => ({ Bucket: bucket, Key: prefix + key });
  const head = async (key: string): Promise<StoredObject | undefined> => {
    try {
      return { key, sizeBytes: (await client.send(new HeadObjectCommand(target(key)))).ContentLength ?? 0 };
    } catch (error) {
      if (statusOf(error) === 404) return undefined;
      throw error;
    }
  };
  return {
    head: (key) => guard(() => head(key)),
    get: (key, maxBytes) => guard(() => getWhole(place, key, maxBytes)),
    read: (key, offset, lengthBytes) => guard(() => getRange(place, key, offset, lengthBytes)),
    stream: (key, offset, lengthBytes, signal) => guard(() => streamRange(place, key, [offset, lengthBytes], signal)),
    put: (key, bytes, options) => {
      const condition = options?.ifAbsent ? { IfNoneMatch: "*" } : {};
      return guard(() =>
        ifFirst(() => client.send(new PutObjectCommand({ ...target(key), Body: bytes, ...condition }))),
      );
    },
    upload: async (key, sizeBytes, partBytes) => {
      const upload = await guard(() =>
        sizeBytes <= partBytes ? Promise.resolve(smallUpload(place, key)) : largeUpload(place, key),
      );
      return {
        part: (number, bytes) => guard(() => upload.part(number, bytes)),
        commit: () => guard(() => upload.commit()),
        abort: () => guard(() => upload.abort()),
      };
    },
    remove: (key) => guard(async () => void (await client.send(new DeleteObjectCommand(target(key))))),
    abortUploads: (below) => guard(() => abortAll(place, below)),
  };
}

export interface S3StoreOptions extends S3Access {
  readonly bucket: string;
  /** Folder inside the bucket; empty for its root. */
  readonly prefix: string;
}

export function newS3Store(options: S3StoreOptions): ObjectStore {
  const { bucket, credentials } = options;
  const trimmed = options.prefix.replace(/^\/+|\/+$/g, "");
  const place: Place = { client: newS3Client(options), bucket, prefix: trimmed === "" ? "" : `${trimmed}/` };
  const url = `s3://${bucket}/${trimmed}`;
  const hidden = credentials ? [credentials.accessKeyId, credentials.secretAccessKey] : [];
  const guard = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      throw storeError(error, url, hidden);
    }
  };
  async function* told(listing: AsyncIterable<ListedObject>): AsyncIterable<ListedObject> {
    try {
      yield* listing;
    } catch (error) {
      throw storeError(error, url, hidden);
    }
  }
  const list = (below: string): AsyncIterable<ListedObject> => told(listAll(place, below));
  const listUploads = (below: string): AsyncIterable<ListedObject> => told(openUploads(place, below));
  const presign = (key: string, seconds: number): Promise<string> =>
    guard(() => presignGet(place.client, { bucket, key: place.prefix + key, seconds }));
  return {
    url,
    ...guarded(place, guard),
    ...(credentials ? { presign } : {}),
    list,
    listUploads,
    close: () => place.client.destroy(),
  };
}
