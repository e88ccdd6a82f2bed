// Faults of a server in front of the real one: 503, 429 with Retry-After, 410, delays, answers that get lost, streams
// that fall silent or break. HTTP/1.1 on both sides; towards clients it serves TLS with the API server's own certificate,
// so they trust it as they trust the server (client certificates do not pass: use tokens). For faults below HTTP
// (refused connections, HTTP/2) see tcpproxy.ts.
import { readFileSync } from "node:fs";
import * as http from "node:http";
import * as https from "node:https";
import type { AddressInfo, Socket } from "node:net";
import type { Readable } from "node:stream";
import type { ByteGate } from "./bytegate.ts";
import type { Cluster } from "./cluster.ts";

/** What is done to a request that a rule matches. */
export type HttpFault =
  /** Answered in the server's place; `message` goes into a Kubernetes Status or an S3 error. */
  | { readonly kind: "status"; readonly code: number; readonly retryAfterSeconds?: number; readonly message?: string }
  /** A watch that begins with 200 and one ERROR event of code 410, as the API server does for a compacted version. */
  | { readonly kind: "gone-event" }
  /** Connection reset before anything is forwarded. */
  | { readonly kind: "reset" }
  /** The server acts, the client gets a reset in place of the answer. */
  | { readonly kind: "lose-answer" }
  /** Never answered, connection open. */
  | { readonly kind: "stall" }
  /** Forwarded after a while. */
  | { readonly kind: "delay"; readonly delayMs: number }
  /** The server's answer with another status, other headers (undefined: without it) or another body: a server that lies. */
  | {
      readonly kind: "rewrite";
      readonly status?: number;
      readonly headers?: Readonly<Record<string, string | undefined>>;
      readonly body?: (body: Buffer) => Buffer | string;
      /** Written in pieces of so many bytes, which are chunks where the answer has no length. */
      readonly chunkBytes?: number;
    }
  /** The last byte of the request's body is another one when it reaches the server. */
  | { readonly kind: "spoil-request" }
  /** The body breaks off after so many bytes. */
  | { readonly kind: "cut"; readonly afterBytes: number }
  /** The body falls silent after so many bytes, connection open; `onSilent` is told when it does. */
  | { readonly kind: "stall-after"; readonly afterBytes: number; readonly onSilent?: () => void }
  /** The body comes byte by byte: never silent, and never over. `onByte` is told how many there were. */
  | { readonly kind: "trickle"; readonly everyMs: number; readonly onByte?: (sent: number) => void };

export interface SeenRequest {
  readonly method: string;
  /** Path with query, as the client sent it. */
  readonly url: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly isWatch: boolean;
  readonly headers: http.IncomingHttpHeaders;
  /** Bytes of the answer's body that have been passed on, where no fault hit it. */
  readonly passedBytes: number;
}

export interface FaultRule {
  /** Every request when missing. */
  readonly match?: (request: SeenRequest) => boolean;
  /** How many requests it hits before it is spent (default: all). */
  readonly times?: number;
  readonly fault: HttpFault;
}

export interface RuleHandle {
  readonly hits: number;
  remove(): void;
}

export interface FaultProxy {
  /** Base URL for clients. */
  readonly url: string;
  readonly port: number;
  /** Adds a rule; the first that matches and is not spent acts. */
  add(rule: FaultRule): RuleHandle;
  /** The same, before all others. */
  addFirst(rule: FaultRule): RuleHandle;
  /** Drops all rules; stalled requests stay stalled. */
  clear(): void;
  /** Requests seen so far, newest last. */
  readonly seen: readonly SeenRequest[];
  /** Resets every open connection, watches included, once. */
  resetOpen(): void;
  close(): Promise<void>;
}

export interface FaultProxyOptions {
  /** Base URL of the real server. */
  readonly target: string;
  /** CA of an `https` target. */
  readonly caPem?: string;
  /** Serves TLS with these; plain HTTP when missing. */
  readonly tls?: { readonly certPem: string; readonly keyPem: string };
  readonly dialect?: "kubernetes" | "s3";
  /** What bodies pass that no fault hits. */
  readonly gate?: ByteGate;
}

interface ActiveRule extends FaultRule {
  hits: number;
}

interface Exchange {
  readonly passed: (bytes: number) => void;
  readonly incoming: http.IncomingMessage;
  readonly answer: http.ServerResponse;
  /** Sends the client a TCP reset. */
  readonly reset: () => void;
}

const reasons: Readonly<Record<number, string>> = { 410: "Expired", 429: "TooManyRequests", 503: "ServiceUnavailable" };

function kubernetesStatus(code: number, message: string): object {
  return {
    kind: "Status",
    apiVersion: "v1",
    metadata: {},
    status: "Failure",
    message,
    reason: reasons[code] ?? "",
    code,
  };
}

