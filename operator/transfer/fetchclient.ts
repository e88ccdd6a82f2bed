/**
 * The store role as `berth fetch` sees it: manifest and parts of files over HTTP/1.1. The token is read anew for each
 * request, since the kubelet renews it. Refusals and faults are RetryError with a TerminalError inside that says which.
 */
import { readFile } from "node:fs/promises";
import * as http from "node:http";
import * as https from "node:https";
import { BLOBS_ROUTE, MANIFEST_ROUTE, PROGRESS_ROUTE, REDIRECT_HEADER, SIGNATURE_ROUTE } from "../api/store.ts";
import type { FetchReport, StoreReason } from "../api/store.ts";
import { RetryError, TerminalError, messageOf } from "../runtime/errors.ts";
import { AddressRefused } from "./fetchredirects.ts";
import type { Link, Redirects } from "./fetchredirects.ts";
import { newRawClient } from "./rawget.ts";
import type { RawHead } from "./rawhead.ts";
import { abortError } from "./slots.ts";

export interface StoreClient {
  /** The manifest's bytes, at most `maxBytes`. */
  manifest(maxBytes: number, signal: AbortSignal): Promise<Uint8Array>;
  /** The envelope around it, at most `maxBytes`; undefined where the store role says that there is none. */
  signature(maxBytes: number, signal: AbortSignal): Promise<Uint8Array | undefined>;
  /** Tells how far the fetch is; for people only, so its caller need not care whether it arrives. */
  report(report: FetchReport, signal: AbortSignal): Promise<void>;
  /** Fills `into` with the bytes of a file from `offset` on; `onBytes` is told of each piece that came. */
  part(part: Part, onBytes: OnBytes, signal: AbortSignal): Promise<void>;
  /** All further bytes come from the store role itself, as where those of the object storage were wrong. */
  avoidRedirects(why: string): void;
  close(): void;
}

/** Told of each piece that came, and whether it came from the object storage without the store role between. */
export type OnBytes = (bytes: number, isDirect: boolean) => void;

export interface Part {
  readonly sha256: string;
  readonly offset: number;
  readonly into: Uint8Array;
}

export interface ClientOptions {
  /** `http://` or `https://`, without a path. */
  readonly url: string;
  readonly tokenFile: string;
  readonly maxSockets: number;
  readonly redirects: Redirects;
  /** Milliseconds without a byte after which a request fails. */
  readonly silenceMs: number;
}

const connectionWords: Readonly<Record<string, string>> = {
  ECONNREFUSED: "the connection is refused: is the store role running?",
  ENOTFOUND: "its name does not resolve: is DNS allowed for this pod?",
  EAI_AGAIN: "its name does not resolve now: is DNS allowed for this pod?",
  ECONNRESET: "the connection broke off",
  ETIMEDOUT: "no answer: is the way to the store role allowed for this pod?",
};

/** Passes by itself, as far as anybody knows here. */
export function passing(reason: string, message: string): RetryError {
  return new RetryError(new TerminalError(reason, message));
}

function unreachable(url: string, error: unknown): RetryError {
  const code = (error as { code?: string }).code ?? "";
  return passing("StoreUnreachable", `the store role at ${url} fails: ${connectionWords[code] ?? messageOf(error)}`);
}

/** An answer that is no success, in the store's own words; bounded and on one line, since anybody may have written it. */
function refusalOf(status: number, body: string): RetryError {
  const words = (text: unknown): string =>
    typeof text === "string"
      ? text
          .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, " ")
          .trim()
          .slice(0, 600)
      : "";
  let said: { reason?: unknown; error?: unknown } = {};
  try {
    said = (JSON.parse(body) as typeof said | null) ?? {};
  } catch {
    said = { error: body };
  }
  const reason = /^[A-Z][A-Za-z]{1,60}$/.test(words(said.reason)) ? words(said.reason) : "StoreRefused";
  return passing(reason, `the store answers ${String(status)}: ${words(said.error) || "without a word"}`);
}

/** Longer answers than this are no refusal of ours. */
const longestRefusal = 8_192;

