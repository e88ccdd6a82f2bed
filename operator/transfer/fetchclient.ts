/**
 * The store role as `berth fetch` sees it: manifest and parts of files over HTTP/1.1. The token is read anew for each
 * request, since the kubelet renews it. Refusals and faults are RetryError with a TerminalError inside that says which.
 */
import { readFile } from "node:fs/promises";
import * as http from "node:http";
import * as https from "node:https";
import { BLOBS_ROUTE, MANIFEST_ROUTE } from "../api/store.ts";
import { RetryError, TerminalError, messageOf } from "../runtime/errors.ts";
import { newRawClient } from "./rawget.ts";
import type { RawHead } from "./rawhead.ts";
import { abortError } from "./slots.ts";

export interface StoreClient {
  /** The manifest's bytes, at most `maxBytes`. */
  manifest(maxBytes: number, signal: AbortSignal): Promise<Uint8Array>;
  /** Fills `into` with the bytes of a file from `offset` on; `onBytes` is told of each piece that came. */
  part(part: Part, onBytes: (bytes: number) => void, signal: AbortSignal): Promise<void>;
  close(): void;
}

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

interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  /** Pieces as they come. */
  readonly body: http.IncomingMessage;
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

/** Takes the answer to one range: its bytes go where they belong, a refusal becomes an error at the end. */
function newPartBody({ offset, into }: Omit<Part, "sha256">, onBytes: (bytes: number) => void) {
  let status = 0;
  let at = 0;
  let refusal = Buffer.alloc(0);
  return {
    onHead(head: RawHead): void {
      status = head.status;
      if (status !== 200 && status !== 206) return;
      // Whoever stands between may take the range away: then the beginning would be taken for the middle.
      const isThisRange = head.headers.get("content-range")?.startsWith(`bytes ${String(offset)}-`);
      if (status !== 206 || !isThisRange)
        throw passing("StoreRefused", "something on the way to the store ignores ranges");
    },
    onBytes(piece: Uint8Array): void {
      if (status !== 206) {
        refusal = Buffer.concat([refusal, piece.subarray(0, longestRefusal - refusal.length)]);
        return;
      }
      // Before it is written: a body in chunks says only as it comes how long it is.
      if (at + piece.length > into.length) throw passing("StoreRefused", "the store sends more than was asked for");
      into.set(piece, at);
      at += piece.length;
      onBytes(piece.length);
    },
    end(): void {
      if (status !== 206) throw refusalOf(status, refusal.toString("utf8"));
      if (at < into.length) throw passing("StoreUnreachable", "the connection to the store broke off");
    },
  };
}

/** Opens no connection before the first request. */
export function newStoreClient(options: ClientOptions): StoreClient {
  const { url, tokenFile, maxSockets, silenceMs } = options;
  const base = new URL(url);
  const isSecure = base.protocol === "https:";
  const pool = { keepAlive: true, maxSockets };
  const agent = isSecure ? new https.Agent(pool) : new http.Agent(pool);
  const raw = newRawClient({ silenceMs });
  const send = isSecure ? https.request : http.request;

  async function token(): Promise<string> {
    const text = await readFile(tokenFile, "utf8").catch((error: unknown) => {
      throw passing("TokenMissing", `the token of the store cannot be read: ${messageOf(error)}`);
    });
    return text.trim();
  }

  async function open(path: string, range: string | undefined, signal: AbortSignal): Promise<Answer> {
    const headers = { authorization: `Bearer ${await token()}`, ...(range === undefined ? {} : { range }) };
    const { promise, resolve, reject } = Promise.withResolvers<http.IncomingMessage>();
    const request = send(new URL(path, base), { agent, headers, signal }, resolve);
    request.setTimeout(silenceMs, () => request.destroy(new Error(`no byte for ${String(silenceMs / 1000)} s`)));
    request.once("error", reject).end();
    const body = await promise;
    const status = body.statusCode ?? 0;
    if (status === 200 || status === 206) return { status, headers: body.headers, body };
    throw refusalOf(status, await textOf(body));
  }

  async function rawPart({ sha256, offset, into }: Part, onBytes: (bytes: number) => void, signal: AbortSignal) {
    const range = `bytes=${String(offset)}-${String(offset + into.length - 1)}`;
    const headers = { authorization: `Bearer ${await token()}`, range };
    const body = newPartBody({ offset, into }, onBytes);
    await raw.get({ url: new URL(BLOBS_ROUTE + sha256, base), headers, ...body }, signal);
    body.end();
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
      guarded(signal, async () => {
        const { body } = await open(MANIFEST_ROUTE, undefined, signal);
        const chunks: Buffer[] = [];
        let bytes = 0;
        for await (const chunk of body as AsyncIterable<Buffer>) {
          bytes += chunk.length;
          if (bytes > maxBytes)
            throw passing("ManifestDamaged", `the manifest is longer than ${String(maxBytes)} bytes`);
          chunks.push(chunk);
        }
        return Buffer.concat(chunks);
      }),
    part: (part, onBytes, signal) => guarded(signal, async () => rawPart(part, onBytes, signal)),
    close: () => {
      raw.close();
      agent.destroy();
    },
  };
}
