/**
 * One large object on its way into a bucket: a multipart upload whose parts the server remembers, and a note below `.incoming/` of
 * which upload is whose. The note is written on a condition, so that of two importers one decides; the other goes on with the
 * same upload. What completes it names the ETag of every part, so that nobody else's bytes can be among them.
 */
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListPartsCommand,
  PutObjectCommand,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import type { CompletedPart, S3Client } from "@aws-sdk/client-s3";
import type { ObjectUpload, UploadPlan } from "../../ports.ts";
import { crc32Text, setHeader, statedBy } from "../s3/checksums.ts";
import { statusOf } from "../s3/errors.ts";
import { copyPart } from "./s3copy.ts";

export interface Place {
  readonly client: S3Client;
  /** Sends what the caller tries again by itself: once. */
  readonly onceClient: S3Client;
  /** The same, for what the server may be at work on for minutes before its first byte. */
  readonly patientClient: S3Client;
  readonly bucket: string;
  /** Empty, or ends with '/'. */
  readonly prefix: string;
}

export const INCOMING = ".incoming/";

/** 412 is "somebody was first"; 409 means that two complete at once: the loser asks again later. */
export async function ifFirst(work: () => Promise<unknown>): Promise<"written" | "exists"> {
  try {
    await work();
    return "written";
  } catch (error) {
    if (statusOf(error) === 412) return "exists";
    throw error;
  }
}

async function orUndefined<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (statusOf(error) === 404) return undefined;
    throw error;
  }
}

interface Note extends UploadPlan {
  readonly uploadId: string;
}

export interface Upload {
  readonly uploadId: string;
  /** Whether the server wants a CRC-32 of each part: older ones refuse a part without, and say nothing of types. */
  readonly wantsCrc32: boolean;
  /** Whether the server keeps a CRC-32 of each part, and compares it. */
  readonly isChecked: boolean;
  /** Whether it keeps one of the whole object too, and not the checksum of checksums. */
  readonly isWholeChecked: boolean;
  /** By S3's number, which begins with 1. */
  readonly parts: Map<number, CompletedPart>;
}

const noteKey = ({ prefix }: Place, key: string): string => `${prefix}${INCOMING}${key}`;

async function readNote(
  place: Place,
  key: string,
): Promise<{ readonly note?: Note; readonly etag?: string } | undefined> {
  const request = new GetObjectCommand({ Bucket: place.bucket, Key: noteKey(place, key) });
  const answer = await orUndefined(place.client.send(request));
  if (!answer) return undefined;
  const text = (await answer.Body?.transformToString()) ?? "";
  const etag = answer.ETag === undefined ? {} : { etag: answer.ETag };
  try {
    const note = JSON.parse(text) as Partial<Note> | null;
    return typeof note?.uploadId === "string" ? { ...etag, note: note as Note } : etag;
  } catch {
    return etag;
  }
}

interface Told {
  readonly ChecksumAlgorithm?: string | undefined;
  readonly ChecksumType?: string | undefined;
}

/** By what the server says of the upload, not by what was asked for: an upload of composite checksums cannot be completed by the object's. */
function checksOf({ ChecksumAlgorithm, ChecksumType }: Told): Omit<Upload, "uploadId" | "parts"> {
  const wantsCrc32 = ChecksumAlgorithm === "CRC32";
  const isChecked = wantsCrc32 && ChecksumType !== undefined;
  return { wantsCrc32, isChecked, isWholeChecked: isChecked && ChecksumType === "FULL_OBJECT" };
}

/** undefined where the server does not know the upload any more. */
async function listParts(
  { client, bucket, prefix }: Place,
  key: string,
  uploadId: string,
): Promise<Upload | undefined> {
  const parts = new Map<number, CompletedPart>();
  let checks = checksOf({});
  for (let marker: string | undefined; ;) {
    const request = { Bucket: bucket, Key: prefix + key, UploadId: uploadId, PartNumberMarker: marker };
    const page = await orUndefined(client.send(new ListPartsCommand(request)));
    if (!page) return undefined;
    checks = checksOf(page);
    for (const { PartNumber = 0, ETag, ChecksumCRC32 } of page.Parts ?? [])
      parts.set(PartNumber, { PartNumber, ETag, ChecksumCRC32 });
    const next = page.IsTruncated ? page.NextPartNumberMarker : undefined;
    if (next === undefined || next === marker) return { uploadId, ...checks, parts };
    marker = next;
  }
}

