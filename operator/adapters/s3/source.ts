/**
 * A tenant's bucket as an ObjectSource: bounded listing pages, and ranged reads pinned to an ETag and, where the bucket keeps versions,
 * to the version that was read first. Redirects are never followed.
 */
import { GetObjectCommand, HeadObjectCommand } from "@aws-sdk/client-s3";
import type { S3Client } from "@aws-sdk/client-s3";
import type { Readable } from "node:stream";
import type { CopyOrigin, Filled, ObjectReader, ObjectSource, SourceObject, StatedChecksums } from "../../ports.ts";
import { BulkTarget, newBulkGetter } from "./bulk.ts";
import type { BulkGetter, BulkSink } from "./bulk.ts";
import { statedBy, wantsStated } from "./checksums.ts";
import { newS3Client, originOf } from "./client.ts";
import type { S3Access, S3Credentials } from "./client.ts";
import { sourceError } from "./errors.ts";
import type { S3Place } from "./errors.ts";
import { askedForLess } from "./fallbacks.ts";
import type { Extras, Terms } from "./fallbacks.ts";
import { listPage } from "./listpage.ts";
import { newObjectReader } from "./objectreader.ts";
import { newRenewal } from "./renewal.ts";
import { changed, checkRange, checkRest, saidBy } from "./said.ts";
import type { Said } from "./said.ts";
import { serviceOf } from "./service.ts";

/** Reads exactly `into.length` bytes; more or less is a fault of the server. */
async function collect(body: Readable, target: BulkTarget, signal: AbortSignal | undefined): Promise<void> {
  const abort = (): void => void body.destroy(new Error("aborted"));
  signal?.addEventListener("abort", abort, { once: true });
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) target.take(chunk);
  } finally {
    signal?.removeEventListener("abort", abort);
    body.destroy();
  }
}

/** Asked for as a whole, an object is as long as its answer: another length than the listing's is another object. */
function isOtherLength(object: SourceObject, lengthBytes: number, target: BulkTarget): boolean {
  const told = target.headers.get("content-length");
  const isWhole = lengthBytes === object.sizeBytes && !target.headers.has("content-range");
  return target.isBody && isWhole && told !== undefined && Number(told) !== lengthBytes;
}

interface Reading extends Terms {
  readonly client: S3Client;
  readonly bucket: string;
  /** Brings bytes below the SDK, where there is a way. */
  readonly get: BulkGetter | undefined;
}

/** As JSON: plan/model/entries.ts counts on no more in the record of an import. S3's own have 32; a longer one pins nothing. */
const MAX_VERSION_BYTES = 256;

const pinOf = ({ key, etag }: SourceObject): string => `${etag} ${key}`;

/** Some bytes of an object, and where they go. */
interface Wanted extends Extras {
  readonly object: SourceObject;
  readonly offset: number;
  readonly lengthBytes: number;
  /** The whole of an object is asked for without a range: servers state checksums only then. */
  readonly range: string | undefined;
  readonly target: BulkSink;
  readonly signal: AbortSignal | undefined;
}

function wantedOf(
  { versions, asksStated }: Reading,
  what: Pick<Wanted, "object" | "offset" | "lengthBytes" | "target" | "signal">,
): Wanted {
  const { object, offset, lengthBytes } = what;
  const isWhole = offset === 0 && lengthBytes === object.sizeBytes;
  const range = isWhole ? undefined : `bytes=${String(offset)}-${String(offset + lengthBytes - 1)}`;
  return { ...what, range, versionId: versions.get(pinOf(object)), asksStated: isWhole && asksStated };
}

function getCommand({ bucket }: Reading, { object, range, versionId, asksStated }: Wanted): GetObjectCommand {
  const command = new GetObjectCommand({
    Bucket: bucket,
    Key: object.key,
    IfMatch: object.etag,
    ...(range === undefined ? {} : { Range: range }),
    ...(versionId === undefined ? {} : { VersionId: versionId }),
  });
  if (asksStated) wantsStated(command);
  return command;
}

