/**
 * The store's API as an app value: `GET /v1/manifest`, `/v1/manifest/signature` and `/v1/blobs/<sha256>` (with one `Range`), for
 * whoever `authorize` grants a model revision, and `PUT /v1/progress` of its reports. Bytes pass through and are never held; a fault after the first byte ends the
 * connection, so that nobody takes a part for the whole.
 */
import express from "express";
import type { Express, NextFunction, Request, Response } from "express";

import { BLOBS_ROUTE, MANIFEST_ROUTE, PROGRESS_ROUTE, REDIRECT_HEADER, SIGNATURE_ROUTE } from "../api/store.ts";
import { storeReasons } from "../api/store.ts";
import type { FetchReport, StoreGrant, StoreReason, StoreRefusal } from "../api/store.ts";
import type { Log } from "../ports.ts";
import { messageOf } from "../runtime/errors.ts";
import { rangeOf, type ByteRange } from "./storerange.ts";
import { bearerOf } from "./storetoken.ts";

/** A granted revision as it lies in the store. */
export interface ServedRevision {
  /** The manifest's bytes as they were written. */
  readonly manifest: Uint8Array;
  /** The signature's envelope as it was written; undefined where the revision was not signed. Throws where the store fails. */
  signature(): Promise<Uint8Array | undefined>;
  /** Sum of its files. */
  readonly sizeBytes: number;
  /** The file with this SHA-256; undefined where the manifest names none. */
  file(sha256: string): { readonly key: string; readonly sizeBytes: number } | undefined;
}

export type StoreRoute = "manifest" | "signature" | "blob" | "progress" | "other";

export interface StoreAppDeps {
  readonly log: Log;
  /** Throws where Kubernetes cannot be asked. */
  readonly authorize: (
    token: string,
  ) => Promise<{ readonly grant: StoreGrant; readonly podUID: string } | { readonly refusal: StoreRefusal }>;
  /** Throws where the store fails, and a StoreRefusal where the revision is not there. */
  readonly revision: (grant: StoreGrant) => Promise<ServedRevision | StoreRefusal>;
  /**
   * Sends the bytes on: `begin` when the store has begun to answer (until then a refusal can still be told), `write` for each
   * piece, whose memory is used again when that resolves.
   */
  readonly send: (
    range: ByteRange & { readonly key: string },
    sink: { begin(): void; write(piece: Uint8Array): Promise<void> },
    signal: AbortSignal,
  ) => Promise<void>;
  /** Where a pod may read the object by itself for a short while; undefined where pods do not reach the storage. */
  readonly address?: (key: string) => Promise<string>;
  /** Waits for a place among the streams that run at once; undefined where none can be had in time. */
  readonly enter: (podUID: string, signal: AbortSignal) => Promise<(() => void) | undefined>;
  /** A pod says how far it has come with so many bytes. */
  readonly onReport: (podUID: string, report: FetchReport, totalBytes: number) => void;
  readonly onAnswer: (route: StoreRoute, code: number) => void;
  readonly onBytes: (bytes: number) => void;
  /** True while the process ends: connections are closed after their answer. */
  readonly leaving: () => boolean;
}

/** A client that takes no byte for so long is dropped, so that it holds neither memory nor a connection to the store. */
const silenceMs = 60_000;

/** Thrown by handlers, answered as JSON. */
class Refused extends Error {
  readonly reason: StoreReason;
  constructor({ reason, message }: StoreRefusal) {
    super(message);
    this.reason = reason;
  }
}

export function createStoreApp(deps: StoreAppDeps): Express {
  const app = express();
  app.disable("x-powered-by");
  app.disable("etag");
  app.use((request: Request, response: Response, next: NextFunction) => {
    response.setHeader("cache-control", "no-store");
    if (deps.leaving()) response.setHeader("connection", "close");
    response.on("close", () => deps.onAnswer(routeOf(request), response.statusCode));
    next();
  });
  app.get(MANIFEST_ROUTE, (request, response) => sendManifest(deps, request, response));
  app.get(SIGNATURE_ROUTE, (request, response) => sendSignature(deps, request, response));
  app.get(`${BLOBS_ROUTE}:sha256`, (request, response) => sendBlob(deps, request, response));
  app.put(PROGRESS_ROUTE, express.json({ limit: 1_024 }), (request, response) => takeReport(deps, request, response));
  app.use(() => {
    throw new Refused({
      reason: "NoSuchPath",
      message: `there is nothing at this path: GET ${MANIFEST_ROUTE} or ${BLOBS_ROUTE}<sha256 of a file in it>`,
    });
  });
  app.use((error: unknown, _request: Request, response: Response, next: NextFunction) => {
    if (response.headersSent) return next(error);
    answerFailure(deps, error, response);
  });
  return app;
}

