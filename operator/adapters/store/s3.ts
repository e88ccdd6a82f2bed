/** The store in an S3 bucket: single puts for small objects, multipart for large ones (s3upload.ts), both committed with If-None-Match. */
import { DeleteObjectCommand, GetObjectCommand, HeadObjectCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import type { Readable } from "node:stream";
import type { ListedObject, ObjectStore, PutOptions, StoredObject } from "../../ports.ts";
import { newS3Client, wordsOf } from "../s3/client.ts";
import type { S3Access } from "../s3/client.ts";
import { copyError, statusOf, storeError } from "../s3/errors.ts";
import { presignGet } from "../s3/presign.ts";
import { serviceOf } from "../s3/service.ts";
import { abortAll, listAll, openUploads } from "./s3list.ts";
import { ifFirst, openS3Upload } from "./s3upload.ts";
import type { Place } from "./s3upload.ts";

function putWhole(
  { client, onceClient, bucket, prefix }: Place,
  key: string,
  bytes: Uint8Array,
  { ifAbsent = false, isTriedOnce = false }: PutOptions = {},
): Promise<"written" | "exists"> {
  const condition = ifAbsent ? { IfNoneMatch: "*" } : {};
  const put = { Bucket: bucket, Key: prefix + key, Body: bytes, ...condition };
  return ifFirst(() => (isTriedOnce ? onceClient : client).send(new PutObjectCommand(put)));
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

type Guard = <T>(work: () => Promise<T>, translate?: typeof copyError) => Promise<T>;

/** Every method with its errors translated; the methods of an upload too. */
function guarded(place: Place, guard: Guard): Omit<ObjectStore, "url" | "list" | "listUploads" | "close"> {
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
    put: (key, bytes, options) => guard(() => putWhole(place, key, bytes, options)),
    upload: async (key, plan) => {
      const upload = await guard(() => openS3Upload(place, key, plan));
      return {
        ...upload,
        part: (...part) => guard(() => upload.part(...part)),
        copyPart: (...part) => guard(() => upload.copyPart(...part), copyError),
        touch: () => guard(() => upload.touch()),
        commit: (crc32, signal) => guard(() => upload.commit(crc32, signal)),
        abort: () => guard(() => upload.abort()),
      };
    },
    readsBack: false,
    remove: (key) => guard(async () => void (await client.send(new DeleteObjectCommand(target(key))))),
    abortUploads: (below) => guard(() => abortAll(place, below)),
  };
}

export interface S3StoreOptions extends S3Access {
  readonly bucket: string;
  /** Folder inside the bucket; empty for its root. */
  readonly prefix: string;
}

/** Puts what fails into the store's words, without those of the credentials. */
function translator(url: string, hidden: readonly string[]) {
  const guard: Guard = async (work, translate = storeError) => {
    try {
      return await work();
    } catch (error) {
      throw translate(error, url, hidden);
    }
  };
  async function* told(listing: AsyncIterable<ListedObject>): AsyncIterable<ListedObject> {
    try {
      yield* listing;
    } catch (error) {
      throw storeError(error, url, hidden);
    }
  }
  return { guard, told };
}

/** Servers that put the parts together only then may say nothing for minutes; AWS speaks of several. */
const LONGEST_COMPLETION_MS = 10 * 60_000;

export function newS3Store(options: S3StoreOptions): ObjectStore {
  const { bucket, credentials } = options;
  const trimmed = options.prefix.replace(/^\/+|\/+$/g, "");
  const place: Place = {
    client: newS3Client(options),
    onceClient: newS3Client({ ...options, maxAttempts: 1 }),
    patientClient: newS3Client({ ...options, maxAttempts: 1, idleTimeoutMs: LONGEST_COMPLETION_MS }),
    bucket,
    prefix: trimmed === "" ? "" : `${trimmed}/`,
  };
  const url = `s3://${bucket}/${trimmed}`;
  const { guard, told } = translator(url, credentials ? wordsOf(credentials) : []);
  const list = (below: string): AsyncIterable<ListedObject> => told(listAll(place, below));
  const listUploads = (below: string): AsyncIterable<ListedObject> => told(openUploads(place, below));
  const presign = (key: string, seconds: number): Promise<string> =>
    guard(() => presignGet(place.client, { bucket, key: place.prefix + key, seconds }));
  return {
    url,
    service: serviceOf(options),
    ...guarded(place, guard),
    ...(credentials ? { presign } : {}),
    list,
    listUploads,
    close() {
      place.client.destroy();
      place.onceClient.destroy();
      place.patientClient.destroy();
    },
  };
}
