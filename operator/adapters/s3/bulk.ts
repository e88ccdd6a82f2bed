/**
 * The way for the bytes of objects below the SDK: a raw client brings the body of a success straight into the caller's memory. The SDK
 * still says where a bucket is, and understands refusals: they are handed to it as if it had asked itself.
 */
import { Readable } from "node:stream";
import { NodeHttpHandler } from "@smithy/node-http-handler";
import type { S3Client } from "@aws-sdk/client-s3";
import type { S3Access } from "./client.ts";
import { addressOf } from "./presign.ts";
import { escaped, newSigner } from "./sigv4.ts";

type Handle = NodeHttpHandler["handle"];
type Answer = Awaited<ReturnType<Handle>>;

/** GET over pooled connections into memory; see transfer/rawget.ts. */
export interface BulkClient {
  get(
    request: {
      readonly url: URL;
      readonly headers: Readonly<Record<string, string>>;
      readonly onHead: (head: { readonly status: number; readonly headers: ReadonlyMap<string, string> }) => void;
      readonly onBytes: (piece: Uint8Array) => void;
      readonly into: () => Uint8Array | undefined;
      readonly drained?: () => Promise<void> | undefined;
      readonly isPatient?: boolean;
    },
    signal: AbortSignal,
  ): Promise<void>;
  close(): void;
}

/** Where the body of an answer goes. */
export interface BulkSink {
  readonly headers: ReadonlyMap<string, string>;
  /** Told of each answer before its first byte; throws where the body is not the one that was asked for. */
  begin(headers: ReadonlyMap<string, string>, isBody: boolean): void;
  /** Where the next bytes belong; undefined where there is no memory for them yet. */
  next(): Uint8Array | undefined;
  /** A piece of the body: the beginning of `next()`, or bytes that are somebody else's after the call. */
  take(piece: Uint8Array): void;
  /** Nothing more is read until it resolves. */
  drained?(): Promise<void> | undefined;
}

/** Memory to fill, and what came into it. */
export class BulkTarget implements BulkSink {
  /** Bytes that came. */
  at = 0;
  headers: ReadonlyMap<string, string> = new Map();
  /** True where the answer's body is the object, and not a refusal's words. */
  isBody = false;
  readonly into: Uint8Array;

  constructor(into: Uint8Array) {
    this.into = into;
  }

  begin(headers: ReadonlyMap<string, string>, isBody: boolean): void {
    this.at = 0;
    this.isBody = isBody;
    this.headers = headers;
  }

  /** Where the next bytes belong. */
  next(): Uint8Array {
    return this.into.subarray(this.at);
  }

  take(piece: Uint8Array): void {
    if (this.at + piece.length > this.into.length) throw new Error("the server sends more bytes than were asked for");
    const isThere = piece.buffer === this.into.buffer && piece.byteOffset === this.into.byteOffset + this.at;
    if (!isThere) this.into.set(piece, this.at);
    this.at += piece.length;
  }
}

/** An answer that is no success. Given to `client.send` beside the abort signal. */
export class Refusal {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  readonly words: Uint8Array;

  constructor(status: number, headers: ReadonlyMap<string, string>, words: Uint8Array) {
    this.status = status;
    this.headers = headers;
    this.words = words;
  }
}

/** Longer error pages say nothing more. */
const LONGEST_REFUSAL = 64 << 10;
const never = new AbortController().signal;

/** Ends the exchange, and its connection with it: what follows may be without end. */
class RefusalTooLong extends Error {}

const isBody = (status: number): boolean => status === 200 || status === 206;

