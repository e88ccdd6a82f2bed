/** The ledger behind a URL: `s3://bucket/prefix` or `file:///path`. */
import { fileURLToPath } from "node:url";

import type { Ledger } from "../../ports.ts";
import { TerminalError } from "../../runtime/errors.ts";
import { newS3Client } from "../s3/client.ts";
import { STORAGE_FORM, shownURL, storageFault } from "../storageurl.ts";
import { withVerifyMode } from "./careful.ts";
import { withCompression } from "./compression.ts";
import { newDirectoryLedger } from "./directory.ts";
import { newS3Ledger } from "./s3.ts";

export interface LedgerPlace {
  readonly url: string;
  /** S3 only: URL of the server; undefined means AWS itself. */
  readonly endpoint?: string;
  readonly region?: string;
  readonly credentials?: { readonly accessKeyId: string; readonly secretAccessKey: string };
}

/** Opens without a request; `probe()` makes the first one. Throws TerminalError for a URL of another form. */
export function openLedger({ url, endpoint, region = "us-east-1", credentials }: LedgerPlace): Ledger {
  const wrong = (why: string) =>
    new TerminalError("LedgerURLInvalid", `--ledger-url ${shownURL(url)} ${why}: ${STORAGE_FORM}`);
  const fault = storageFault(url);
  if (fault !== undefined) throw wrong(fault);
  const parsed = new URL(url);
  if (parsed.protocol === "file:")
    return withCompression(withVerifyMode(newDirectoryLedger(fileURLToPath(parsed)), { isConditional: true }));
  if (!credentials) {
    throw new TerminalError(
      "LedgerCredentialsMissing",
      "an S3 ledger needs BERTH_LEDGER_ACCESS_KEY_ID and BERTH_LEDGER_SECRET_ACCESS_KEY in the environment",
    );
  }
  const client = newS3Client({ region, credentials, ...(endpoint === undefined ? {} : { endpoint }), maxSockets: 16 });
  const prefix = parsed.pathname.replace(/^\/+|\/+$/g, "");
  return withCompression(withVerifyMode(newS3Ledger({ client, bucket: parsed.hostname, prefix })));
}
