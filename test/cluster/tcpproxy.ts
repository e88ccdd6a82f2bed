// Faults of the network in front of a real server: connections refused, reset, silent, or cut after so many bytes.
// It forwards bytes and knows no protocol, so it serves TLS, HTTP/2 and S3 alike.
import { createServer, connect } from "node:net";
import type { AddressInfo, Server, Socket } from "node:net";

export type TcpFault =
  | { readonly kind: "none" }
  /** Nobody listens. Connections that are open stay. */
  | { readonly kind: "refuse" }
  /** Open and new connections get a TCP reset. */
  | { readonly kind: "reset" }
  /** Open connections fall silent, new ones are accepted and never answered (a half-open peer). */
  | { readonly kind: "stall" }
  /** Each connection ends after so many bytes from the server, counted from now. */
  | { readonly kind: "cut"; readonly afterBytes: number; readonly end?: "reset" | "fin" };

export interface TcpProxy {
  readonly port: number;
  /** Connections accepted so far. */
  readonly accepted: number;
  readonly open: number;
  /** Changes the fault; `none` lets stalled connections go on. */
  set(fault: TcpFault): Promise<void>;
  /** Resets the connections that are open now, once. */
  resetOpen(): void;
  close(): Promise<void>;
}

interface Pair {
  readonly client: Socket;
  readonly upstream: Socket;
  sentBytes: number;
}

const listen = (server: Server, port: number): Promise<void> =>
  new Promise((resolve, reject) => {
    server.once("error", reject).listen(port, "127.0.0.1", resolve);
  });

function resetPair({ client, upstream }: Pair): void {
  client.resetAndDestroy();
  upstream.destroy();
}

function cutPair(pair: Pair, end: "reset" | "fin"): void {
  if (end === "reset") return resetPair(pair);
  pair.client.end();
  pair.upstream.destroy();
}

/** Passes on what the server sends, up to the cut. */
function forward(pair: Pair, chunk: Buffer, fault: TcpFault): void {
  const left = fault.kind === "cut" ? fault.afterBytes - pair.sentBytes : Infinity;
  const part = chunk.length > left ? chunk.subarray(0, Math.max(0, left)) : chunk;
  pair.sentBytes += part.length;
  if (fault.kind === "cut" && chunk.length >= left) {
    const { end = "reset" } = fault;
    pair.client.write(part, () => cutPair(pair, end));
    pair.upstream.pause();
  } else if (!pair.client.write(part)) {
    pair.upstream.pause();
    pair.client.once("drain", () => pair.upstream.resume());
  }
}

/** Starts a proxy on a free port of the loopback interface. */
export async function startTcpProxy(target: { host?: string; port: number }): Promise<TcpProxy> {
  let fault: TcpFault = { kind: "none" };
  let accepted = 0;
  const pairs = new Set<Pair>();

  function accept(client: Socket): void {
    accepted += 1;
    client.on("error", () => client.destroy());
    if (fault.kind === "reset") return void client.resetAndDestroy();
    const upstream = connect(target.port, target.host ?? "127.0.0.1");
    const pair: Pair = { client, upstream, sentBytes: 0 };
    pairs.add(pair);
    const gone = (): void => void pairs.delete(pair);
    client.on("close", gone).on("close", () => upstream.destroy());
    upstream.on("error", () => client.resetAndDestroy()).on("end", () => client.end());
    client.on("data", (chunk: Buffer) => {
      if (!upstream.write(chunk)) client.pause();
    });
    upstream.on("drain", () => fault.kind !== "stall" && client.resume());
    client.on("end", () => upstream.end());
    upstream.on("data", (chunk: Buffer) => forward(pair, chunk, fault));
    if (fault.kind === "stall") pauseBoth(pair);
  }
  function pauseBoth({ client, upstream }: Pair): void {
    client.pause();
    upstream.pause();
  }

  let server = createServer({ allowHalfOpen: true }, accept);
  await listen(server, 0);
  const { port } = server.address() as AddressInfo;

  async function set(next: TcpFault): Promise<void> {
    fault = next;
    if (next.kind === "refuse" && server.listening) server.close();
    if (next.kind !== "refuse" && !server.listening) {
      server = createServer({ allowHalfOpen: true }, accept);
      await listen(server, port);
    }
    for (const pair of pairs) {
      pair.sentBytes = 0;
      if (next.kind === "reset") resetPair(pair);
      else if (next.kind === "stall") pauseBoth(pair);
      else [pair.client, pair.upstream].forEach((socket) => socket.resume());
    }
  }
  return {
    port,
    get accepted() {
      return accepted;
    },
    get open() {
      return pairs.size;
    },
    set,
    resetOpen: () => pairs.forEach(resetPair),
    close: async () => {
      for (const { client, upstream } of pairs) {
        client.destroy();
        upstream.destroy();
      }
      if (server.listening) await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
