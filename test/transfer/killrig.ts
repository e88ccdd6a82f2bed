// What tests of killed imports share: the process that is killed at a byte, what its store holds then, and what it asked of the source.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "esbuild";
import { ListMultipartUploadsCommand, ListPartsCommand } from "@aws-sdk/client-s3";
import type { S3Client } from "@aws-sdk/client-s3";
import { newS3Client } from "../../operator/adapters/s3/client.ts";
import { recordKey } from "../../operator/plan/model/manifest.ts";
import { newByteGate } from "../cluster/bytegate.ts";
import type { ByteGate } from "../cluster/bytegate.ts";
import { startFaultProxy } from "../cluster/faultproxy.ts";
import type { FaultProxy, SeenRequest } from "../cluster/faultproxy.ts";
import { startS3 } from "../cluster/s3.ts";
import type { S3Server } from "../cluster/s3.ts";
import { filesBelow, uploadFolder } from "../models/upload.ts";
import { RECORD, withoutHash } from "./bench.ts";
import type { StoreKind } from "./bench.ts";
import type { ProcessJob } from "./importprocess.ts";

export const sourceBucket = "source";
/** Of the revision, as jobFor names its owner. */
export const revision = "models/ns-uid/model-uid/1";

const PROGRAM = "importer.mjs";

export interface KillRig {
  readonly s3: S3Server;
  /** Between the importer and everything that it reads from the source and sends to a bucket. */
  readonly proxy: FaultProxy;
  readonly gate: ByteGate;
  readonly client: S3Client;
  /** Compiled once for all processes. */
  readonly compiled: string;
  /** Sizes of the source's objects, by key. */
  readonly sizes: Map<string, number>;
  stop(): Promise<void>;
}

/** One file that starts in half the CPU that its modules take, which is most of a short life. */
async function bundleImporter(folder: string): Promise<void> {
  await build({
    entryPoints: [join(import.meta.dirname, "importprocess.ts")],
    outfile: join(folder, PROGRAM),
    bundle: true,
    platform: "node",
    format: "esm",
    logLevel: "error",
    // The SDK has CommonJS inside.
    banner: { js: 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);' },
  });
}

export async function startKillRig(): Promise<KillRig> {
  const s3 = await startS3();
  const gate = newByteGate();
  const proxy = await startFaultProxy({ target: s3.endpoint, dialect: "s3", gate });
  const client = s3.client();
  const compiled = mkdtempSync(join(tmpdir(), "berth-compiled-"));
  await s3.createBucket(sourceBucket);
  await bundleImporter(compiled);
  const stop = async (): Promise<void> => {
    client.destroy();
    rmSync(compiled, { recursive: true, force: true });
    await proxy.close();
    await s3.stop();
  };
  return { s3, proxy, gate, client, compiled, sizes: new Map(), stop };
}

/**
 * Puts the files of a folder into the source, with a CRC-32 of each as clients do nowadays, or without: the server of these tests repeats
 * the whole object's for each part that it copies, which is then refused.
 */
export async function putSource(
  { s3, client, sizes }: KillRig,
  prefix: string,
  folder: string,
  { checksums = true } = {},
): Promise<void> {
  const { endpoint, region, accessKeyId, secretAccessKey } = s3;
  const silent = newS3Client({ endpoint, region, credentials: { accessKeyId, secretAccessKey } });
  await uploadFolder(checksums ? client : silent, sourceBucket, prefix, folder);
  silent.destroy();
  for (const path of filesBelow(folder)) sizes.set(prefix + path, statSync(join(folder, path)).size);
}

export interface KilledStore {
  readonly kind: StoreKind;
  readonly url: string;
  /** On the disk: the server of these tests keeps objects as files too. */
  readonly root: string;
  readonly bucket: string | undefined;
  remove(): void;
}

export async function newKilledStore({ s3 }: KillRig, kind: StoreKind, name: string): Promise<KilledStore> {
  if (kind === "file") {
    const root = mkdtempSync(join(tmpdir(), "berth-store-"));
    const remove = (): void => rmSync(root, { recursive: true, force: true });
    return { kind, url: `file://${root}`, root, bucket: undefined, remove };
  }
  const bucket = await s3.createBucket(`store-${name}`);
  const remove = (): void => rmSync(join(s3.dir, bucket), { recursive: true, force: true });
  return { kind, url: `s3://${bucket}/platform`, root: join(s3.dir, bucket, "platform"), bucket, remove };
}

