/** DSSE envelopes around a model's manifest: whoever reads it elsewhere can hold it to a key that the store knows nothing of. */
import { canonicalBytes } from "../metering/canonical.ts";
import { signedBytes } from "../metering/dsse.ts";
import { isJson } from "./config.ts";
import type { ManifestSigner, TrustedKeys } from "../../ports.ts";

/** payloadType of the envelope: a signature of anything else is none of a model's manifest. */
export const MODEL_ENVELOPE_TYPE = "application/vnd.berth.model-manifest.v1+json";
/** Folder of a manifest's signatures, below the revision's. */
export const SIGNATURES = ".berth/signatures/";
/** An envelope of the largest manifest stays below this. */
export const MAX_ENVELOPE_BYTES = 24 << 20;

/**
 * Key below the revision's folder of the signature of a manifest with these bytes (their SHA-256 as 64 hex digits): written before the
 * manifest, so that one which should be signed never stands unsigned, and never in the way of another import's.
 */
export function signatureKey(manifestSha256: string): string {
  return `${SIGNATURES}${manifestSha256}.json`;
}

/** One key and one manifest give one envelope. */
export function modelEnvelope(manifest: Uint8Array, signer: Pick<ManifestSigner, "keyId" | "sign">): Uint8Array {
  const sig = Buffer.from(signer.sign(signedBytes(MODEL_ENVELOPE_TYPE, manifest))).toString("base64");
  return canonicalBytes({
    payloadType: MODEL_ENVELOPE_TYPE,
    payload: Buffer.from(manifest).toString("base64"),
    signatures: [{ keyid: signer.keyId, sig }],
  });
}

interface Signature {
  readonly keyid: string;
  readonly sig: string;
}

/** The payload and signatures of an envelope; undefined where the text is none of a model's manifest. */
function parsed(text: string): { readonly payload: string; readonly signatures: readonly Signature[] } | undefined {
  try {
    const json: unknown = JSON.parse(text);
    if (!isJson(json) || json["payloadType"] !== MODEL_ENVELOPE_TYPE) return undefined;
    const { payload, signatures } = json;
    if (typeof payload !== "string" || !Array.isArray(signatures) || signatures.length > 16) return undefined;
    const sound = signatures
      .filter(isJson)
      .filter(({ keyid, sig }) => typeof keyid === "string" && typeof sig === "string");
    return { payload, signatures: sound as unknown as Signature[] };
  } catch {
    return undefined;
  }
}

/** Why no trusted key vouches for these bytes, in words that follow "the manifest"; undefined where one does. */
export function signatureProblem(
  manifest: Uint8Array,
  envelope: Uint8Array | undefined,
  trust: TrustedKeys,
): string | undefined {
  if (!envelope) return "is not signed";
  const found = parsed(new TextDecoder().decode(envelope));
  if (!found) return "has a signature that is no DSSE envelope of a model's manifest";
  if (!Buffer.from(found.payload, "base64").equals(manifest)) return "has a signature of other bytes";
  const known = found.signatures.filter(({ keyid }) => trust.has(keyid));
  if (known.length === 0) {
    const keys = found.signatures.map(({ keyid }) => keyid.slice(0, 64).replace(/[^0-9a-f]/g, "?")).join(", ");
    return `is signed with a key that is not trusted (${keys})`;
  }
  const body = signedBytes(MODEL_ENVELOPE_TYPE, manifest);
  const isGood = known.some(({ keyid, sig }) => trust.get(keyid)?.(body, Buffer.from(sig, "base64")) === true);
  return isGood ? undefined : "holds a signature that is not its key's";
}
