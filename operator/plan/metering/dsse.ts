/**
 * DSSE v1 envelopes around manifests: what is signed is the type and the exact stored bytes, so no parser stands between a key and
 * what it vouches for (github.com/secure-systems-lab/dsse, protocol.md: PAE). The signing itself is behind ports.ts.
 */
import { ENVELOPE_TYPE } from "../../api/ledger.ts";
import type { Envelope } from "../../api/ledger.ts";
import type { ManifestSigner, TrustedKeys } from "../../ports.ts";
import { canonicalBytes } from "./canonical.ts";

/** Pre-authentication encoding: lengths in bytes, decimal, so that no two pairs of type and body give the same bytes. */
export function signedBytes(type: string, body: Uint8Array): Uint8Array {
  const head = Buffer.from(`DSSEv1 ${Buffer.byteLength(type)} ${type} ${body.byteLength} `);
  return Buffer.concat([head, body]);
}

/** The envelope of a manifest as it is stored; Ed25519 takes no randomness, so one key gives one envelope. */
export function envelopeBytes(manifest: Uint8Array, signer: ManifestSigner): Uint8Array {
  const sig = Buffer.from(signer.sign(signedBytes(ENVELOPE_TYPE, manifest))).toString("base64");
  const envelope: Envelope = {
    payloadType: ENVELOPE_TYPE,
    payload: Buffer.from(manifest).toString("base64"),
    signatures: [{ keyid: signer.keyId, sig }],
  };
  return canonicalBytes(envelope);
}

/** How that problem begins: a key is missing, no byte is wrong. */
export const UNTRUSTED = "is signed with a key that is not trusted";

/** What is wrong with an envelope beside `manifest`, in words that follow its key; undefined where a trusted key vouches for it. */
export function envelopeProblem(envelope: Envelope, manifest: Uint8Array, trust: TrustedKeys): string | undefined {
  if (!Buffer.from(envelope.payload, "base64").equals(manifest)) return "signs other bytes than the manifest beside it";
  const known = envelope.signatures.filter(({ keyid }) => trust.has(keyid));
  if (known.length === 0) {
    const found = envelope.signatures.map(({ keyid }) => keyid).join(", ");
    return `${UNTRUSTED} (${found})`;
  }
  const body = signedBytes(envelope.payloadType, manifest);
  const good = known.some(({ keyid, sig }) => trust.get(keyid)?.(body, Buffer.from(sig, "base64")) === true);
  return good ? undefined : "holds a signature that is not its key's";
}
