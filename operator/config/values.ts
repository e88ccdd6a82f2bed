/** Values with a form of their own that several roles are given: origins, networks, public keys. */
import { isIP } from "node:net";
import type { Reader } from "./reader.ts";

/** Scheme, host and port alone; undefined where none is given. */
export function originOf(read: Reader, flag: string): string | undefined {
  const text = read.text(flag) ?? "";
  if (text === "") return undefined;
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const isBare = url?.pathname === "/" && url.search === "" && url.hash === "" && url.username === "";
  if (isBare && /^https?:$/.test(url.protocol)) return url.origin;
  read.problems.push(`--${flag} is "${text}": write scheme, host and perhaps port alone, as in https://s3.example.org`);
  return undefined;
}

export function cidrs(read: Reader, flag: string): readonly string[] {
  const given = (read.text(flag) ?? "").split(",").filter((cidr) => cidr !== "");
  for (const cidr of given) {
    const [address = "", bits = ""] = cidr.split("/");
    const most = isIP(address) === 4 ? 32 : isIP(address) === 6 ? 128 : -1;
    if (!/^\d{1,3}$/.test(bits) || Number(bits) > most)
      read.problems.push(`--${flag} holds "${cidr}": give networks such as 10.0.0.0/8`);
  }
  return given;
}

/** 32 bytes behind the twelve that every Ed25519 key begins with (RFC 8410). */
const ED25519_KEY = /^MCowBQYDK2VwAyEA[A-Za-z0-9+/]{43}=$/;

export function publicKeys(read: Reader, flag: string): readonly string[] {
  const given = (read.text(flag) ?? "").split(",").filter((key) => key !== "");
  for (const key of given.filter((text) => !ED25519_KEY.test(text)))
    read.problems.push(
      `--${flag} holds "${key.slice(0, 80)}", which is no Ed25519 public key: give the base64 between the lines that openssl pkey -pubout prints`,
    );
  return given;
}
