// A small certificate authority for client and server certificates: enough DER (X.690) for X.509 v3 with ECDSA P-256, so that
// a test can be any user of any groups on the real API server, and any server to a client, without openssl.
import { createPrivateKey, generateKeyPairSync, randomBytes, sign } from "node:crypto";
import { isIP } from "node:net";

/** A certificate and its private key, both PEM. */
export interface KeyPair {
  readonly certPem: string;
  readonly keyPem: string;
}

const der = (tag: number, ...content: Buffer[]): Buffer => {
  const body = Buffer.concat(content);
  if (body.length < 128) return Buffer.concat([Buffer.from([tag, body.length]), body]);
  const hex = body.length.toString(16);
  const size = Buffer.from(hex.length % 2 ? `0${hex}` : hex, "hex");
  return Buffer.concat([Buffer.from([tag, 0x80 | size.length]), size, body]);
};
const sequence = (...content: Buffer[]): Buffer => der(0x30, ...content);
const utf8 = (text: string): Buffer => der(0x0c, Buffer.from(text));
const bitString = (bits: Buffer, unused = 0): Buffer => der(0x03, Buffer.from([unused]), bits);

function objectId(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split(".").map(Number);
  const bytes = [first * 40 + second];
  for (const arc of rest) {
    const septets = [arc & 0x7f];
    for (let left = arc >> 7; left > 0; left >>= 7) septets.unshift((left & 0x7f) | 0x80);
    bytes.push(...septets);
  }
  return der(0x06, Buffer.from(bytes));
}

const ecdsaWithSha256 = sequence(objectId("1.2.840.10045.4.3.2"));

function distinguishedName(commonName: string, organizations: readonly string[]): Buffer {
  const part = (id: string, value: string): Buffer => der(0x31, sequence(objectId(id), utf8(value)));
  return sequence(...organizations.map((name) => part("2.5.4.10", name)), part("2.5.4.3", commonName));
}

const utcTime = (date: Date): Buffer =>
  der(0x17, Buffer.from(`${date.toISOString().replace(/[-:T]/g, "").slice(2, 14)}Z`));

function extension(id: string, critical: boolean, value: Buffer): Buffer {
  return sequence(objectId(id), ...(critical ? [der(0x01, Buffer.from([0xff]))] : []), der(0x04, value));
}

const keyUsage = "2.5.29.15";
const caExtensions = [
  extension("2.5.29.19", true, sequence(der(0x01, Buffer.from([0xff])))),
  extension(keyUsage, true, bitString(Buffer.from([0x06]), 1)),
];
const clientExtensions = [
  extension(keyUsage, true, bitString(Buffer.from([0x80]), 7)),
  extension("2.5.29.37", false, sequence(objectId("1.3.6.1.5.5.7.3.2"))),
];

interface Request {
  readonly issuer: Buffer;
  readonly subject: Buffer;
  readonly extensions: readonly Buffer[];
  readonly issuerKeyPem?: string;
  /** Days from now until it ends. */
  readonly days?: number;
}

function certificate({ issuer, subject, extensions, issuerKeyPem, days = 30 }: Request): KeyPair {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const serial = randomBytes(12);
  serial[0] = 0x40;
  const dayMs = 86_400_000;
  const body = sequence(
    der(0xa0, der(0x02, Buffer.from([2]))),
    der(0x02, serial),
    ecdsaWithSha256,
    issuer,
    sequence(utcTime(new Date(Date.now() - 10 * dayMs)), utcTime(new Date(Date.now() + days * dayMs))),
    subject,
    publicKey.export({ type: "spki", format: "der" }),
    der(0xa3, sequence(...extensions)),
  );
  const signature = sign("sha256", body, issuerKeyPem ? createPrivateKey(issuerKeyPem) : privateKey);
  const base64 = sequence(body, ecdsaWithSha256, bitString(signature)).toString("base64");
  return {
    certPem: `-----BEGIN CERTIFICATE-----\n${base64.replace(/(.{64})/g, "$1\n").trimEnd()}\n-----END CERTIFICATE-----\n`,
    keyPem: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
  };
}

const authority = distinguishedName("test-bed-client-ca", []);

/** A self-signed authority whose certificate goes to kube-apiserver's `--client-ca-file`. */
export function newAuthority(): KeyPair {
  return certificate({ issuer: authority, subject: authority, extensions: caExtensions });
}

/** A client certificate: the API server takes CN for the user and each O for a group. */
export function newClientCertificate(ca: KeyPair, user: string, groups: readonly string[] = []): KeyPair {
  const subject = distinguishedName(user, groups);
  return certificate({ issuer: authority, subject, extensions: clientExtensions, issuerKeyPem: ca.keyPem });
}

/** The bytes of an address, as certificates hold them; of IPv6 the form that URLs write. */
function addressBytes(address: string): Buffer {
  if (isIP(address) === 4) return Buffer.from(address.split(".").map(Number));
  const halves = address.split("::").map((half) => half.split(":").filter((word) => word !== ""));
  const [before = [], after = []] = halves;
  const words = [...before, ...Array<string>(8 - before.length - after.length).fill("0"), ...after];
  return Buffer.from(words.map((word) => word.padStart(4, "0")).join(""), "hex");
}

/** A server certificate for these names and addresses. */
export function newServerCertificate(ca: KeyPair, names: readonly string[], days = 30): KeyPair {
  const alternatives = names.map((name) =>
    isIP(name) === 0 ? der(0x82, Buffer.from(name)) : der(0x87, addressBytes(name)),
  );
  const extensions = [
    extension(keyUsage, true, bitString(Buffer.from([0x80]), 7)),
    extension("2.5.29.37", false, sequence(objectId("1.3.6.1.5.5.7.3.1"))),
    extension("2.5.29.17", false, sequence(...alternatives)),
  ];
  const subject = distinguishedName("test-bed-server", []);
  return certificate({ issuer: authority, subject, extensions, issuerKeyPem: ca.keyPem, days });
}
