/**
 * Raw JSON over HTTP to one API server: three separate sets of connections (requests, watches, Lease), so that none can
 * starve another. Knows HTTP and metav1.Status; does not know kinds, and translates nothing into the retry taxonomy.
 */
import { Pool } from "undici";

import type { Clock, Log } from "../ports.ts";
import { pause } from "./clock.ts";
import type { Credentials, TlsMaterial } from "./credentials.ts";
import { ApiError } from "./errors.ts";
import { lineSplitter, newExchange } from "./exchange.ts";
import type { RawAnswer } from "./exchange.ts";
import type { RuntimeMetrics } from "./metrics.ts";
import type { ClockWatch } from "./skew.ts";

/** Whose connections a request uses. */
export type Lane = "requests" | "lease";

export interface Call {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** Path with query, as it goes on the wire. */
  readonly path: string;
  /** JSON text. */
  readonly body?: string;
  readonly contentType?: string;
  readonly accept?: string;
  /** Beside the transport's own, which win. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Whole duration, waiting for a connection and repeats included. Default 30 s, 10 s for GET. */
  readonly timeoutMs?: number;
  readonly lane?: Lane;
  readonly signal?: AbortSignal;
}

export interface StreamCall {
  readonly path: string;
  readonly accept?: string;
  readonly signal: AbortSignal;
  /** The stream is given up after so long without a byte (headers included). */
  readonly silenceMs: number;
  /** Called for each complete line, in order; an exception ends the stream with it. */
  readonly onLine: (line: string) => void;
}

export interface Transport {
  /** Parsed JSON body. Throws ApiError from 400 on, and the network's own error otherwise. */
  request(call: Call): Promise<unknown>;
  /** Resolves when the server ends the stream; throws ApiError for a refused one, else the network's error. */
  stream(call: StreamCall): Promise<void>;
  /** Ends idle connections and aborts what still runs. */
  close(): Promise<void>;
}

export interface TransportOptions {
  readonly credentials: Credentials;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: RuntimeMetrics;
  readonly userAgent: string;
  /** Requests in flight at most; more wait in line. */
  readonly maxConnections?: number;
  /** Told the time of every answer. */
  readonly clockWatch?: ClockWatch;
}

/** kube-apiserver closes idle connections after 90 s: leave first, so that no request meets a closing one. */
const keepAliveMs = 55_000;
const connectTimeoutMs = 10_000;
const maxRepeats = 4;
const longestHeldMs = 5_000;

/** Opens no connection before the first call. */
export function newTransport(options: TransportOptions): Transport {
  const { credentials } = options;
  const lanes = newLanes(credentials, options.maxConnections ?? 32);
  const headersFor = newHeaders(credentials, options.userAgent);

  async function once(call: Call, timeoutMs: number): Promise<RawAnswer> {
    const own = await headersFor(call.accept, call.contentType);
    const headers = call.headers ? { ...call.headers, ...own } : own;
    const exchange = newExchange({ clock: options.clock, timeoutMs, signal: call.signal });
    const pool = lanes.current()[call.lane ?? "requests"];
    const sentMs = options.clock.now();
    pool.dispatch({ method: call.method, path: call.path, headers, body: call.body ?? null }, exchange.handler);
    const answer = await exchange.answer;
    options.clockWatch?.sample(answer.headers["date"], sentMs, options.clock.now());
    return answer;
  }

  return {
    request: newRequest(options, once),
    async stream(call) {
      const headers = await headersFor(call.accept, undefined);
      const lines = lineSplitter(call.onLine);
      const exchange = newExchange({
        clock: options.clock,
        silenceMs: call.silenceMs,
        signal: call.signal,
        onChunk: lines,
      });
      lanes.current().watches.dispatch({ method: "GET", path: call.path, headers, body: null }, exchange.handler);
      const answer = await exchange.answer;
      options.metrics.requests.inc({ code: String(answer.status), method: "GET", host: hostOf(credentials.server) });
      if (answer.status === 401) await credentials.invalidate();
      if (answer.status >= 400) throw apiErrorFrom(answer, options.clock);
    },
    close: () => lanes.close(),
  };
}

/** Repeats what the server asks to repeat, within the deadline; measures each attempt. */
function newRequest(options: TransportOptions, once: (call: Call, timeoutMs: number) => Promise<RawAnswer>) {
  const { clock, metrics, credentials } = options;
  const host = hostOf(credentials.server);
  return async function request(call: Call): Promise<unknown> {
    const startedMs = clock.monotonicMs();
    const deadlineMs = startedMs + (call.timeoutMs ?? (call.method === "GET" ? 10_000 : 30_000));
    let renewed = false;
    for (let repeats = 0; ; repeats++) {
      const answer = await measured(() => once(call, deadlineMs - clock.monotonicMs()), call, options);
      if (answer.status < 400) return answer.text === "" ? undefined : JSON.parse(answer.text);
      if (answer.status === 401 && !renewed) {
        renewed = true;
        await credentials.invalidate();
        continue;
      }
      const error = apiErrorFrom(answer, clock);
      const waitMs = error.retryAfterMs;
      // The server did not act on it (flow control, start-up): a short wait costs less than another reconcile.
      const worthIt = waitMs !== undefined && waitMs <= longestHeldMs && repeats < maxRepeats;
      if (!worthIt || clock.monotonicMs() + waitMs >= deadlineMs) throw error;
      metrics.requestRetries.inc({ code: String(answer.status), verb: call.method, host });
      await pause(clock, waitMs * (1 + Math.random() / 4), call.signal);
    }
  };
}