/** A range of an object of the source that was asked for. */
export interface Asked {
  readonly path: string;
  readonly offset: number;
  readonly lengthBytes: number;
  /** Bytes of it that have left the proxy. */
  readonly cameBytes: number;
}

export interface RunEnd {
  readonly code: number | null;
  readonly isKilled: boolean;
  readonly digest: string;
  /** As told by the importer, with why, in order. */
  readonly ways: readonly string[];
  readonly said: string;
  readonly asked: readonly Asked[];
  /** Parts that went into a bucket, copies too: path of the file and number. */
  readonly sent: readonly string[];
  /** Those of them whose bytes the service took itself. */
  readonly copiedThere: readonly string[];
}

export interface RunOptions extends Omit<
  ProcessJob,
  "endpoint" | "region" | "accessKeyId" | "secretAccessKey" | "bucket"
> {
  /** Killed when so many bytes have passed; never where absent. */
  readonly killAfterBytes?: number;
}

function askedSince({ proxy, sizes }: KillRig, since: number, prefix: string): Asked[] {
  const bucket = `/${sourceBucket}/`;
  return proxy.seen
    .slice(since)
    .filter(({ method, path }) => method === "GET" && path.startsWith(bucket + prefix))
    .map(({ path, headers, passedBytes }) => {
      const key = decodeURIComponent(path.slice(bucket.length));
      // Without a range it is the whole object.
      const [, from = 0, to] = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? "") ?? [];
      const end = to === undefined ? sizes.get(key) : Number(to) + 1;
      assert.ok(end !== undefined, `${key} is no object of the source`);
      return {
        path: key.slice(prefix.length),
        offset: Number(from),
        lengthBytes: end - Number(from),
        cameBytes: passedBytes,
      };
    });
}

export const partName = (path: string, number: number): string => `part ${String(number)} of ${path}`;

const isCopy = ({ headers }: SeenRequest): boolean => headers["x-amz-copy-source"] !== undefined;

function sentSince({ proxy }: KillRig, since: number, which: (request: SeenRequest) => boolean = () => true): string[] {
  const start = `/platform/${revision}/`;
  return proxy.seen
    .slice(since)
    .filter((request) => request.method === "PUT" && request.query.has("partNumber") && which(request))
    .map(({ path, query }) => {
      const file = path.slice(path.indexOf(start) + start.length);
      return partName(decodeURIComponent(file), Number(query.get("partNumber")) - 1);
    });
}

/** Runs an importer to its end, or to its death. */
export async function runImporter(rig: KillRig, options: RunOptions): Promise<RunEnd> {
  const { s3, proxy, gate, compiled } = rig;
  const { killAfterBytes, ...rest } = options;
  const { region, accessKeyId, secretAccessKey } = s3;
  const job: ProcessJob = { endpoint: proxy.url, region, accessKeyId, secretAccessKey, bucket: sourceBucket, ...rest };
  const since = proxy.seen.length;
  const child = spawn(process.execPath, [join(compiled, PROGRAM)], {
    env: { ...process.env, TEST_IMPORT: JSON.stringify(job), NODE_COMPILE_CACHE: compiled },
    stdio: ["ignore", "pipe", "pipe"],
  });
  if (killAfterBytes !== undefined) gate.shutAfter(killAfterBytes, () => child.kill("SIGKILL"));
  const text = { out: "", said: "" };
  child.stdout.on("data", (chunk: Buffer) => (text.out += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (text.said += chunk.toString()));
  const { code, signal } = await new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) =>
    child.on("close", (exit, by) => resolve({ code: exit, signal: by })),
  );
  gate.open();
  const sending = { sent: sentSince(rig, since), copiedThere: sentSince(rig, since, isCopy) };
  const traffic = { asked: askedSince(rig, since, options.prefix), ...sending };
  const ways = [...text.out.matchAll(/^way (\w+: .*)$/gm)].map(([, way = ""]) => way);
  const digest = text.out.replace(/^way .*\n/gm, "").trim();
  return { code, isKilled: signal === "SIGKILL", digest, ways, said: text.said, ...traffic };
}

