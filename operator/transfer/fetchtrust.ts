/**
 * Whether the manifest that came is the one that this pod was made for, by keys and a digest from its own template: the store role, the
 * store and whoever may write there are not believed. Asked before anything of the manifest is used.
 */
import { MAX_ENVELOPE_BYTES, signatureProblem } from "../plan/model/signature.ts";
import type { TrustedKeys } from "../ports.ts";
import { TerminalError } from "../runtime/errors.ts";
import type { StoreClient } from "./fetchclient.ts";

export interface FetchTrust {
  /** One of them must have signed the manifest; several while a key is replaced. */
  readonly keys: TrustedKeys;
  /** Of the revision that the deployment pins: a good signature of another revision, or of another model, is none of this one. */
  readonly digest: string;
}

const REMEDY =
  "ask the platform why the store holds it; then import the model again with a trusted key (annotation berth.dev/reimport) and renew the deployment (berth.dev/rollout)";

function invalid(what: string, { keys }: FetchTrust): TerminalError {
  const message = `${what}; nothing of the model was fetched. Trusted keys: ${[...keys.keys()].join(", ")}. What to do: ${REMEDY}`;
  return new TerminalError("SignatureInvalid", message);
}

/** Throws a TerminalError unless a trusted key vouches for exactly these bytes; a RetryError where the store role cannot tell now. */
export async function checkSignature(
  manifest: Uint8Array,
  trust: FetchTrust,
  { client, signal }: { readonly client: StoreClient; readonly signal: AbortSignal },
): Promise<void> {
  const envelope = await client.signature(MAX_ENVELOPE_BYTES, signal);
  const problem = signatureProblem(manifest, envelope, trust.keys);
  if (problem !== undefined) throw invalid(`the manifest of ${trust.digest} ${problem}`, trust);
}

export function checkDigest(digest: string, trust: FetchTrust): void {
  if (digest === trust.digest) return;
  throw invalid(`the store sends the manifest of ${digest} for the pinned revision ${trust.digest}`, trust);
}