function answerStatus({ incoming, answer }: Exchange, fault: HttpFault & { kind: "status" }, dialect: string): void {
  const { code, retryAfterSeconds, message = `fault injected by the test: ${String(code)}` } = fault;
  incoming.resume();
  const s3Code = code === 503 ? "SlowDown" : "InjectedFault";
  const body =
    dialect === "s3"
      ? `<?xml version="1.0" encoding="UTF-8"?><Error><Code>${s3Code}</Code><Message>${message}</Message></Error>`
      : JSON.stringify(kubernetesStatus(code, message));
  answer.writeHead(code, {
    "content-type": dialect === "s3" ? "application/xml" : "application/json",
    "content-length": Buffer.byteLength(body),
    ...(retryAfterSeconds !== undefined && { "retry-after": String(retryAfterSeconds) }),
  });
  answer.end(incoming.method === "HEAD" ? undefined : body);
}

function answerGone({ answer }: Exchange): void {
  const object = kubernetesStatus(410, "too old resource version: 1 (2)");
  answer.writeHead(200, { "content-type": "application/json" });
  answer.end(`${JSON.stringify({ type: "ERROR", object })}\n`);
}

const gated = (body: Readable, gate: ByteGate | undefined): Readable => (gate ? body.pipe(gate.through()) : body);

/** Copies a body, up to `limit` bytes; then the connection is reset or falls silent. */
function copyBody(
  exchange: Exchange,
  upstream: http.IncomingMessage,
  fault: HttpFault | undefined,
  gate: ByteGate | undefined,
): void {
  const { answer } = exchange;
  if (fault?.kind !== "cut" && fault?.kind !== "stall-after") {
    const body = gated(upstream, gate);
    body.on("data", (chunk: Buffer) => exchange.passed(chunk.length));
    body.pipe(answer);
    return;
  }
  let left = fault.afterBytes;
  const stop = (): void => {
    upstream.pause();
    if (fault.kind === "stall-after") return fault.onSilent?.();
    upstream.destroy();
    exchange.reset();
  };
  upstream.on("data", (chunk: Buffer) => {
    const part = chunk.subarray(0, left);
    left -= part.length;
    // Back-pressure does not matter for the few bytes before a cut.
    if (left > 0) answer.write(part);
    else answer.write(part, stop);
  });
  upstream.on("end", () => answer.end());
}

function trickle({ answer }: Exchange, upstream: http.IncomingMessage, fault: HttpFault & { kind: "trickle" }): void {
  upstream.once("data", (chunk: Buffer) => {
    upstream.pause();
    let sent = 0;
    const timer = setInterval(() => {
      answer.write(chunk.subarray(sent % chunk.length, (sent % chunk.length) + 1));
      fault.onByte?.(++sent);
    }, fault.everyMs);
    answer.once("close", () => {
      clearInterval(timer);
      upstream.destroy();
    });
  });
}

/** Takes the whole answer and gives another; Content-Length follows the new body unless the fault names one. */
function rewrite({ answer }: Exchange, upstream: http.IncomingMessage, fault: HttpFault & { kind: "rewrite" }): void {
  const chunks: Buffer[] = [];
  upstream.on("data", (chunk: Buffer) => chunks.push(chunk));
  upstream.on("end", () => {
    const before = Buffer.concat(chunks);
    const body = Buffer.from(fault.body?.(before) ?? before);
    const headers = { ...upstream.headers, "content-length": String(body.length), ...fault.headers };
    const kept = Object.entries(headers).filter(([, value]) => value !== undefined);
    answer.writeHead(fault.status ?? upstream.statusCode ?? 502, Object.fromEntries(kept));
    const { chunkBytes = body.length } = fault;
    let at = 0;
    for (; body.length - at > chunkBytes; at += chunkBytes) answer.write(body.subarray(at, at + chunkBytes));
    answer.end(body.subarray(at));
  });
}

function forward(exchange: Exchange, options: FaultProxyOptions, agent: http.Agent, fault?: HttpFault): void {
  const { incoming, answer } = exchange;
  const target = new URL(incoming.url ?? "/", options.target);
  // The Host header stays the client's: S3 signatures cover it.
  const headers = { ...incoming.headers };
  delete headers.expect;
  const settings = { method: incoming.method, headers, agent, ca: options.caPem };
  const send = target.protocol === "https:" ? https.request : http.request;
  const outgoing = send(target, settings, (upstream) => {
    if (fault?.kind === "lose-answer") {
      upstream.resume().on("end", () => exchange.reset());
      return;
    }
    if (fault?.kind === "rewrite") return rewrite(exchange, upstream, fault);
    answer.writeHead(upstream.statusCode ?? 502, upstream.headers);
    // A watch must be seen to have begun before its first event.
    answer.flushHeaders();
    upstream.on("error", () => exchange.reset());
    if (fault?.kind === "trickle") return trickle(exchange, upstream, fault);
    copyBody(exchange, upstream, fault, options.gate);
  });
  outgoing.on("error", () => exchange.reset());
  answer.on("close", () => outgoing.destroy());
  incoming.on("error", () => outgoing.destroy());
  if (fault?.kind === "spoil-request") spoil(incoming, outgoing);
  else gated(incoming, options.gate).pipe(outgoing);
}