/** What tells that nobody has touched a file of the revision; undefined where there is none. */
export function markOf({ root }: KilledStore, path: string): string | undefined {
  const found = statSync(join(root, revision, path), { throwIfNoEntry: false });
  return found && JSON.stringify([found.ino, found.mtimeMs, found.size]);
}

export interface FinishedFile {
  readonly bytes: number;
  readonly mark: string;
  /** Whether it has a record of its own, or the whole revision its manifest. */
  readonly isRecorded: boolean;
}

export interface Held {
  /** Files that have their name, by path. */
  readonly finished: ReadonlyMap<string, FinishedFile>;
  /** Parts in journals of files that have not, by path: number of the part and bytes. */
  readonly parts: ReadonlyMap<string, ReadonlyMap<number, number>>;
}

function finishedIn(store: KilledStore): Held["finished"] {
  const paths = filesBelowOrNone(join(store.root, revision));
  const there = new Set(paths);
  const held = (path: string): FinishedFile => ({
    bytes: statSync(join(store.root, revision, path)).size,
    mark: markOf(store, path) ?? "",
    isRecorded: there.has("MANIFEST.json") || there.has(recordKey(path)),
  });
  const files = paths.filter((path) => !path.startsWith(".berth/") && path !== "MANIFEST.json");
  return new Map(files.map((path) => [path, held(path)]));
}

function journaledIn({ root }: KilledStore, partBytes: number): Held["parts"] {
  const incoming = join(root, ".incoming", revision);
  const parts = new Map<string, Map<number, number>>();
  for (const path of filesBelowOrNone(incoming)) {
    const [, key] = /^(.*)\.[0-9a-f]{12}\/journal$/.exec(path) ?? [];
    if (key === undefined) continue;
    const sizeBytes = statSync(join(incoming, path.replace(/journal$/, "data"))).size;
    const lines = readFileSync(join(incoming, path), "utf8").matchAll(/^(\d+) [0-9a-f]+ [0-9a-f]+$/gm);
    // A process that died at the beginning of an upload has left it beside the next one's.
    const known = parts.get(key) ?? new Map<number, number>();
    for (const [, number] of lines)
      known.set(Number(number), Math.min(partBytes, sizeBytes - Number(number) * partBytes));
    parts.set(key, known);
  }
  return parts;
}

function filesBelowOrNone(folder: string): string[] {
  try {
    return filesBelow(folder);
  } catch {
    return [];
  }
}

async function uploadedIn({ client }: KillRig, Bucket: string): Promise<Held["parts"]> {
  const parts = new Map<string, Map<number, number>>();
  const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket }));
  for (const { Key = "", UploadId } of Uploads) {
    const path = Key.slice(`platform/${revision}/`.length);
    // One that is completed in this moment is among the finished files by then.
    const answer = await client.send(new ListPartsCommand({ Bucket, Key, UploadId })).catch(() => undefined);
    const known = parts.get(path) ?? new Map<number, number>();
    for (const { PartNumber = 0, Size = 0 } of answer?.Parts ?? []) known.set(PartNumber - 1, Size);
    parts.set(path, known);
  }
  return parts;
}

export async function heldIn(rig: KillRig, store: KilledStore, partBytes: number): Promise<Held> {
  const parts = store.bucket === undefined ? journaledIn(store, partBytes) : await uploadedIn(rig, store.bucket);
  const finished = finishedIn(store);
  return { finished, parts: new Map([...parts].filter(([path]) => !finished.has(path))) };
}

/** Everything in the store but the revision's own files: objects, notes, uploads, and folders of files on their way. */
export async function leftIn(
  { client }: KillRig,
  { root, bucket }: KilledStore,
  own: readonly string[],
): Promise<string[]> {
  // Each once: the name of a record is its SHA-256, and those of imports that died are others.
  const kept = new Set([...own, RECORD, "MANIFEST.json"].map((path) => `${revision}/${path}`));
  const left = filesBelow(root).filter((path) => !kept.delete(withoutHash(path)));
  if (bucket === undefined) return [...left, ...readdirSync(join(root, ".incoming"))];
  const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket: bucket }));
  return [...left, ...Uploads.map(({ Key }) => `upload of ${Key ?? ""}`)];
}