async function textOf(body: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes > longestRefusal) break;
  }
  return Buffer.concat(chunks).toString("utf8").slice(0, longestRefusal);
}

/** `tooLong` is thrown for more than `maxBytes`. */
async function wholeOf(body: AsyncIterable<Buffer>, maxBytes: number, tooLong: RetryError): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > maxBytes) throw tooLong;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

const endless = (reason: string, maxBytes: number): RetryError =>
  passing(
    reason,
    `the store sends more than ${String(maxBytes)} bytes where a model's manifest or its signature should be`,
  );

const UNSIGNED: StoreReason = "SignatureMissing";
const isUnsigned = (error: unknown): boolean =>
  error instanceof RetryError && error.cause instanceof TerminalError && error.cause.reason === UNSIGNED;

/** Takes the answer to one range: its bytes go where they belong, a refusal becomes an error at the end. */
function newPartBody({ offset, into }: Omit<Part, "sha256">, onBytes: (bytes: number) => void) {
  let status = 0;
  let location: string | undefined;
  let at = 0;
  let refusal = Buffer.alloc(0);
  return {
    onHead(head: RawHead): void {
      status = head.status;
      location = head.headers.get("location");
      if (status !== 200 && status !== 206) return;
      // Whoever stands between may take the range away: then the beginning would be taken for the middle.
      const isThisRange = head.headers.get("content-range")?.startsWith(`bytes ${String(offset)}-`);
      if (status !== 206 || !isThisRange)
        throw passing("StoreRefused", "something on the way to the store ignores ranges");
    },
    into: (): Uint8Array | undefined => (status === 206 ? into.subarray(at) : undefined),
    onBytes(piece: Uint8Array): void {
      if (status !== 206) {
        refusal = Buffer.concat([refusal, piece.subarray(0, longestRefusal - refusal.length)]);
        return;
      }
      // Before it is written: a body in chunks says only as it comes how long it is.
      if (at + piece.length > into.length) throw passing("StoreRefused", "the store sends more than was asked for");
      const isThere = piece.buffer === into.buffer && piece.byteOffset === into.byteOffset + at;
      if (!isThere) into.set(piece, at);
      at += piece.length;
      onBytes(piece.length);
    },
    get receivedBytes() {
      return at;
    },
    get answer() {
      return { status, location };
    },
    /** Where the whole has come; else it throws. */
    end(): void {
      if (status !== 206) throw refusalOf(status, refusal.toString("utf8"));
      if (at < into.length) throw passing("StoreUnreachable", "the connection to the store broke off");
    },
  };
}

const rangeOf = ({ offset, into }: Part): string => `bytes=${String(offset)}-${String(offset + into.length - 1)}`;

/** What the object storage says where it sends no bytes. */
function checkStorage(status: number): void {
  if (status === 206) return;
  const words = `it answers ${String(status)}`;
  throw status === 429 || status >= 500 ? new Error(words) : new AddressRefused(words);
}

/** Behind a policy that drops packets nothing answers: the store role is not far. */
const CONNECT_MS = 5_000;

