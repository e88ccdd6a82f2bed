/**
 * Signatures beside manifests. Berth signs only a manifest whose every byte it computed itself: what somebody else put into the
 * bucket first is kept, and stays unsigned.
 */
import { envelope as envelopeSchema, manifest as manifestSchema } from "../api/ledger.ts";
import { envelopeBytes, envelopeProblem } from "../plan/metering/dsse.ts";
import type { PoolHistory } from "../plan/metering/history.ts";
import { sha256Hex } from "../plan/metering/identity.ts";
import { manifestBytes, manifestOf, recordsOf } from "../plan/metering/records.ts";
import { secondsOf, signatureKeyOf, startOfManifestKey } from "../plan/metering/windows.ts";
import type { Ledger, ManifestSigner, TrustedKeys } from "../ports.ts";
import { TerminalError } from "../runtime/errors.ts";
import type { Head } from "./segments.ts";

/** Stores the envelope of a manifest that this process computed. "differs": another one was there, and was kept. */
export async function signManifest(
  ledger: Ledger,
  manifest: { readonly key: string; readonly bytes: Uint8Array },
  signer: ManifestSigner,
): Promise<"signed" | "differs"> {
  const key = signatureKeyOf(manifest.key);
  const ours = envelopeBytes(manifest.bytes, signer);
  const put = await ledger.putOnce(key, ours);
  const stored = await ledger.get(key);
  if (stored && Buffer.from(ours).equals(stored)) return "signed";
  if (put === "exists" && stored) return "differs";
  throw new TerminalError("LedgerObjectDamaged", `${key} does not hold the bytes that were written to it`);
}

/**
 * The head may lack its signature where a process died between the two. It gets one only if the cluster still gives the very
 * same bytes: nothing of a sealed window is forgotten before it is signed, so after a death it does.
 */
export async function signHead(
  ledger: Ledger,
  head: Head,
  by: { readonly signer: ManifestSigner; readonly histories: readonly PoolHistory[]; readonly clusterId: string },
): Promise<"signed" | "differs" | "there" | "unknown"> {
  if (await ledger.get(signatureKeyOf(head.key))) return "there";
  const stored = await ledger.get(head.key);
  if (!stored) return "unknown";
  const { windowStart, windowEnd } = manifestSchema.parse(JSON.parse(Buffer.from(stored).toString()));
  const window = { start: secondsOf(windowStart), end: secondsOf(windowEnd) };
  const records = recordsOf(by.histories, window, by);
  const before = await manifestBefore(ledger, head.key);
  const bytes = manifestBytes(manifestOf(window, records, { clusterId: by.clusterId, ...before }));
  if (sha256Hex(bytes) !== sha256Hex(stored)) return "unknown";
  return signManifest(ledger, { key: head.key, bytes }, by.signer);
}

async function manifestBefore(ledger: Ledger, key: string) {
  const keys = await ledger.list("v1/");
  const before = keys.findLast((one) => one < key && startOfManifestKey(one) !== undefined);
  const bytes = before === undefined ? undefined : await ledger.get(before);
  if (!bytes) return { sealedThrough: undefined };
  const { windowEnd } = manifestSchema.parse(JSON.parse(Buffer.from(bytes).toString()));
  return { sealedThrough: secondsOf(windowEnd), previousManifestSha256: sha256Hex(bytes) };
}

/** Judges the signature beside one manifest by pinned keys alone; undefined where it is good. */
export async function signatureProblem(
  ledger: Ledger,
  manifest: { readonly key: string; readonly bytes: Uint8Array },
  trust: TrustedKeys,
): Promise<string | undefined> {
  const stored = await ledger.get(signatureKeyOf(manifest.key));
  if (!stored) return "is listed and cannot be read";
  try {
    const envelope = envelopeSchema.parse(JSON.parse(Buffer.from(stored).toString()));
    return envelopeProblem(envelope, manifest.bytes, trust);
  } catch {
    return "is no DSSE envelope of a manifest";
  }
}
