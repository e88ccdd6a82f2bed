/**
 * Connections through the platform's proxy (CONNECT, RFC 9110 section 9.3.6). A proxy dials for us, so that the check in the moment of
 * the connection is not ours to make: the proxy is asked for the very address that was judged here, or, where the platform
 * says so, for the name, after what this resolver knows of it was judged.
 */
import type { Agent as HttpAgent, AgentOptions } from "node:http";
import { Agent as PlainHttp } from "node:http";
import { Agent as PlainHttps } from "node:https";
import type { Agent as HttpsAgent } from "node:https";
import { connect, isIP } from "node:net";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { RetryError, TerminalError } from "../../runtime/errors.ts";
import type { EgressGuard } from "./guard.ts";
import { newProxyChoice } from "./proxy.ts";
import type { ProxyServer, ProxySettings, Target } from "./proxy.ts";

export interface Tunnels {
  /** A socket that leads to the target and has carried nothing yet; undefined where the way is direct. */
  open(target: Target): Promise<Socket> | undefined;
  /** Agents that take these ways. */
  agents(options: AgentOptions): { readonly httpAgent: HttpAgent; readonly httpsAgent: HttpsAgent };
}

const CONNECT_MS = 10_000;
/** Longer answers are no proxy's. */
const LONGEST_HEAD = 8 << 10;

const authority = (host: string, port: number): string => `${isIP(host) === 6 ? `[${host}]` : host}:${String(port)}`;

/** The proxy itself is not named: where it stands is nothing for tenants. */
function failed(target: Target, why: string): RetryError {
  const where = authority(target.host, target.port);
  const remedy = "the platform's administrator looks after importer.httpsProxy";
  return new RetryError(
    new TerminalError("SourceUnreachable", `${where} cannot be reached: the platform's proxy ${why}; ${remedy}`),
  );
}

/** What is wrong with the beginning of the proxy's answer; true where it agrees, undefined until that can be told. */
function verdictOf(head: string): string | true | undefined {
  const at = head.indexOf("\r\n\r\n");
  if (at < 0) return head.length > LONGEST_HEAD ? "answers without an end" : undefined;
  const [, status = ""] = /^HTTP\/1\.[01] (\d{3})(?: |\r|$)/.exec(head) ?? [];
  if (!status.startsWith("2")) return status === "" ? "does not speak HTTP" : `answers ${status}`;
  // Whoever is asked speaks second: bytes before the question are nobody's.
  return head.length > at + 4 ? "sends bytes that nobody asked for" : true;
}

/** Resolves when the proxy agrees; the socket has then carried nothing else, and reads nothing until it is told to. */
function agreement(socket: Socket, target: Target): Promise<void> {
  return new Promise((resolve, reject) => {
    let head = "";
    const end = (why?: string): void => {
      socket.setTimeout(0).pause();
      for (const [event, listener] of Object.entries(listeners)) socket.off(event, listener);
      if (why === undefined) return resolve();
      socket.on("error", () => undefined).destroy();
      reject(failed(target, why));
    };
    const listeners = {
      timeout: () => end("does not answer in time"),
      error: (error: NodeJS.ErrnoException) => end(`is away (${error.code ?? error.name})`),
      close: () => end("closes the connection"),
      data: (piece: Buffer) => {
        head += piece.toString("latin1");
        const verdict = verdictOf(head);
        if (verdict !== undefined) end(verdict === true ? undefined : verdict);
      },
    };
    for (const [event, listener] of Object.entries(listeners)) socket.on(event, listener as () => void);
    socket.setTimeout(CONNECT_MS);
  });
}

/** Asks one proxy for one host, which is a judged address or the target's own name. */
async function dial(proxy: ProxyServer, target: Target, host: string): Promise<Socket> {
  const where = authority(host, target.port);
  if (!/^[A-Za-z0-9._:[\]-]+$/.test(where)) throw failed(target, "cannot be asked for such a name");
  const secret = proxy.authorization === undefined ? "" : `Proxy-Authorization: ${proxy.authorization}\r\n`;
  const socket = connect({ host: proxy.host, port: proxy.port, noDelay: true });
  socket.write(`CONNECT ${where} HTTP/1.1\r\nHost: ${where}\r\n${secret}\r\n`, "latin1");
  await agreement(socket, target);
  return socket;
}

async function open(
  proxy: ProxyServer,
  target: Target,
  { connectBy }: ProxySettings,
  guard: EgressGuard | undefined,
): Promise<Socket> {
  const judged = guard ? await guard.judge(target.host, { mayBeUnknown: connectBy === "name" }) : [];
  if (connectBy === "name" || judged.length === 0) return dial(proxy, target, target.host);
  let last: unknown;
  for (const address of judged) {
    try {
      return await dial(proxy, target, address);
    } catch (error) {
      last = error;
    }
  }
  throw last;
}

type Created = (error: Error | null, socket: Duplex) => void;

/** An agent whose connections take the tunnel where there is one. */
function tunnelled<A extends HttpAgent>(agent: A, secure: boolean, tunnels: Pick<Tunnels, "open">): A {
  const direct = agent.createConnection.bind(agent) as (
    options: object,
    created?: Created,
  ) => Duplex | null | undefined;
  const create = (options: { host?: string; port?: number | string }, created: Created): Duplex | null | undefined => {
    const target = { secure, host: options.host ?? "", port: Number(options.port) || (secure ? 443 : 80) };
    const opening = tunnels.open(target);
    if (!opening) return direct(options, created);
    opening.then(
      (socket) => {
        created(null, secure ? (direct({ ...options, socket }) ?? socket) : socket);
        if (!secure) socket.resume();
      },
      (error: Error) => created(error, undefined as never),
    );
    return undefined;
  };
  return Object.assign(agent, { createConnection: create });
}

/** Undefined where the settings name no proxy. With a guard, tunnels lead only where it allows. */
export function newTunnels(settings: ProxySettings, guard?: EgressGuard): Tunnels | undefined {
  if (!settings.https && !settings.http) return undefined;
  const proxyOf = newProxyChoice(settings);
  const tunnels: Pick<Tunnels, "open"> = {
    open(target) {
      const proxy = proxyOf(target);
      return proxy && open(proxy, target, settings, guard);
    },
  };
  return {
    ...tunnels,
    agents(options) {
      const plain = guard?.agents(options) ?? {
        httpAgent: new PlainHttp(options),
        httpsAgent: new PlainHttps(options),
      };
      const { httpAgent, httpsAgent } = plain;
      return {
        httpAgent: tunnelled(httpAgent, false, tunnels),
        httpsAgent: tunnelled(httpsAgent, true, tunnels),
      };
    },
  };
}