/** Opens no connection before the first request. */
export function newStoreClient(options: ClientOptions): StoreClient {
  const { url, tokenFile, maxSockets, redirects, silenceMs } = options;
  const base = new URL(url);
  const isSecure = base.protocol === "https:";
  const pool = { keepAlive: true, maxSockets };
  const agent = isSecure ? new https.Agent(pool) : new http.Agent(pool);
  const raw = newRawClient({ silenceMs });
  const direct = newRawClient({ silenceMs, connectMs: CONNECT_MS });
  const send = isSecure ? https.request : http.request;

  async function token(): Promise<string> {
    const text = await readFile(tokenFile, "utf8").catch((error: unknown) => {
      throw passing("TokenMissing", `the token of the store cannot be read: ${messageOf(error)}`);
    });
    return text.trim();
  }

  /** GET, or PUT of a small JSON document. */
  async function open(path: string, signal: AbortSignal, document?: string): Promise<http.IncomingMessage> {
    const headers = {
      authorization: `Bearer ${await token()}`,
      ...(document === undefined ? {} : { "content-type": "application/json", "content-length": document.length }),
    };
    const method = document === undefined ? "GET" : "PUT";
    const { promise, resolve, reject } = Promise.withResolvers<http.IncomingMessage>();
    const request = send(new URL(path, base), { method, agent, headers, signal }, resolve);
    request.setTimeout(silenceMs, () => request.destroy(new Error(`no byte for ${String(silenceMs / 1000)} s`)));
    request.once("error", reject).end(document);
    const body = await promise;
    const status = body.statusCode ?? 0;
    if (status === 200 || status === 204) return body;
    throw refusalOf(status, await textOf(body));
  }

  async function fromStore(part: Part, onBytes: OnBytes, signal: AbortSignal): Promise<Link | undefined> {
    const { sha256, offset, into } = part;
    const asked = redirects.wanted;
    const headers = {
      authorization: `Bearer ${await token()}`,
      range: rangeOf(part),
      ...(asked ? { [REDIRECT_HEADER]: "allowed" } : {}),
    };
    const body = newPartBody({ offset, into }, (bytes) => onBytes(bytes, false));
    await raw.get({ url: new URL(BLOBS_ROUTE + sha256, base), headers, ...body }, signal);
    const { status, location } = body.answer;
    // Where the place may not be followed, the store role is asked for the bytes from here on.
    if (asked && status === 307) return redirects.keep(sha256, location) ?? fromStore(part, onBytes, signal);
    body.end();
    return undefined;
  }

  /** True where the bytes came; false where another way has to be tried. Whoever is asked here never sees the token. */
  async function fromStorage(part: Part, link: Link, onBytes: OnBytes, signal: AbortSignal): Promise<boolean> {
    const body = newPartBody(part, (bytes) => onBytes(bytes, true));
    try {
      await direct.get({ url: link.url, headers: { range: rangeOf(part) }, ...body }, signal);
      checkStorage(body.answer.status);
      body.end();
      redirects.worked();
      return true;
    } catch (error) {
      if (signal.aborted) throw error;
      // What came is kept: the next try asks for the rest.
      if (body.receivedBytes > 0) throw passing("StoreUnreachable", "the connection to the object storage broke off");
      redirects.failed(part.sha256, link, error);
      return false;
    }
  }

  async function rawPart(part: Part, onBytes: OnBytes, signal: AbortSignal): Promise<void> {
    const kept = redirects.kept(part.sha256);
    if (kept && (await fromStorage(part, kept, onBytes, signal))) return;
    const link = await fromStore(part, onBytes, signal);
    if (link && (await fromStorage(part, link, onBytes, signal))) return;
    // A new address failed, so none is asked for any more.
    if (link) await fromStore(part, onBytes, signal);
  }

  /** Runs one exchange; what breaks on the way is translated, an abort stays an abort. */
  async function guarded<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (signal.aborted) throw abortError();
      throw error instanceof RetryError ? error : unreachable(base.origin, error);
    }
  }

  return {
    manifest: (maxBytes, signal) =>
      guarded(signal, async () =>
        wholeOf(await open(MANIFEST_ROUTE, signal), maxBytes, endless("ManifestDamaged", maxBytes)),
      ),
    signature: (maxBytes, signal) =>
      guarded(signal, async () =>
        wholeOf(await open(SIGNATURE_ROUTE, signal), maxBytes, endless("SignatureInvalid", maxBytes)),
      ).catch((error: unknown) => {
        if (isUnsigned(error)) return undefined;
        throw error;
      }),
    report: (report, signal) =>
      guarded(signal, async () => void (await open(PROGRESS_ROUTE, signal, JSON.stringify(report))).resume()),
    part: (part, onBytes, signal) => guarded(signal, () => rawPart(part, onBytes, signal)),
    avoidRedirects: (why) => redirects.stop(why),
    close: () => {
      raw.close();
      direct.close();
      agent.destroy();
    },
  };
}
