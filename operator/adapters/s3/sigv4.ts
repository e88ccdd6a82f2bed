/**
 * AWS Signature Version 4 of a request without a body, in its headers. The SDK signs as well, but takes a millisecond of CPU for each
 * request that it builds, signs and understands, which is more than a small file or the kernel's work for a part costs.
 */
import { createHmac, createSecretKey, hash } from "node:crypto";
import type { KeyObject } from "node:crypto";
import type { S3Credentials } from "./client.ts";

export interface Signing {
  readonly region: string;
  readonly credentials: S3Credentials;
  /** By the server's clock as far as it is known. */
  readonly nowMs: number;
}

export interface Unsigned {
  readonly method: "GET";
  /** Escaped already. */
  readonly path: string;
  /** Escaped already, sorted by name. */
  readonly query: string;
  /** `host` among them; names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
}

const NO_BODY = hash("sha256", "");

const hmac = (key: string | Uint8Array, text: string): Uint8Array => createHmac("sha256", key).update(text).digest();

/** As URLs of S3 have it (RFC 3986), a slash escaped too. */
export const escaped = (text: string): string =>
  encodeURIComponent(text).replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);

/** A signer keeps the key of the day, which four hashes lead to. */
export function newSigner(): (request: Unsigned, signing: Signing) => Record<string, string> {
  let kept: { readonly of: string; readonly key: KeyObject } | undefined;
  const keyOf = ({ credentials, region }: Signing, day: string): KeyObject => {
    const of = JSON.stringify([credentials.secretAccessKey, day, region]);
    if (kept?.of !== of) {
      const key = [day, region, "s3", "aws4_request"].reduce<string | Uint8Array>(
        hmac,
        `AWS4${credentials.secretAccessKey}`,
      );
      kept = { of, key: createSecretKey(Buffer.from(key)) };
    }
    return kept.key;
  };
  return ({ method, path, query, headers }, signing) => {
    const { accessKeyId, sessionToken } = signing.credentials;
    const time = new Date(signing.nowMs).toISOString().replace(/[-:]|\.\d+/g, "");
    const day = time.slice(0, 8);
    const all: Record<string, string> = {
      ...headers,
      "x-amz-content-sha256": NO_BODY,
      "x-amz-date": time,
      ...(sessionToken === undefined ? {} : { "x-amz-security-token": sessionToken }),
    };
    const names = Object.keys(all).sort();
    const lines = names.map((name) => `${name}:${(all[name] ?? "").trim().replace(/ +/g, " ")}\n`).join("");
    const signed = names.join(";");
    const canonical = [method, path, query, lines, signed, NO_BODY].join("\n");
    const scope = `${day}/${signing.region}/s3/aws4_request`;
    const digest = hash("sha256", canonical);
    const text = `AWS4-HMAC-SHA256\n${time}\n${scope}\n${digest}`;
    const signature = createHmac("sha256", keyOf(signing, day)).update(text).digest("hex");
    const authorization = `AWS4-HMAC-SHA256 Credential=${accessKeyId}/${scope}, SignedHeaders=${signed}, Signature=${signature}`;
    return { ...all, authorization };
  };
}
