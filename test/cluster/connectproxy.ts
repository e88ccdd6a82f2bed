// A small forward proxy: CONNECT and nothing else, with or without a password, resolving names by a table of the test's own.
import { createServer, connect } from "node:net";
import type { AddressInfo, Socket } from "node:net";

export interface ConnectProxy {
  /** `http://127.0.0.1:<port>`. */
  readonly url: string;
  readonly port: number;
  /** What was asked for, as it was written: `host:port`, in order. */
  readonly asked: readonly string[];
  /** Whole heads of the requests. */
  readonly heads: readonly string[];
  /** Connections that lead somewhere now. */
  readonly open: number;
  close(): Promise<void>;
}

export interface ConnectProxyOptions {
  /** Value of Proxy-Authorization without which it answers 407. */
  readonly authorization?: string;
  /** Where names (and addresses) are on this machine; others are dialled as they are. */
  readonly places?: Readonly<Record<string, string>>;
  /** In place of an answer of its own, to every request. */
  readonly answer?: string;
}

export async function startConnectProxy(options: ConnectProxyOptions = {}): Promise<ConnectProxy> {
  const asked: string[] = [];
  const heads: string[] = [];
  const sockets = new Set<Socket>();
  let open = 0;
  const keep = (socket: Socket): Socket => {
    sockets.add(socket);
    return socket.on("error", () => undefined).on("close", () => sockets.delete(socket));
  };

  function lead(client: Socket, target: string): void {
    const [, host = "", port = ""] = /^(.*):(\d+)$/.exec(target) ?? [];
    const bare = host.replace(/^\[|\]$/g, "");
    const upstream = keep(connect({ host: options.places?.[bare] ?? bare, port: Number(port) }));
    upstream.once("connect", () => {
      open += 1;
      client.write("HTTP/1.1 200 Connection established\r\n\r\n");
      client.pipe(upstream).pipe(client);
    });
    client.once("close", () => upstream.destroy());
    upstream.once("close", () => {
      open -= 1;
      client.destroy();
    });
    upstream.once("error", () => client.end("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"));
  }

  const server = createServer((client) => {
    keep(client);
    let head = "";
    const read = (piece: Buffer): void => {
      head += piece.toString("latin1");
      if (!head.includes("\r\n\r\n")) return;
      client.off("data", read).pause();
      heads.push(head);
      const [, target = ""] = /^CONNECT (\S+) HTTP\/1\.1\r\n/.exec(head) ?? [];
      asked.push(target);
      if (options.answer !== undefined) return void client.write(options.answer);
      const given = /^proxy-authorization: (.*)\r$/im.exec(head)?.[1];
      if (options.authorization !== undefined && given !== options.authorization)
        return void client.end("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n");
      if (target === "") return void client.end("HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n");
      lead(client, target);
    };
    client.on("data", read);
  });
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${String(port)}`,
    port,
    asked,
    heads,
    get open() {
      return open;
    },
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => void server.close(() => resolve()));
    },
  };
}