/** Below the SDK, which only reads what a refusal says. */
async function getBulk(reading: Reading, get: BulkGetter, wanted: Wanted): Promise<Said> {
  const { object, range, versionId, asksStated, target, signal } = wanted;
  const headers = {
    "if-match": object.etag,
    ...(range === undefined ? {} : { range }),
    ...(asksStated ? { "x-amz-checksum-mode": "ENABLED" } : {}),
  };
  const refusal = await get({ key: object.key, headers, versionId }, target, signal);
  // A success among what is no body (204, say) is none of an object.
  if (refusal) {
    await reading.client.send(getCommand(reading, wanted), { refusal } as object);
    throw new Error(`the server answers a read with HTTP ${String(refusal.status)}`);
  }
  return saidBy(target.headers);
}

async function getBySdk(reading: Reading, wanted: Wanted, target: BulkTarget): Promise<Said> {
  const { signal, object } = wanted;
  const options = signal ? { abortSignal: signal } : {};
  const answer = await reading.client.send(getCommand(reading, wanted), options);
  const said = { range: answer.ContentRange, lengthBytes: answer.ContentLength, versionId: answer.VersionId };
  const body = answer.Body as Readable | undefined;
  if (!body) throw new Error("the answer has no body");
  try {
    checkRange(object, wanted.offset, wanted.lengthBytes, said);
  } catch (error) {
    body.destroy();
    throw error;
  }
  target.begin(new Map(), true);
  await collect(body, target, signal);
  return said;
}

function pin({ versions, pinsVersions }: Reading, object: SourceObject, { versionId }: Said): void {
  const isVersion = versionId !== undefined && versionId !== "" && versionId !== "null";
  if (pinsVersions && isVersion && Buffer.byteLength(JSON.stringify(versionId)) <= MAX_VERSION_BYTES)
    versions.set(pinOf(object), versionId);
}

async function fill(reading: Reading, object: SourceObject, offset: number, target: BulkTarget, signal?: AbortSignal) {
  const { get } = reading;
  const lengthBytes = target.into.length;
  const wanted = wantedOf(reading, { object, offset, lengthBytes, target, signal });
  const once = (one: Wanted): Promise<Said> => (get ? getBulk(reading, get, one) : getBySdk(reading, one, target));
  const said = await askedForLess(reading, wanted, once).catch((error: unknown) => {
    throw isOtherLength(object, lengthBytes, target) ? changed(object, "changed its size") : error;
  });
  checkRange(object, offset, lengthBytes, said);
  if (target.at < lengthBytes)
    throw new Error(`the answer ended after ${String(target.at)} of ${String(lengthBytes)} bytes`);
  pin(reading, object, said);
}

/** Of the object from some byte to its end, in one answer. */
function readerOf(
  reading: Reading,
  get: BulkGetter,
  object: SourceObject,
  guarded: (work: () => Promise<void>) => Promise<void>,
): ObjectReader {
  return newObjectReader({
    object,
    guarded,
    check(offset, headers) {
      const said = saidBy(headers);
      checkRest(object, offset, said);
      pin(reading, object, said);
    },
    async ask(offset, target, signal) {
      // With a range also where it is the whole: the answer then says which bytes of how many they are.
      const range = `bytes=${String(offset)}-${String(object.sizeBytes - 1)}`;
      const from = wantedOf(reading, { object, offset, lengthBytes: object.sizeBytes - offset, target, signal });
      const wanted = { ...from, range, asksStated: false };
      await askedForLess(reading, wanted, (one) => getBulk(reading, get, one));
    },
  });
}

export interface S3SourceOptions extends S3Access {
  readonly endpoint: string;
  readonly bucket: string;
  /** Reads the credentials anew where they are refused; undefined where there are none any more. */
  readonly renew?: () => Promise<S3Credentials | undefined>;
}