async function measured(run: () => Promise<RawAnswer>, call: Call, options: TransportOptions): Promise<RawAnswer> {
  const { clock, metrics } = options;
  const host = hostOf(options.credentials.server);
  const startedMs = clock.monotonicMs();
  let code = "<error>";
  try {
    const answer = await run();
    code = String(answer.status);
    metrics.responseBytes.observe({ verb: call.method, host }, answer.text.length);
    return answer;
  } finally {
    metrics.requests.inc({ code, method: call.method, host });
    metrics.requestSeconds.observe({ verb: call.method, host }, (clock.monotonicMs() - startedMs) / 1000);
    if (call.body !== undefined) metrics.requestBytes.observe({ verb: call.method, host }, call.body.length);
  }
}

interface Pools {
  readonly tls: TlsMaterial;
  readonly requests: Pool;
  readonly watches: Pool;
  readonly lease: Pool;
}

/** Connections are made anew when the TLS material changes; running exchanges on the old ones end in peace. */
function newLanes(credentials: Credentials, maxConnections: number) {
  let pools: Pools | undefined;
  let closed = false;
  return {
    current(): Pools {
      if (closed) throw new DOMException("the transport is closed", "AbortError");
      const tls = credentials.tls();
      if (pools && pools.tls === tls) return pools;
      for (const pool of pools ? [pools.requests, pools.watches, pools.lease] : []) pool.close().catch(() => undefined);
      pools = openPools(credentials.server, tls, maxConnections);
      return pools;
    },
    async close(): Promise<void> {
      closed = true;
      const all = pools ? [pools.requests, pools.watches, pools.lease] : [];
      pools = undefined;
      await Promise.all(all.map((pool) => pool.destroy()));
    },
  };
}

function openPools(server: string, tls: TlsMaterial, maxConnections: number): Pools {
  const connect = { ...tls, timeout: connectTimeoutMs, keepAlive: true, keepAliveInitialDelay: 30_000 };
  const shared = { connect, keepAliveTimeout: keepAliveMs, keepAliveMaxTimeout: keepAliveMs, allowH2: false };
  // Deadlines are ours (exchange.ts): undici's own would not cover the wait for a connection.
  const limits = { headersTimeout: 0, bodyTimeout: 0 };
  return {
    tls,
    requests: new Pool(server, { ...shared, ...limits, connections: maxConnections }),
    watches: new Pool(server, { ...shared, ...limits, connections: null }),
    lease: new Pool(server, { ...shared, ...limits, connections: 2 }),
  };
}

type Headers = Record<string, string>;

function newHeaders(credentials: Credentials, userAgent: string) {
  return async function headersFor(accept: string | undefined, contentType: string | undefined): Promise<Headers> {
    const value = credentials.authorization();
    const authorization = typeof value === "object" ? await value : value;
    const headers: Record<string, string> = { accept: accept ?? "application/json", "user-agent": userAgent };
    if (authorization !== undefined) headers["authorization"] = authorization;
    if (contentType !== undefined) headers["content-type"] = contentType;
    return headers;
  };
}

function apiErrorFrom(answer: RawAnswer, clock: Clock): ApiError {
  const status = parseStatus(answer.text);
  return new ApiError({
    status: answer.status,
    reason: status.reason ?? `Http${answer.status}`,
    message: status.message ?? (answer.text.slice(0, 300) || `the API server answered ${answer.status}`),
    retryAfterMs: retryAfterMs(answer.headers["retry-after"], clock),
    causes: status.details?.causes,
  });
}

interface Status {
  readonly reason?: string;
  readonly message?: string;
  readonly details?: { readonly causes?: ApiError["causes"] };
}

function parseStatus(text: string): Status {
  try {
    const parsed: unknown = JSON.parse(text);
    return typeof parsed === "object" && parsed !== null ? parsed : {};
  } catch {
    return {}; // a proxy's HTML, or an empty body: the caller shows the text
  }
}

/** RFC 9110 §10.2.3: seconds or a date. */
function retryAfterMs(header: string | undefined, clock: Clock): number | undefined {
  if (header === undefined || header === "") return undefined;
  const seconds = Number(header);
  if (Number.isFinite(seconds)) return Math.max(0, seconds * 1000);
  const date = Date.parse(header);
  return Number.isNaN(date) ? undefined : Math.max(0, date - clock.now());
}

function hostOf(server: string): string {
  return server.slice(server.indexOf("//") + 2);
}
