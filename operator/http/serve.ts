/** Binds an app to a port and ends it without cutting answers off. */
import type { Express } from "express";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

export interface Serving {
  /** The port that was bound: another than asked for only where 0 was asked for. */
  readonly port: number;
  /** Takes no new connections and resolves when the running answers are out. */
  stop(): Promise<void>;
  /** Ends what still runs, so that `stop` resolves. */
  cut(): void;
}

/** Without a host on every address, IPv6 too where there is any. Rejects where the port cannot be bound, naming it. */
export async function serve(app: Express, port: number, host?: string): Promise<Serving> {
  const server = createServer({ requestTimeout: 30_000, headersTimeout: 10_000 }, app);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", (error) =>
    reject(new Error(`port ${port} cannot be served: ${error.message}`, { cause: error })),
  );
  server.listen({ port, ...(host === undefined ? {} : { host }) }, resolve);
  await promise;
  return {
    port: (server.address() as AddressInfo).port,
    stop() {
      const closed = new Promise<void>((done) => server.close(() => done()));
      server.closeIdleConnections();
      return closed;
    },
    cut: () => server.closeAllConnections(),
  };
}