async function stated(
  reading: Reading,
  object: SourceObject,
  abortSignal: AbortSignal | undefined,
): Promise<StatedChecksums> {
  const { client, bucket, versions } = reading;
  const asked = { Bucket: bucket, Key: object.key, IfMatch: object.etag, ChecksumMode: "ENABLED" as const };
  // Without the checksums there is nothing to ask for.
  const extras = { versionId: versions.get(pinOf(object)), asksStated: false };
  const answer = await askedForLess(reading, extras, ({ versionId }) => {
    const command = new HeadObjectCommand({ ...asked, ...(versionId === undefined ? {} : { VersionId: versionId }) });
    return client.send(command, abortSignal && { abortSignal });
  });
  if (answer.ContentLength !== undefined && answer.ContentLength !== object.sizeBytes)
    throw changed(object, "changed its size");
  return statedOf(object, {
    type: answer.ChecksumType,
    crc32: answer.ChecksumCRC32,
    crc64: answer.ChecksumCRC64NVME,
    sha256: answer.ChecksumSHA256,
  });
}

/** Of an object that came in parts only what is said to be of the whole counts: older servers state the checksum of checksums. */
function statedOf({ etag }: SourceObject, said: Parameters<typeof statedBy>[0]): StatedChecksums {
  const type =
    said instanceof Map
      ? (said as ReadonlyMap<string, string>).get("x-amz-checksum-type")
      : (said as { type?: string }).type;
  return type === undefined && /-\d+"?$/.test(etag) ? {} : statedBy(said);
}

/** The version too, once a read has named it. */
function copyOrigin({ bucket, versions }: Reading, object: SourceObject): CopyOrigin {
  const { key, etag } = object;
  const versionId = versions.get(pinOf(object));
  return { bucket, key, etag, ...(versionId === undefined ? {} : { versionId }) };
}

/** Errors are those of ports.ObjectSource, in the words of the server; see errors.ts. */
export function newS3Source(options: S3SourceOptions): ObjectSource {
  const { bucket, credentials, renew } = options;
  const endpoint = originOf(options.endpoint, bucket, options.addressing);
  const renewal = newRenewal(credentials, renew);
  // One try each: who reads tries again, and learns of every refusal.
  const access = { ...options, maxAttempts: 1, currentCredentials: renewal.current };
  const client = newS3Client(access);
  const bulk = options.bulk && newBulkGetter(client, options.bulk, bucket, access);
  const reading: Reading = {
    client,
    bucket,
    get: bulk,
    versions: new Map(),
    pinsVersions: true,
    asksStated: true,
  };
  const guarded = <T>(place: Pick<S3Place, "reading" | "asksHead">, work: () => Promise<T>): Promise<T> =>
    renewal.run(work, (error) => sourceError(error, { endpoint, bucket, hidden: renewal.hidden(), ...place }));
  const filled = async (
    object: SourceObject,
    offset: number,
    into: Uint8Array,
    signal?: AbortSignal,
  ): Promise<Filled> => {
    const target = new BulkTarget(into);
    await guarded({ reading: true }, () => fill(reading, object, offset, target, signal));
    return { stated: statedOf(object, target.headers) };
  };
  return {
    list: (prefix, next, signal) => guarded({}, () => listPage(reading, prefix, next, signal)),
    async read(object, offset, lengthBytes, signal) {
      const bytes = Buffer.allocUnsafe(lengthBytes);
      await filled(object, offset, bytes, signal);
      return bytes;
    },
    fill: filled,
    ...(bulk && {
      reader: (object: SourceObject) => readerOf(reading, bulk, object, (work) => guarded({ reading: true }, work)),
    }),
    stated: (object, signal) => guarded({ reading: true, asksHead: true }, () => stated(reading, object, signal)),
    service: serviceOf(options),
    originOf: (object) => copyOrigin(reading, object),
    close: () => client.destroy(),
  };
}
