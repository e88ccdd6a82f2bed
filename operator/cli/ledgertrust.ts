/** The keys that a command of the ledger trusts: named by files, never found beside the data. */
import { readFile } from "node:fs/promises";

import { publicHalfOf, signerOf, trustedKeysOf } from "../adapters/ledger/signing.ts";
import type { ManifestSigner, TrustedKeys } from "../ports.ts";

/** Public keys of all the files; undefined where none is named. */
export async function trustOf(files: readonly string[] | undefined): Promise<TrustedKeys | undefined> {
  if (!files) return undefined;
  const keys = await Promise.all(files.map(async (file) => trustedKeysOf(await readFile(file, "utf8"), file)));
  return new Map(keys.flatMap((found) => [...found]));
}

export interface Trusting {
  readonly signingKey?: string;
  readonly trust?: readonly string[];
}

/** What a command signs with, and what it believes: its own key, keys of files, and those in PEM that the environment holds. */
export async function signerAndTrust(
  { signingKey, trust }: Trusting,
  env: Readonly<Record<string, string | undefined>>,
): Promise<{ readonly signer?: ManifestSigner; readonly trust?: TrustedKeys }> {
  const keys = new Map(await trustOf(trust));
  const given = env[TRUSTED_KEYS_VARIABLE];
  if (given) for (const [id, key] of trustedKeysOf(given, TRUSTED_KEYS_VARIABLE)) keys.set(id, key);
  const pem = signingKey === undefined ? undefined : await readFile(signingKey, "utf8");
  if (pem === undefined || signingKey === undefined) return keys.size > 0 ? { trust: keys } : {};
  for (const [id, key] of publicHalfOf(pem, signingKey)) keys.set(id, key);
  return { signer: signerOf(pem, signingKey), trust: keys };
}

export const TRUSTED_KEYS_VARIABLE = "BERTH_LEDGER_TRUSTED_KEYS";
