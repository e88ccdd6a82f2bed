/**
 * The way for the bytes of large reads below the SDK: the SDK signs, addresses and understands errors, a raw client brings the body
 * of a success straight into the caller's memory. Node's own client hands out 64 KiB at a time, which costs several times the CPU.
 */
import { Readable } from "node:stream";
import { crc32 } from "node:zlib";
import { NodeHttpHandler } from "@smithy/node-http-handler";

type Handle = NodeHttpHandler["handle"];
type Request = Parameters<Handle>[0];
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
    },
    signal: AbortSignal,
  ): Promise<void>;
  close(): void;
}

/** Memory to fill, and what came into it. Given to `client.send` beside the abort signal. */
export class BulkTarget {
  /** Bytes that came. */
  at = 0;
  /** CRC-32 of them, counted as they came. */
  crc32 = 0;
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
    this.crc32 = 0;
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
    this.crc32 = crc32(piece, this.crc32);
  }
}

/** Longer error pages say nothing more. */
const LONGEST_REFUSAL = 64 << 10;
const never = new AbortController().signal;

/** As signatures have it (RFC 3986). */
const escaped = (text: string): string =>
  encodeURIComponent(text).replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);

function urlOf({ protocol, hostname, port, path, query }: Request): URL {
  const pairs = Object.entries(query).flatMap(([name, value]) =>
    (Array.isArray(value) ? value : [value]).map((one) => `${escaped(name)}=${escaped(one ?? "")}`),
  );
  const origin = `${protocol}//${hostname}${port === undefined ? "" : `:${String(port)}`}`;
  return new URL(`${origin}${path}${pairs.length > 0 ? `?${pairs.join("&")}` : ""}`);
}

const isBody = (status: number): boolean => status === 200 || status === 206;

async function fetchInto(client: BulkClient, request: Request, url: URL, target: BulkTarget, signal: AbortSignal) {
  let status = 0;
  let refusal = Buffer.alloc(0);
  let headers: ReadonlyMap<string, string> = new Map();
  await client.get(
    {
      url,
      headers: request.headers,
      onHead: (head) => {
        ({ status, headers } = head);
        target.begin(headers, isBody(status));
      },
      into: () => (isBody(status) ? target.next() : undefined),
      onBytes: (piece) => {
        if (isBody(status)) target.take(piece);
        else refusal = Buffer.concat([refusal, piece.subarray(0, LONGEST_REFUSAL - refusal.length)]);
      },
    },
    signal,
  );
  return { statusCode: status, headers: Object.fromEntries(headers), body: Readable.from([refusal]) };
}

/** A handler that takes requests with a BulkTarget the raw way, and all others the usual one. */
export class BulkHandler extends NodeHttpHandler {
  readonly #client: BulkClient;

  constructor(options: ConstructorParameters<typeof NodeHttpHandler>[0], client: BulkClient) {
    super(options);
    this.#client = client;
  }

  override async handle(...[request, options]: Parameters<Handle>): Promise<Answer> {
    const target = (options as { readonly bulk?: unknown } | undefined)?.bulk;
    if (!(target instanceof BulkTarget)) return super.handle(request, options);
    const url = urlOf(request);
    // What was signed is what must be asked for: a path that URLs would tidy up cannot go this way.
    if (url.pathname !== request.path) throw new Error(`the key of ${request.path.slice(0, 200)} cannot be asked for`);
    const signal = (options?.abortSignal as AbortSignal | undefined) ?? never;
    const response = await fetchInto(this.#client, request, url, target, signal);
    return { response: response as Answer["response"] };
  }

  override destroy(): void {
    super.destroy();
    this.#client.close();
  }
}
