/** Credentials of the platform's store out of a shell's environment. */
import type { StorePlace } from "../adapters/store/open.ts";

type Environment = Readonly<Record<string, string | undefined>>;

/** Those of the store itself, else the source's. A session token belongs to the key of its own pair and to no other. */
export function storeKeysOf(env: Environment): Pick<StorePlace, "credentials"> {
  const accessKeyId = env["BERTH_STORE_ACCESS_KEY_ID"] ?? env["AWS_ACCESS_KEY_ID"];
  const secretAccessKey = env["BERTH_STORE_SECRET_ACCESS_KEY"] ?? env["AWS_SECRET_ACCESS_KEY"];
  const isOwn = env["BERTH_STORE_ACCESS_KEY_ID"] !== undefined;
  const sessionToken = isOwn ? env["BERTH_STORE_SESSION_TOKEN"] : env["AWS_SESSION_TOKEN"];
  if (!accessKeyId || !secretAccessKey) return {};
  return { credentials: { accessKeyId, secretAccessKey, ...(sessionToken ? { sessionToken } : {}) } };
}