function routeOf({ path }: Request): StoreRoute {
  if (path === PROGRESS_ROUTE) return "progress";
  if (path === MANIFEST_ROUTE) return "manifest";
  if (path === SIGNATURE_ROUTE) return "signature";
  return path.startsWith(BLOBS_ROUTE) ? "blob" : "other";
}

function answerFailure({ log }: StoreAppDeps, error: unknown, response: Response): void {
  const refusal = error instanceof Refused ? error : bodyRefusal(error);
  const reason = refusal?.reason ?? "StoreUnavailable";
  const code = storeReasons[reason];
  if (!refusal) log.warn({ error: messageOf(error) }, "request failed");
  if (code === 401) response.setHeader("www-authenticate", 'Bearer realm="berth-store"');
  if (code === 429 || code === 503) response.setHeader("retry-after", "1");
  // What the platform's storage says is for its operators' log, not for tenants.
  const words =
    refusal?.message ?? "the platform's store does not answer: try again later, its operator finds why in the log";
  response.status(code).json({ reason, error: words });
}

/** What the reader of JSON bodies throws says itself that the caller is to blame. */
function bodyRefusal(error: unknown): StoreRefusal | undefined {
  const { status = 0 } = (error ?? {}) as { status?: number };
  if (status < 400 || status > 499) return undefined;
  return { reason: "ReportInvalid", message: "the body is no JSON document of at most 1 KiB" };
}

async function granted(deps: StoreAppDeps, request: Request): Promise<{ grant: StoreGrant; podUID: string }> {
  const token = bearerOf(request.headers.authorization);
  if (token === undefined)
    throw new Refused({ reason: "TokenMissing", message: "send the pod's token: Authorization: Bearer <token>" });
  let answer;
  try {
    answer = await deps.authorize(token);
  } catch (error) {
    deps.log.warn({ error: messageOf(error) }, "kubernetes cannot be asked about a token");
    const message = "Kubernetes does not answer who this token belongs to: try again later";
    throw new Refused({ reason: "KubernetesUnavailable", message });
  }
  if ("refusal" in answer) throw new Refused(answer.refusal);
  return answer;
}

async function revisionOf(deps: StoreAppDeps, grant: StoreGrant): Promise<ServedRevision> {
  const revision = await deps.revision(grant);
  if ("reason" in revision) throw new Refused(revision);
  return revision;
}

async function sendManifest(deps: StoreAppDeps, request: Request, response: Response): Promise<void> {
  const { grant } = await granted(deps, request);
  const { manifest } = await revisionOf(deps, grant);
  response.setHeader("content-type", "application/json");
  response.setHeader("etag", `"${grant.digest}"`);
  response.setHeader("content-length", manifest.length);
  response.end(manifest);
}

async function sendSignature(deps: StoreAppDeps, request: Request, response: Response): Promise<void> {
  const { grant } = await granted(deps, request);
  const envelope = await (await revisionOf(deps, grant)).signature();
  if (!envelope)
    throw new Refused({
      reason: "SignatureMissing",
      message: "the manifest of this revision is not signed: import the model again with a signing key",
    });
  response.setHeader("content-type", "application/json");
  response.setHeader("content-length", envelope.length);
  response.end(envelope);
}

async function takeReport(deps: StoreAppDeps, request: Request, response: Response): Promise<void> {
  const { grant, podUID } = await granted(deps, request);
  const { sizeBytes } = await revisionOf(deps, grant);
  const report = reportOf(request.body, sizeBytes);
  if (!report) {
    const message = `send {"doneBytes", "bytesPerSecond"} as whole numbers, doneBytes at most ${String(sizeBytes)}`;
    throw new Refused({ reason: "ReportInvalid", message });
  }
  deps.onReport(podUID, report, sizeBytes);
  response.status(204).end();
}

