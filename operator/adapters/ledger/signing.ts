/** Ed25519 keys in PEM, as `openssl genpkey -algorithm ed25519` and `openssl pkey -pubout` write them. */
import { createHash, createPrivateKey, createPublicKey, hkdfSync, sign, verify } from "node:crypto";
import type { KeyObject } from "node:crypto";

import type { ManifestSigner, TrustedKeys } from "../../ports.ts";
import { TerminalError } from "../../runtime/errors.ts";

/** Throws TerminalError for anything but one private Ed25519 key; the text never shows in the message. */
export function signerOf(pem: string, from: string): ManifestSigner {
  const key = parsed(() => createPrivateKey(pem), `${from} holds no private key in PEM`);
  const publicKey = createPublicKey(key);
  const keyId = keyIdOf(publicKey, from);
  return {
    keyId,
    sign: (bytes) => sign(null, bytes, key),
    verify: (bytes, signature) => verify(null, bytes, publicKey, signature),
    derive: (purpose) => derived(key, purpose),
  };
}

/** Apart from what the signatures are made with (RFC 8032 hashes the same seed with SHA-512). */
function derived(key: KeyObject, purpose: string): Uint8Array {
  const seed = Buffer.from(key.export({ format: "jwk" }).d ?? "", "base64url");
  return new Uint8Array(hkdfSync("sha256", seed, new Uint8Array(0), purpose, 32));
}

/** The public half of a private key, so that its holder can look at what it vouches for. */
export function publicHalfOf(pem: string, from: string): TrustedKeys {
  const key = createPublicKey(parsed(() => createPrivateKey(pem), `${from} holds no private key in PEM`));
  return new Map([[keyIdOf(key, from), (bytes, signature) => verify(null, bytes, key, signature)]]);
}

/** Every public key of a file: several while a rotation goes on. Throws TerminalError for a file without any. */
export function trustedKeysOf(pems: string, from: string): TrustedKeys {
  const blocks = pems.match(/-----BEGIN PUBLIC KEY-----[^-]+-----END PUBLIC KEY-----/g) ?? [];
  if (blocks.length === 0) throw unusable(`${from} holds no public key in PEM`);
  return new Map(
    blocks.map((block) => {
      const key = parsed(() => createPublicKey(block), `${from} holds a public key that cannot be read`);
      return [keyIdOf(key, from), (bytes, signature) => verify(null, bytes, key, signature)];
    }),
  );
}

/** SHA-256 of the public key's DER (SubjectPublicKeyInfo) in hexadecimal: `openssl pkey -pubin -outform DER | sha256sum`. */
function keyIdOf(key: KeyObject, from: string): string {
  if (key.asymmetricKeyType !== "ed25519") throw unusable(`${from} holds a key of type ${key.asymmetricKeyType}`);
  return createHash("sha256")
    .update(key.export({ type: "spki", format: "der" }))
    .digest("hex");
}

function parsed(read: () => KeyObject, otherwise: string): KeyObject {
  try {
    return read();
  } catch {
    // The cause may quote what it could not read: a secret.
    throw unusable(otherwise);
  }
}

function unusable(what: string): TerminalError {
  return new TerminalError("LedgerKeyUnusable", `${what}: make one with openssl genpkey -algorithm ed25519`);
}
