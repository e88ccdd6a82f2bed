// An S3 server with the bucket `ledger`, and a proxy before it that breaks what real stores and networks break.
import { after, before } from "node:test";
import { openLedger } from "../../operator/adapters/ledger/open.ts";
import type { Ledger } from "../../operator/ports.ts";
import { startFaultProxy } from "../cluster/faultproxy.ts";
import type { FaultProxy } from "../cluster/faultproxy.ts";
import { startS3 } from "../cluster/s3.ts";
import type { S3Server } from "../cluster/s3.ts";

export interface LedgerServer {
  s3: S3Server;
  proxy: FaultProxy;
  /** A ledger of its own in the bucket, by the server's own endpoint or the proxy's. */
  at(endpoint: string, place: string): Ledger;
}

/** For all tests of a file: call it at the top; server and proxy are there once the tests run. */
export function ledgerServer(): LedgerServer {
  const there = {
    at(endpoint: string, place: string) {
      const { region, accessKeyId, secretAccessKey } = there.s3;
      const credentials = { accessKeyId, secretAccessKey };
      return openLedger({ url: `s3://ledger/${place}`, endpoint, region, credentials });
    },
  } as LedgerServer;
  before(async () => {
    there.s3 = await startS3();
    await there.s3.createBucket("ledger");
    there.proxy = await startFaultProxy({ target: there.s3.endpoint, dialect: "s3" });
  });
  after(async () => {
    await there.proxy.close();
    await there.s3.stop();
  });
  return there;
}
