import assert from "node:assert/strict";
import { test } from "node:test";
import { escaped, newSigner } from "../../../operator/adapters/s3/sigv4.ts";

const credentials = {
  accessKeyId: "AKIAIOSFODNN7EXAMPLE",
  secretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
};
const nowMs = Date.UTC(2013, 4, 24);
const host = "examplebucket.s3.amazonaws.com";
const signatureOf = (headers: Record<string, string>): string | undefined =>
  /Signature=([0-9a-f]{64})$/.exec(headers["authorization"] ?? "")?.[1];

test("AWS's own example of a ranged GET gets the signature that AWS states", () => {
  const sign = newSigner();
  const request = { method: "GET", path: "/test.txt", query: "", headers: { host, range: "bytes=0-9" } } as const;
  const signed = sign(request, { region: "us-east-1", credentials, nowMs });
  assert.equal(signatureOf(signed), "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
  assert.equal(signed["x-amz-date"], "20130524T000000Z");
  assert.match(signed["authorization"] ?? "", /SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,/);
});

test("a signer forgets the key of another day, region or secret", () => {
  const sign = newSigner();
  const request = { method: "GET", path: "/test.txt", query: "", headers: { host } } as const;
  const cases = [
    { region: "us-east-1", credentials, nowMs },
    { region: "eu-west-1", credentials, nowMs },
    { region: "us-east-1", credentials, nowMs: nowMs + 86_400_000 },
    { region: "us-east-1", credentials: { ...credentials, secretAccessKey: "another" }, nowMs },
    { region: "us-east-1", credentials: { ...credentials, sessionToken: "token" }, nowMs },
  ];
  const together = cases.map((one) => signatureOf(sign(request, one)));
  const alone = cases.map((one) => signatureOf(newSigner()(request, one)));
  assert.deepEqual(together, alone);
  assert.equal(new Set(together).size, cases.length);
});

test("what RFC 3986 does not leave alone is escaped", () => {
  assert.equal(escaped("a b/ü+(1)!*'~-_."), "a%20b%2F%C3%BC%2B%281%29%21%2A%27~-_.");
});
