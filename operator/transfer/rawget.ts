/**
 * GET of a range into memory that the caller owns, over pooled plain sockets (HTTP/1.1, RFC 9112). Node's client hands out
 * a new 64 KiB buffer for each read, outside of the heap, where they pile up faster than they are collected: a fetch of
 * 1.5 GB held 300 MB. Here each connection reads into one buffer of its own for its whole life.
 */
import * as net from "node:net";
import * as tls from "node:tls";
import { newBodyReader } from "./rawbody.ts";
import type { BodyReader } from "./rawbody.ts";
import { newHeadReader } from "./rawhead.ts";
import type { RawHead } from "./rawhead.ts";
import { TURN_BYTES, newOnread } from "./rawonread.ts";
import type { Reading, Taker } from "./rawonread.ts";
import { abortError } from "./slots.ts";

export interface RawRequest {
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  /** Told of the head before any byte of the body; it throws where the body is not the one that was asked for. */
  readonly onHead: (head: RawHead) => void;
  /** A piece of the body, valid only during the call. */
  readonly onBytes: (piece: Uint8Array) => void;
  /**
   * Memory that the next bytes of the body may be read into, so that they need not be copied: the piece is then the beginning of it.
   * Asked before each read that follows the head; nothing is written to it after the request has ended.
   */
  readonly into?: (() => Uint8Array | undefined) | undefined;
  /** Asked after each piece: nothing more is read, and the piece stays as it is, until this resolves. */
  readonly drained?: (() => Promise<void> | undefined) | undefined;
  /** The time until `drained` resolves is the caller's: it is not held against the server as silence. */
  readonly isPatient?: boolean | undefined;
}

export interface RawClient {
  /** Resolves when the whole body has come. Rejects with what broke, with what a callback threw, or with an abort. */
  get(request: RawRequest, signal: AbortSignal): Promise<void>;
  close(): void;
}

/** Who decides where connections may go; see adapters/egress. */
export interface RawGuard {
  readonly check: (host: string) => void;
  readonly lookup: net.LookupFunction;
}

export interface RawOptions {
  /** Milliseconds without a byte after which a request fails, with an error of the name TimeoutError. */
  readonly silenceMs: number;
  /** Milliseconds in which a connection must stand; `silenceMs` where absent. */
  readonly connectMs?: number;
  /** For places that a tenant names; those of the platform need none. */
  readonly guard?: RawGuard | undefined;
  /** Ways through a proxy, judged by themselves; see adapters/egress. */
  readonly tunnels?: RawTunnels | undefined;
}

/** A socket that leads to the place and has carried nothing yet; undefined where the way is direct. */
export interface RawTunnels {
  readonly open: (target: {
    readonly secure: boolean;
    readonly host: string;
    readonly port: number;
  }) => Promise<net.Socket> | undefined;
}

/** What a socket reads at once: some system calls for a part, and small beside it. */
const READ_BYTES = 256 << 10;
/** A connection for one request at a time. */
interface Line {
  readonly socket: net.Socket;
  readonly silenceMs: number;
  reading: Reading | undefined;
  /** True after an answer that came whole, until the next request. */
  rests: boolean;
}

/**
 * Buffers of connections that have ended, for those that come: servers may close after each answer, and a quarter of a megabyte for
 * each small file keeps the garbage collector busy. As many are kept as were in use at once.
 */
type Buffers = Buffer[];

/** Where Node reads into a buffer of its own: a socket that was connected before it was handed over. */
function readPieces(socket: net.Socket, line: Taker): void {
  socket.on("data", (piece) => {
    if (!line.reading) socket.destroy();
    const busy = line.reading?.take(piece);
    if (!busy) return;
    socket.pause();
    busy.then(
      () => socket.resume(),
      () => socket.destroy(),
    );
  });
}

function placeOf(url: URL) {
  const secure = url.protocol === "https:";
  return { secure, host: url.hostname.replace(/^\[|\]$/g, ""), port: Number(url.port) || (secure ? 443 : 80) };
}

function connected(
  options: net.TcpNetConnectOpts & tls.ConnectionOptions,
  isSecure: boolean,
  name: { readonly servername?: string },
  through: net.Socket | undefined,
): net.Socket {
  if (!through) return isSecure ? tls.connect(options) : net.connect(options);
  return isSecure ? tls.connect({ ...name, host: options.host, socket: through }) : through;
}

/** `through` is a connection that a proxy has made. */
function dial(
  url: URL,
  { silenceMs, connectMs = silenceMs, guard }: RawOptions,
  buffers: Buffers,
  through?: net.Socket,
): Line {
  const { secure: isSecure, ...where } = placeOf(url);
  const { host } = where;
  if (!through) guard?.check(host);
  const state: Taker = { reading: undefined };
  const own = buffers.pop() ?? Buffer.allocUnsafeSlow(READ_BYTES);
  const onread = newOnread(state, own, isSecure, () => socket);
  // A name for TLS is a name: literal addresses are sent without one (RFC 6066, section 3).
  const secure = net.isIP(host) ? {} : { servername: host };
  // Node documents `onread` for tls.connect; its published types leave it out.
  const lookup = guard ? { lookup: guard.lookup } : {};
  const options: net.TcpNetConnectOpts & tls.ConnectionOptions = { ...where, ...secure, ...lookup, onread };
  const socket = connected(options, isSecure, secure, through);
  const line: Line = Object.assign(state, { socket, silenceMs, rests: false });
  if (through) readPieces(socket, line);
  const fail = (error: Error): void => line.reading?.fail(error);
  socket.setNoDelay(true).setTimeout(connectMs);
  if (through && !isSecure) socket.setTimeout(silenceMs).resume();
  socket.once(isSecure ? "secureConnect" : "connect", () => socket.setTimeout(silenceMs));
  socket.on("timeout", () => {
    const silent = new Error(`no byte for ${String((socket.timeout ?? silenceMs) / 1000)} s`);
    socket.destroy(Object.assign(silent, { name: "TimeoutError" }));
  });
  socket.on("error", fail);
  socket.on("end", () => socket.destroy());
  socket.on("close", () => {
    // After an answer that broke off somebody may still hold a piece of the buffer.
    if (line.rests) buffers.push(own);
    fail(Object.assign(new Error("the connection broke off"), { code: "ECONNRESET" }));
  });
  return line;
}