/** Resolves with the refusal where the answer is one; else the target holds what came. */
async function fetchInto(
  client: BulkClient,
  { url, headers }: { readonly url: URL; readonly headers: Readonly<Record<string, string>> },
  target: BulkSink,
  signal: AbortSignal,
): Promise<Refusal | undefined> {
  let status = 0;
  let refusal = Buffer.alloc(0);
  const refuse = (piece: Uint8Array): void => {
    refusal = Buffer.concat([refusal, piece.subarray(0, LONGEST_REFUSAL - refusal.length)]);
    if (refusal.length >= LONGEST_REFUSAL) throw new RefusalTooLong("the refusal is longer than anybody reads");
  };
  const request: Parameters<BulkClient["get"]>[0] = {
    url,
    headers,
    onHead: (head) => {
      ({ status } = head);
      target.begin(head.headers, isBody(status));
    },
    into: () => (isBody(status) ? target.next() : undefined),
    onBytes: (piece) => (isBody(status) ? target.take(piece) : refuse(piece)),
    drained: () => (isBody(status) ? target.drained?.() : undefined),
    isPatient: true,
  };
  await client.get(request, signal).catch((error: unknown) => {
    if (!(error instanceof RefusalTooLong)) throw error;
  });
  return isBody(status) ? undefined : new Refusal(status, target.headers, refusal);
}

export interface BulkGet {
  readonly key: string;
  /** Of the request beside those that every one has; names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  readonly versionId?: string | undefined;
}

export type BulkGetter = (get: BulkGet, target: BulkSink, signal?: AbortSignal) => Promise<Refusal | undefined>;

/** GETs of objects of one bucket into memory. */
export function newBulkGetter(client: S3Client, bulk: BulkClient, bucket: string, access: S3Access): BulkGetter {
  const sign = newSigner();
  /** Everything before the key; the same for all of a bucket. */
  let base: Promise<URL> | undefined;
  const addressed = async (): Promise<URL> => {
    const { protocol, hostname, port, path } = await addressOf(client, bucket, "k");
    return new URL(`${protocol}//${hostname}${port === undefined ? "" : `:${String(port)}`}${path.slice(0, -1)}`);
  };
  return async ({ key, headers, versionId }, target, signal = never) => {
    const { origin, host, pathname } = await (base ??= addressed());
    const path = pathname + key.split("/").map(escaped).join("/");
    const query = versionId === undefined ? "" : `versionId=${escaped(versionId)}`;
    const url = new URL(`${origin}${path}${query === "" ? "" : `?${query}`}`);
    // What was signed is what must be asked for: a path that URLs would tidy up cannot go this way.
    if (url.pathname !== path) throw new Error(`the key of ${path.slice(0, 200)} cannot be asked for`);
    const credentials = access.currentCredentials?.() ?? access.credentials;
    const payer: Record<string, string> = access.requesterPays ? { "x-amz-request-payer": "requester" } : {};
    const unsigned = { method: "GET", path, query, headers: { host, ...payer, ...headers } } as const;
    // The SDK learns from refusals how wrong the clock is.
    const nowMs = Date.now() + client.config.systemClockOffset;
    const isAnonymous = access.credentials === undefined || credentials === undefined;
    const all = isAnonymous ? unsigned.headers : sign(unsigned, { region: access.region, credentials, nowMs });
    return fetchInto(bulk, { url, headers: all }, target, signal);
  };
}

/** A handler that answers requests which carry a Refusal with it, and sends all others. */
export class BulkHandler extends NodeHttpHandler {
  readonly #client: BulkClient;

  constructor(options: ConstructorParameters<typeof NodeHttpHandler>[0], client: BulkClient) {
    super(options);
    this.#client = client;
  }

  override async handle(...[request, options]: Parameters<Handle>): Promise<Answer> {
    const refusal = (options as { readonly refusal?: unknown } | undefined)?.refusal;
    if (!(refusal instanceof Refusal)) return super.handle(request, options);
    const { status, headers, words } = refusal;
    const response = { statusCode: status, headers: Object.fromEntries(headers), body: Readable.from([words]) };
    return { response: response as Answer["response"] };
  }

  override destroy(): void {
    super.destroy();
    this.#client.close();
  }
}
