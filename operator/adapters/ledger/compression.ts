/** Keys that end in `.gz` are stored as gzip: transport only, so that digests are taken over what callers read and write. */
import { promisify } from "node:util";
import { gunzip, gzip } from "node:zlib";

import type { Ledger } from "../../ports.ts";
import { TerminalError } from "../../runtime/errors.ts";

const compress = promisify(gzip);
const decompress = promisify(gunzip);
/** An hour of 10,000 deployments is some 10 MB; what grows above this was not written by Berth. */
const longestBytes = 512 * 2 ** 20;

export function withCompression(ledger: Ledger): Ledger {
  const packed = (key: string) => key.endsWith(".gz");
  return {
    ...ledger,
    async putOnce(key, body) {
      return ledger.putOnce(key, packed(key) ? await compress(body, { level: 6 }) : body);
    },
    async get(key) {
      const stored = await ledger.get(key);
      return stored !== undefined && packed(key) ? unpack(key, stored) : stored;
    },
  };
}

async function unpack(key: string, stored: Uint8Array): Promise<Uint8Array> {
  try {
    return await decompress(stored, { maxOutputLength: longestBytes });
  } catch (error) {
    const message = `${key} in the ledger is no gzip of Berth's; it was not touched: compare it with a copy and restore it`;
    throw new TerminalError("LedgerObjectDamaged", message, { cause: error });
  }
}