async function abort({ client, bucket, prefix }: Place, key: string, UploadId: string): Promise<void> {
  await orUndefined(client.send(new AbortMultipartUploadCommand({ Bucket: bucket, Key: prefix + key, UploadId })));
}

/** Servers that know no such checksums refuse them or leave them out of their answer. */
async function create({ client, bucket, prefix }: Place, key: string): Promise<Upload> {
  const target = { Bucket: bucket, Key: prefix + key };
  const checked = { ...target, ChecksumAlgorithm: "CRC32" as const, ChecksumType: "FULL_OBJECT" as const };
  const answer = await client.send(new CreateMultipartUploadCommand(checked)).catch((error: unknown) => {
    if (statusOf(error) !== 400 && statusOf(error) !== 501) throw error;
    return client.send(new CreateMultipartUploadCommand(target));
  });
  if (answer.UploadId === undefined) throw new Error("the store begins no upload");
  return { uploadId: answer.UploadId, ...checksOf(answer), parts: new Map() };
}

const isOf = (note: Note | undefined, plan: UploadPlan): note is Note =>
  note?.content === plan.content && note.sizeBytes === plan.sizeBytes && note.partBytes === plan.partBytes;

const noteText = (plan: UploadPlan, uploadId: string): string => JSON.stringify({ ...plan, uploadId });

/** Writes the note again where it still says this: what stands there is then as old as this. */
async function touchNote(place: Place, key: string, plan: UploadPlan, uploadId: string): Promise<void> {
  const { note, etag } = (await readNote(place, key)) ?? {};
  if (note?.uploadId !== uploadId || etag === undefined) return;
  const target = { Bucket: place.bucket, Key: noteKey(place, key) };
  const put = { ...target, Body: noteText(plan, uploadId), IfMatch: etag };
  await ifFirst(() => place.client.send(new PutObjectCommand(put)));
}

/** The upload that the note names where it is of this plan, else a new one, which the note then names. */
async function find(place: Place, key: string, plan: UploadPlan): Promise<Upload> {
  const found = await readNote(place, key);
  const { note, etag } = found ?? {};
  const known = isOf(note, plan) ? await listParts(place, key, note.uploadId) : undefined;
  if (known) return known;
  if (note) await abort(place, key, note.uploadId);
  const upload = await create(place, key);
  const condition = found ? (etag === undefined ? {} : { IfMatch: etag }) : { IfNoneMatch: "*" };
  const target = { Bucket: place.bucket, Key: noteKey(place, key) };
  const put = { ...target, Body: noteText(plan, upload.uploadId), ...condition };
  try {
    if ((await ifFirst(() => place.client.send(new PutObjectCommand(put)))) === "written") return upload;
  } catch (error) {
    await abort(place, key, upload.uploadId).catch(() => undefined);
    throw error;
  }
  await abort(place, key, upload.uploadId);
  throw new Error("another import began with this file at the same time");
}

async function sendPart(
  place: Place,
  key: string,
  upload: Upload,
  [number, bytes, crc32]: Parameters<ObjectUpload["part"]>,
) {
  const PartNumber = number + 1;
  const target = { Bucket: place.bucket, Key: place.prefix + key, UploadId: upload.uploadId, PartNumber };
  const checksum = upload.wantsCrc32 ? { ChecksumCRC32: crc32Text(crc32) } : {};
  const command = new UploadPartCommand({ ...target, Body: bytes, ...checksum });
  // The checksum vouches for the bytes: a SHA-256 of the body for the signature would cost as much CPU as all the rest.
  if (upload.isChecked) setHeader(command, "x-amz-content-sha256", "UNSIGNED-PAYLOAD");
  const { ETag, ChecksumCRC32 } = await place.onceClient.send(command);
  if (upload.wantsCrc32 && ChecksumCRC32 !== undefined && ChecksumCRC32 !== checksum.ChecksumCRC32)
    throw new Error(`the store took part ${String(number)} with another checksum`);
  upload.parts.set(PartNumber, { PartNumber, ETag, ...checksum });
}

