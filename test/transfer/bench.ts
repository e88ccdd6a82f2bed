// What the tests of transfer/ share: a source bucket, both kinds of store, and an observer that remembers.
import { createHash, randomUUID } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { newS3Source } from "../../operator/adapters/s3/source.ts";
import { openStore } from "../../operator/adapters/store/open.ts";
import type { ObjectSource, ObjectStore, SourceObject } from "../../operator/ports.ts";
import { systemClock } from "../../operator/runtime/clock.ts";
import type { ImportObserver } from "../../operator/plan/model/importing.ts";
import type { ImportJob } from "../../operator/transfer/import.ts";
import { newPartPlaces } from "../../operator/transfer/places.ts";
import { newRawClient } from "../../operator/transfer/rawget.ts";
import { newSlots } from "../../operator/transfer/slots.ts";
import type { S3Server } from "../cluster/s3.ts";
import { filesBelow } from "../models/upload.ts";

export const kinds = ["s3", "file"] as const;
export type StoreKind = (typeof kinds)[number];

/** What a store needs of an S3 server, whichever it is. */
export type S3Place = Pick<S3Server, "endpoint" | "region" | "accessKeyId" | "secretAccessKey" | "createBucket">;

/** An empty store of that kind, gone with the test. */
export async function newStore(t: TestContext, s3: S3Place, kind: StoreKind): Promise<ObjectStore> {
  if (kind === "file") {
    const folder = mkdtempSync(join(tmpdir(), "berth-store-"));
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    return openStore({ url: `file://${folder}`, region: "us-east-1" });
  }
  const bucket = await s3.createBucket(`store-${randomUUID()}`);
  const { endpoint, region, accessKeyId, secretAccessKey } = s3;
  const store = openStore({
    url: `s3://${bucket}/platform`,
    endpoint,
    region,
    credentials: { accessKeyId, secretAccessKey },
  });
  t.after(() => store.close());
  return store;
}

export function newSource(t: TestContext, s3: S3Server, bucket: string, endpoint = s3.endpoint, silenceMs = 20_000) {
  const { region, accessKeyId, secretAccessKey } = s3;
  const credentials = { accessKeyId, secretAccessKey };
  const bulk = newRawClient({ silenceMs });
  const source = newS3Source({ endpoint, region, bucket, credentials, bulk });
  t.after(() => source.close());
  return source;
}

/** The source, with something done before each piece of an object is brought, in an answer of its own or in one that is open. */
export function hooked(
  source: ObjectSource,
  before: (object: SourceObject, offset: number) => Promise<unknown> | void,
): ObjectSource {
  const { fill, reader } = source;
  return {
    ...source,
    ...(fill && {
      async fill(object, offset, ...rest) {
        await before(object, offset);
        return fill(object, offset, ...rest);
      },
    }),
    ...(reader && {
      reader(object) {
        const one = reader(object);
        return {
          ...one,
          async fill(offset, ...rest) {
            await before(object, offset);
            return one.fill(offset, ...rest);
          },
        };
      },
    }),
  };
}

export interface Seen extends ImportObserver {
  copiedBytes: number;
  skippedBytes: number;
  reusedBytes: number;
  files: number;
  retries: number;
}

export function newObserver(on: Partial<ImportObserver> = {}): Seen {
  const seen: Seen = {
    copiedBytes: 0,
    skippedBytes: 0,
    reusedBytes: 0,
    files: 0,
    retries: 0,
    partRetried: () => void seen.retries++,
    listed: (listing) => on.listed?.(listing),
    inspected: (facts) => on.inspected?.(facts),
    going: (choice) => on.going?.(choice),
    unstated: (path, because) => on.unstated?.(path, because),
    committing: () => on.committing?.(),
    bytes: (count, copied) => {
      if (copied) seen.copiedBytes += count;
      else seen.skippedBytes += count;
      on.bytes?.(count, copied);
    },
    reused: (files, bytes) => {
      seen.files += files;
      seen.reusedBytes += bytes;
    },
    file: () => {
      seen.files++;
      on.file?.();
    },
  };
  return seen;
}

/** A job with defaults; `source`, `store` and `prefix` are what tests vary. */
export function jobFor(
  parts: Pick<ImportJob, "source" | "store"> & Partial<ImportJob> & { readonly prefix: string },
): ImportJob {
  const { prefix, ...rest } = parts;
  return {
    owner: { namespaceUID: "ns-uid", modelUID: "model-uid" },
    origin: { endpoint: "http://test", bucket: "source", prefix },
    version: "0.0.0-test",
    maxSizeBytes: 1e12,
    copy: true,
    clock: systemClock,
    places: newPartPlaces({ clock: systemClock, bufferBytes: 64 << 20, partBytes: 8 << 20 }),
    copies: newSlots(2),
    observer: newObserver(),
    retryBaseMs: 10,
    ...rest,
  };
}

/** SHA-256 of each file below a folder, computed without any of our code. */
export function hashesOf(folder: string, paths: readonly string[] = filesBelow(folder)): Map<string, string> {
  return new Map(
    paths.map((path) => [
      path,
      createHash("sha256")
        .update(readFileSync(join(folder, path)))
        .digest("hex"),
    ]),
  );
}

/** The digest of a revision, written down from its definition: SHA-256 over the JSON list of [path, size, SHA-256]. */
export function digestOf(folder: string, paths: readonly string[]): string {
  const hashes = hashesOf(folder, paths);
  const rows = [...paths].sort().map((path) => [path, readFileSync(join(folder, path)).length, hashes.get(path)]);
  return `sha256:${createHash("sha256").update(JSON.stringify(rows)).digest("hex")}`;
}

/** How tests name the record beside a manifest, whose name is its own SHA-256. */
export const RECORD = ".berth/imports/SHA-256.json";
export const withoutHash = (key: string): string => key.replace(/\.berth\/imports\/[0-9a-f]{64}\.json$/, RECORD);
