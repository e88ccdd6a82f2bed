/** Where a sink's files go: a folder of this process or of a bucket. Written once and durably, as the ledger's objects are. */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

import type { SinkConfig } from "../../api/sinks.ts";
import type { Ledger } from "../../ports.ts";
import { RetryError, messageOf } from "../../runtime/errors.ts";
import { newDirectoryLedger } from "../ledger/directory.ts";
import { openLedger } from "../ledger/open.ts";

export type SinkFolder = Pick<Ledger, "putOnce" | "get">;
type FolderConfig = Extract<SinkConfig, { readonly type: "jsonl" | "focus" }>;

/** Opens without a request. Keys of a bucket are read at each call, so that rotated ones are taken up. */
export function openFolder(config: FolderConfig): SinkFolder {
  if (config.url.startsWith("file:")) return toldOf(config, newDirectoryLedger(fileURLToPath(config.url)));
  const { url, endpoint, s3Region: region } = config;
  let opened: { readonly keys: string; readonly ledger: Ledger } | undefined;
  async function bucket(): Promise<Ledger> {
    const [accessKeyId, secretAccessKey] = [
      await keyIn(config.accessKeyIdFile),
      await keyIn(config.secretAccessKeyFile),
    ];
    const keys = `${accessKeyId}\n${secretAccessKey}`;
    if (opened?.keys !== keys) {
      const ledger = openLedger({ url, credentials: { accessKeyId, secretAccessKey }, endpoint, region });
      opened = { keys, ledger };
    }
    return opened.ledger;
  }
  return toldOf(config, {
    putOnce: async (key, body) => (await bucket()).putOnce(key, body),
    get: async (key) => (await bucket()).get(key),
  });
}

function toldOf(config: FolderConfig, folder: SinkFolder): SinkFolder {
  return {
    putOnce: (key, body) => told(config, () => folder.putOnce(key, body)),
    get: (key) => told(config, () => folder.get(key)),
  };
}

/** The ledger's adapter speaks of the ledger's flags; here it is the sink's place that is wrong. */
async function told<T>({ name, url }: FolderConfig, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    const why = error instanceof Error && error.cause instanceof Error ? error.cause.message : messageOf(error);
    throw new RetryError(new Error(`sink ${name} cannot write to ${url}: ${why}`, { cause: error }));
  }
}

async function keyIn(path: string | undefined): Promise<string> {
  if (path === undefined)
    throw new RetryError(new Error("a sink to s3:// needs accessKeyIdFile and secretAccessKeyFile"));
  const text = await readFile(path, "utf8").catch((error: unknown) => {
    throw new RetryError(new Error(`${path} cannot be read: ${messageOf(error)}; mount the sink's Secret`));
  });
  return text.trim();
}