function reportOf(body: unknown, sizeBytes: number): FetchReport | undefined {
  const { doneBytes, bytesPerSecond } = (body ?? {}) as Partial<FetchReport>;
  const isAmount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
  if (!isAmount(doneBytes) || !isAmount(bytesPerSecond) || doneBytes > sizeBytes) return undefined;
  return { doneBytes, bytesPerSecond };
}

async function sendBlob(deps: StoreAppDeps, request: Request, response: Response): Promise<void> {
  const { grant, podUID } = await granted(deps, request);
  const sha256 = String(request.params["sha256"]);
  const file = (await revisionOf(deps, grant)).file(sha256);
  if (!file) {
    throw new Refused({
      reason: "NotInManifest",
      message: `the model has no such file: ask for one that ${MANIFEST_ROUTE} lists`,
    });
  }
  const range = rangeOf(request.headers.range, file.sizeBytes);
  response.setHeader("accept-ranges", "bytes");
  if (range === "unsatisfiable") {
    response.setHeader("content-range", `bytes */${String(file.sizeBytes)}`);
    const message = `the file has ${String(file.sizeBytes)} bytes: ask for one range within them, bytes=<first>-<last>`;
    throw new Refused({ reason: "RangeNotSatisfiable", message });
  }
  if (request.headers[REDIRECT_HEADER] === "allowed" && (await redirected(deps, file.key, response))) return;
  const wanted = range === "whole" ? { offset: 0, lengthBytes: file.sizeBytes } : range;
  const ending = new AbortController();
  response.once("close", () => ending.abort());
  const leave = await deps.enter(podUID, ending.signal);
  if (!leave) throw new Refused({ reason: "TooManyStreams", message: "too many reads at once: try again shortly" });
  try {
    await sendBytes(deps, { key: file.key, wanted, request, response, signal: ending.signal }, () => {
      response.status(range === "whole" ? 200 : 206);
      response.setHeader("etag", `"sha256:${sha256}"`);
      response.setHeader("content-type", "application/octet-stream");
      response.setHeader("content-length", wanted.lengthBytes);
      const last = wanted.offset + wanted.lengthBytes - 1;
      if (range !== "whole")
        response.setHeader("content-range", `bytes ${String(wanted.offset)}-${String(last)}/${String(file.sizeBytes)}`);
    });
  } finally {
    leave();
  }
}

/** The range is the caller's to ask for there: the address is that of the whole object. Without one, bytes are sent. */
async function redirected({ address, log }: StoreAppDeps, key: string, response: Response): Promise<boolean> {
  const location = await address?.(key).catch((error: unknown) => {
    log.warn({ key, error: messageOf(error) }, "no address of an object can be signed");
    return undefined;
  });
  if (location === undefined) return false;
  response.status(307).setHeader("content-length", 0);
  response.setHeader("location", location);
  response.end();
  return true;
}

interface Sending {
  readonly key: string;
  readonly wanted: ByteRange;
  readonly request: Request;
  readonly response: Response;
  /** Aborts when the client is gone. */
  readonly signal: AbortSignal;
}

/** Heads are written only when the store has begun to answer, so that its refusal is still told as an error. */
async function sendBytes(
  deps: StoreAppDeps,
  { key, wanted, request, response, signal }: Sending,
  head: () => void,
): Promise<void> {
  if (wanted.lengthBytes === 0 || request.method === "HEAD") {
    head();
    response.end();
    return;
  }
  response.setTimeout(silenceMs, () => response.destroy());
  const write = (piece: Uint8Array): Promise<void> =>
    new Promise((resolve, reject) => {
      response.write(piece, (error) => {
        if (error) return void reject(error);
        deps.onBytes(piece.length);
        resolve();
      });
    });
  try {
    await deps.send({ key, ...wanted }, { begin: head, write }, signal);
    response.end();
  } catch (error) {
    if (!response.headersSent && !signal.aborted) throw error;
    response.destroy();
    // The client went away: nobody's fault, and nobody is left to be told.
    if (!signal.aborted) deps.log.warn({ key, error: messageOf(error) }, "an object of the store broke off");
  }
}