function spoil(incoming: http.IncomingMessage, outgoing: http.ClientRequest): void {
  const chunks: Buffer[] = [];
  incoming.on("data", (chunk: Buffer) => chunks.push(chunk));
  incoming.on("end", () => {
    const body = Buffer.concat(chunks);
    if (body.length > 0) body[body.length - 1] = (body.at(-1) ?? 0) ^ 1;
    outgoing.end(body);
  });
}

function act(exchange: Exchange, options: FaultProxyOptions, agent: http.Agent, fault: HttpFault | undefined): void {
  switch (fault?.kind) {
    case "status":
      return answerStatus(exchange, fault, options.dialect ?? "kubernetes");
    case "gone-event":
      return answerGone(exchange);
    case "reset":
      return exchange.reset();
    case "stall":
      return;
    case "delay":
      setTimeout(() => forward(exchange, options, agent), fault.delayMs);
      return;
    case "lose-answer":
    case "rewrite":
    case "spoil-request":
    case "cut":
    case "stall-after":
    case "trickle":
    case undefined:
      return forward(exchange, options, agent, fault);
  }
}

function seenOf(incoming: http.IncomingMessage): SeenRequest & { passedBytes: number } {
  const url = incoming.url ?? "/";
  const { pathname, searchParams } = new URL(url, "http://proxy");
  const isWatch = ["1", "true"].includes(searchParams.get("watch") ?? "");
  return {
    method: incoming.method ?? "GET",
    url,
    path: pathname,
    query: searchParams,
    isWatch,
    headers: incoming.headers,
    passedBytes: 0,
  };
}

/** Starts a proxy on a free port of the loopback interface. */
export async function startFaultProxy(options: FaultProxyOptions): Promise<FaultProxy> {
  const rules: ActiveRule[] = [];
  const seen: SeenRequest[] = [];
  // The TCP sockets below TLS: only those can send a reset.
  const sockets = new Map<number, Socket>();
  const secure = options.target.startsWith("https:");
  const agent = secure ? new https.Agent({ keepAlive: true }) : new http.Agent({ keepAlive: true });
  const handle = (incoming: http.IncomingMessage, answer: http.ServerResponse): void => {
    const request = seenOf(incoming);
    seen.push(request);
    const rule = rules.find(({ match, times = Infinity, hits }) => hits < times && (!match || match(request)));
    if (rule) rule.hits += 1;
    const { remotePort = 0 } = incoming.socket;
    const reset = (): void => void sockets.get(remotePort)?.resetAndDestroy();
    const passed = (bytes: number): void => void (request.passedBytes += bytes);
    act({ incoming, answer, reset, passed }, options, agent, rule?.fault);
  };
  const { tls } = options;
  const server = tls ? https.createServer({ cert: tls.certPem, key: tls.keyPem }, handle) : http.createServer(handle);
  server.requestTimeout = 0;
  server.on("connection", (socket: Socket) => {
    const { remotePort = 0 } = socket;
    sockets.set(remotePort, socket);
    socket.on("error", () => undefined).on("close", () => sockets.delete(remotePort));
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject).listen(0, "127.0.0.1", resolve);
  });
  const { port } = server.address() as AddressInfo;
  const enter = (rule: FaultRule, put: (active: ActiveRule) => unknown): RuleHandle => {
    const active: ActiveRule = { ...rule, hits: 0 };
    put(active);
    return {
      get hits() {
        return active.hits;
      },
      remove: () => void rules.splice(rules.indexOf(active), rules.includes(active) ? 1 : 0),
    };
  };
  return {
    url: `${tls ? "https" : "http"}://127.0.0.1:${String(port)}`,
    port,
    seen,
    add: (rule) => enter(rule, (active) => rules.push(active)),
    addFirst: (rule) => enter(rule, (active) => rules.unshift(active)),
    clear: () => void rules.splice(0),
    resetOpen: () => sockets.forEach((socket) => socket.resetAndDestroy()),
    close: async () => {
      agent.destroy();
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

/** A proxy in front of a cluster's API server, trusted by its clients. Needs our own control plane (its serving key). */
export function startApiProxy(cluster: Cluster): Promise<FaultProxy> {
  const { servingCertPath, servingKeyPath } = cluster.info;
  if (!servingCertPath || !servingKeyPath)
    throw new Error("a proxy needs the API server's own key: requires(t, 'server-restart')");
  const tls = { certPem: readFileSync(servingCertPath, "utf8"), keyPem: readFileSync(servingKeyPath, "utf8") };
  return startFaultProxy({ target: cluster.url, caPem: cluster.caPem, tls });
}
