/** Digests and ids that are a function of their content. The only file of plan/metering that may use node:crypto. */
import { createHash, hash as hashOf } from "node:crypto";

/** UUIDv5 of "berth.dev" in the DNS namespace: the namespace of all record ids. */
const recordNamespace = Buffer.from("eb129bb1947c5b3e84082a11ac27a65b", "hex");

/** SHA-256 in hexadecimal. */
export function sha256Hex(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** UUID version 5 (RFC 9562 §5.5) in the namespace of Berth's records. */
export function uuidV5(name: string): string {
  return uuidOfSha1(createHash("sha1").update(recordNamespace).update(name).digest("hex"));
}

/** Four bits of the version, two of the variant, the rest from the digest. */
function uuidOfSha1(hex: string): string {
  const variant = ((parseInt(hex.charAt(16), 16) & 0x3) | 0x8).toString(16);
  const [first, second, third, last] = [hex.slice(0, 8), hex.slice(8, 12), hex.slice(13, 16), hex.slice(20, 32)];
  return `${first}-${second}-5${third}-${variant}${hex.slice(17, 20)}-${last}`;
}

export interface RecordIdentity {
  readonly cluster: string;
  readonly deploymentUID: string;
  readonly sku: string;
  readonly account: string;
  readonly windowStart: string;
  readonly windowEnd: string;
  readonly part: number;
  readonly rev: number;
}

/** JSON, so that no two identities share a name whatever characters their fields hold. */
export function recordId(of: RecordIdentity): string {
  const { cluster, deploymentUID, sku, account, windowStart, windowEnd, part, rev } = of;
  return uuidV5(JSON.stringify([cluster, deploymentUID, sku, account, windowStart, windowEnd, part, rev]));
}

/** recordId() of one meter for window after window: only the instants of its name are written anew, and no text is made of it. */
export function recordIds(of: Omit<RecordIdentity, "windowStart" | "windowEnd">) {
  const { cluster, deploymentUID, sku, account, part, rev } = of;
  const head = JSON.stringify([cluster, deploymentUID, sku, account]).slice(0, -1);
  const instant = "0000-00-00T00:00:00Z";
  const tail = JSON.stringify([instant, instant, part, rev]).slice(1);
  const name = Buffer.concat([recordNamespace, Buffer.from(`${head},${tail}`)]);
  const startAt = recordNamespace.length + Buffer.byteLength(head) + `,"`.length;
  const endAt = startAt + instant.length + `","`.length;
  /** Writes the id to `at`; both instants are text of 20 bytes. */
  return (windowStart: Uint8Array, windowEnd: Uint8Array, lines: Buffer, at: number): void => {
    name.set(windowStart, startAt);
    name.set(windowEnd, endAt);
    writeUuid(hashOf("sha1", name, "hex"), lines, at);
  };
}

const variants = Buffer.from("89ab");
/** Place in a UUID of each digit that its digest gives; those of the version and the variant are written apart. */
const places = [
  0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15, 16, 17, 19, 20, 21, 22, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35,
];

/** As uuidOfSha1, over the UUID of another window: its dashes and its version are there. */
function writeUuid(hex: string, lines: Buffer, at: number): void {
  for (let from = 0; from < 32; from += 1) {
    if (from !== 12) lines[at + (places[from] ?? 0)] = hex.charCodeAt(from);
  }
  lines[at + 19] = variants[parseInt(hex.charAt(16), 16) & 0x3] ?? 0;
}

/** Evenly spread over 0 … `spreadSeconds`, fixed for a cluster. */
export function spreadOffset(clusterId: string, spreadSeconds: number): number {
  const hash = createHash("sha256").update(clusterId).digest();
  return hash.readUInt32BE(0) % (spreadSeconds + 1);
}

/** Number of the shard that holds a deployment's lines. */
export function shardOf(deploymentUID: string, shards: number): number {
  return shards === 1 ? 0 : createHash("sha256").update(deploymentUID).digest().readUInt32BE(0) % shards;
}

/** SHA-256 of what is given piece by piece. */
export function newDigest(): { add(bytes: Uint8Array | string): void; hex(): string } {
  const hash = createHash("sha256");
  return { add: (bytes) => void hash.update(bytes), hex: () => hash.digest("hex") };
}
