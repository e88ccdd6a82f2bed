/**
 * The store's API as an app value: `GET /v1/manifest` and `GET /v1/blobs/<sha256>` (with one `Range`), for whoever
 * `authorize` grants a model revision. Bytes pass through and are never held; a fault after the first byte ends the
 * connection, so that nobody takes a part for the whole.
 */
import { pipeline } from "node:stream/promises";
import express from "express";
import type { Express, NextFunction, Request, Response } from "express";

import { BLOBS_ROUTE, MANIFEST_ROUTE, storeReasons } from "../api/store.ts";
import type { StoreGrant, StoreReason, StoreRefusal } from "../api/store.ts";
import type { Log } from "../ports.ts";
import { messageOf } from "../runtime/errors.ts";
import { rangeOf, type ByteRange } from "./storerange.ts";
import { bearerOf } from "./storetoken.ts";

/** A granted revision as it lies in the store. */
export interface ServedRevision {
  /** The manifest's bytes as they were written. */
  readonly manifest: Uint8Array;
  /** The file with this SHA-256; undefined where the manifest names none. */
  file(sha256: string): { readonly key: string; readonly sizeBytes: number } | undefined;
}

export interface StoreAppDeps {
  readonly log: Log;
  /** Throws where Kubernetes cannot be asked. */
  readonly authorize: (token: string) => Promise<{ readonly grant: StoreGrant } | { readonly refusal: StoreRefusal }>;
  /** Throws where the store fails, and a StoreRefusal where the revision is not there. */
  readonly revision: (grant: StoreGrant) => Promise<ServedRevision | StoreRefusal>;
  readonly stream: (key: string, range: ByteRange, signal: AbortSignal) => Promise<AsyncIterable<Uint8Array>>;
  /** A place among the streams that run at once; undefined when all are taken. */
  readonly enter: (grant: StoreGrant, token: string) => (() => void) | undefined;
  readonly onAnswer: (route: "manifest" | "blob" | "other", code: number) => void;
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
  app.get(`${BLOBS_ROUTE}:sha256`, (request, response) => sendBlob(deps, request, response));
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

function routeOf({ path }: Request): "manifest" | "blob" | "other" {
  if (path === MANIFEST_ROUTE) return "manifest";
  return path.startsWith(BLOBS_ROUTE) ? "blob" : "other";
}

function answerFailure({ log }: StoreAppDeps, error: unknown, response: Response): void {
  const refusal = error instanceof Refused ? error : undefined;
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

async function granted(deps: StoreAppDeps, request: Request): Promise<{ grant: StoreGrant; token: string }> {
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
  return { grant: answer.grant, token };
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

async function sendBlob(deps: StoreAppDeps, request: Request, response: Response): Promise<void> {
  const { grant, token } = await granted(deps, request);
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
  const wanted = range === "whole" ? { offset: 0, lengthBytes: file.sizeBytes } : range;
  const leave = deps.enter(grant, token);
  if (!leave) throw new Refused({ reason: "TooManyStreams", message: "too many reads at once: try again shortly" });
  try {
    await sendBytes(deps, { key: file.key, wanted, request, response }, () => {
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

interface Sending {
  readonly key: string;
  readonly wanted: ByteRange;
  readonly request: Request;
  readonly response: Response;
}

/** Heads are written only when the store has begun to answer, so that its refusal is still told as an error. */
async function sendBytes(
  deps: StoreAppDeps,
  { key, wanted, request, response }: Sending,
  head: () => void,
): Promise<void> {
  if (wanted.lengthBytes === 0 || request.method === "HEAD") {
    head();
    response.end();
    return;
  }
  const ending = new AbortController();
  response.once("close", () => ending.abort());
  response.setTimeout(silenceMs, () => response.destroy());
  const source = await deps.stream(key, wanted, ending.signal);
  head();
  try {
    await pipeline(exactly(source, wanted.lengthBytes, deps.onBytes), response);
  } catch (error) {
    response.destroy();
    // The client went away: nobody's fault, and nobody is left to be told.
    if (!ending.signal.aborted) deps.log.warn({ key, error: messageOf(error) }, "an object of the store broke off");
  }
}

/** Passes exactly so many bytes; an object of another size than its manifest says is an error, not a short answer. */
async function* exactly(
  source: AsyncIterable<Uint8Array>,
  lengthBytes: number,
  onBytes: (bytes: number) => void,
): AsyncIterable<Uint8Array> {
  let left = lengthBytes;
  for await (const chunk of source) {
    if (chunk.length > left) throw new Error("the object is longer than its manifest says");
    left -= chunk.length;
    onBytes(chunk.length);
    yield chunk;
  }
  if (left > 0) throw new Error(`the object ends ${String(left)} bytes early`);
}