function requestText({ url, headers }: RawRequest): string {
  const lines = Object.entries({ host: url.host, ...headers, accept: "*/*", connection: "keep-alive" });
  if (lines.some(([name, value]) => /[\r\n\0]/.test(name + value))) throw new Error("a header holds a line break");
  return `GET ${url.pathname}${url.search} HTTP/1.1\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join("")}\r\n`;
}

/** Takes the pieces of one answer; says when it is whole, and whether the line can be used again. */
function newAnswer({ onHead, onBytes, into }: RawRequest) {
  const readHead = newHeadReader();
  let started: { readonly head: RawHead; readonly read: BodyReader } | undefined;
  let isWhole = false;
  return {
    take(piece: Uint8Array): { readonly canStay: boolean } | undefined {
      let body = piece;
      if (!started) {
        const found = readHead(piece);
        if (!found) return undefined;
        const { head } = found;
        onHead(head);
        started = { head, read: newBodyReader(head.lengthBytes, onBytes) };
        ({ body } = found);
      }
      isWhole = started.read(body);
      return isWhole ? { canStay: !started.head.isLast } : undefined;
    },
    /** Chunks have their sizes between them: those are nobody's bytes. */
    next(): Uint8Array | undefined {
      if (isWhole || started?.head.lengthBytes === undefined) return undefined;
      const memory = into?.();
      return memory && memory.length > 0 ? memory.subarray(0, TURN_BYTES) : undefined;
    },
  };
}

/** Nobody reads until then, so that nothing can come. */
function pauseSilence({ socket, silenceMs }: Line, until: Promise<void>): void {
  socket.setTimeout(0);
  until.then(
    () => socket.setTimeout(silenceMs),
    () => undefined,
  );
}

/** One exchange on one line; resolves with whether the line can be used again. */
function exchange(line: Line, request: RawRequest, signal: AbortSignal): Promise<boolean> {
  const { promise, resolve, reject } = Promise.withResolvers<boolean>();
  const end = (): void => {
    signal.removeEventListener("abort", stop);
    line.reading = undefined;
  };
  const fail = (error: Error): void => {
    end();
    line.socket.destroy();
    reject(error);
  };
  const stop = (): void => fail(abortError());
  const answer = newAnswer(request);
  const broken = (error: unknown): void => fail(error instanceof Error ? error : new Error(String(error)));
  const take = (piece: Uint8Array): Promise<void> | undefined => {
    try {
      const whole = answer.take(piece);
      const busy = request.drained?.();
      if (busy && request.isPatient) pauseSilence(line, busy);
      if (!whole) {
        busy?.catch(broken);
        return busy;
      }
      // The line is free for another request only when its buffer is.
      if (busy) busy.then(() => (end(), resolve(whole.canStay)), broken);
      else {
        end();
        resolve(whole.canStay);
      }
      return busy;
    } catch (error) {
      broken(error);
      return undefined;
    }
  };
  line.reading = { fail, take, next: answer.next };
  signal.addEventListener("abort", stop, { once: true });
  if (signal.aborted) stop();
  else line.socket.write(requestText(request), "latin1");
  return promise;
}

/** Opens connections as requests need them and keeps those that can be used again. */
export function newRawClient(options: RawOptions): RawClient {
  const idle = new Map<string, Line[]>();
  const all = new Set<Line>();
  const buffers: Buffers = [];
  const free = (origin: string): Line | undefined => {
    for (const lines = idle.get(origin) ?? []; lines.length > 0;) {
      const line = lines.pop();
      if (line && !line.socket.destroyed) return line;
    }
    return undefined;
  };
  async function get(request: RawRequest, signal: AbortSignal): Promise<void> {
    const { origin } = request.url;
    const kept = free(origin);
    const through = kept ? undefined : await options.tunnels?.open(placeOf(request.url));
    if (signal.aborted) through?.destroy();
    const line = kept ?? dial(request.url, options, buffers, through);
    if (!kept) {
      all.add(line);
      line.socket.once("close", () => all.delete(line));
    }
    line.rests = false;
    const canStay = await exchange(line, request, signal);
    line.rests = true;
    if (!canStay) return void line.socket.destroy();
    const lines = idle.get(origin) ?? [];
    idle.set(origin, [...lines.filter(({ socket }) => !socket.destroyed), line]);
  }
  return {
    get,
    close: () => {
      for (const { socket } of all) socket.destroy();
    },
  };
}