interface Completion {
  readonly upload: Upload;
  readonly crc32: number | undefined;
  readonly signal: AbortSignal | undefined;
}

/** What stands there is not what was sent: it is removed, and no later answer makes it good. */
class OtherChecksum extends Error {}

async function complete(place: Place, key: string, { upload, crc32, signal }: Completion): Promise<void> {
  const Parts = [...upload.parts.values()].sort((a, b) => (a.PartNumber ?? 0) - (b.PartNumber ?? 0));
  const target = { Bucket: place.bucket, Key: place.prefix + key };
  const isWholeChecked = upload.isWholeChecked && crc32 !== undefined;
  const whole = isWholeChecked ? { ChecksumCRC32: crc32Text(crc32), ChecksumType: "FULL_OBJECT" as const } : {};
  const command = { ...target, UploadId: upload.uploadId, MultipartUpload: { Parts }, IfNoneMatch: "*", ...whole };
  const options = signal ? { abortSignal: signal } : {};
  const answer = await place.patientClient.send(new CompleteMultipartUploadCommand(command), options);
  const { ChecksumCRC32, ChecksumType } = answer;
  const stored = statedBy({ type: ChecksumType, crc32: ChecksumCRC32, sha256: undefined }).crc32;
  if (stored === undefined || crc32 === undefined || stored === crc32) return;
  throw new OtherChecksum(`the store completed ${key} with another checksum than its parts have`);
}

/** Where the upload is gone, an earlier call may have completed it whose answer was lost: the caller knows what alone may stand there. */
async function completeOnce(place: Place, key: string, completion: Completion): Promise<"written" | "exists"> {
  try {
    return await ifFirst(() => complete(place, key, completion));
  } catch (error) {
    const target = { Bucket: place.bucket, Key: place.prefix + key };
    const isGone = statusOf(error) === 404;
    if (isGone && (await orUndefined(place.client.send(new HeadObjectCommand(target))))) return "exists";
    throw error;
  }
}

/** CRC-32 of the parts whose bytes the server vouches for; a part without one is brought again. */
function foundParts({ parts }: Upload): Map<number, number> {
  const found = new Map<number, number>();
  for (const [number, { ChecksumCRC32 }] of parts) {
    const { crc32 } = statedBy({ type: undefined, crc32: ChecksumCRC32, sha256: undefined });
    if (crc32 !== undefined) found.set(number - 1, crc32);
  }
  return found;
}

type S3Upload = ObjectUpload & Required<Pick<ObjectUpload, "copyPart">>;

/** Everything that is thrown is raw: the store translates it. */
export async function openS3Upload(place: Place, key: string, plan: UploadPlan): Promise<S3Upload> {
  const upload = await find(place, key, plan);
  let spoilt: OtherChecksum | undefined;
  const forgetNote = (): Promise<unknown> =>
    place.client.send(new DeleteObjectCommand({ Bucket: place.bucket, Key: noteKey(place, key) }));
  return {
    found: foundParts(upload),
    part: (...part) => sendPart(place, key, upload, part),
    copyPart: (...part) => copyPart(place, key, upload, part),
    touch: () => touchNote(place, key, plan, upload.uploadId),
    canCommitAgain: true,
    commit: async (crc32, signal) => {
      try {
        if (spoilt) throw spoilt;
        const outcome = await completeOnce(place, key, { upload, crc32, signal });
        await forgetNote();
        return outcome;
      } catch (error) {
        if (!(error instanceof OtherChecksum)) throw error;
        spoilt = error;
        await place.client.send(new DeleteObjectCommand({ Bucket: place.bucket, Key: place.prefix + key }));
        throw error;
      }
    },
    leave: () => Promise.resolve(),
    abort: async () => {
      await abort(place, key, upload.uploadId);
      await forgetNote();
    },
  };
}
