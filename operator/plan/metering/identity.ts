/** Digests and ids that are a function of their content. The only file of plan/metering that may use node:crypto. */
import { createHash } from "node:crypto";

/** UUIDv5 of "berth.dev" in the DNS namespace: the namespace of all record ids. */
const recordNamespace = Buffer.from("eb129bb1947c5b3e84082a11ac27a65b", "hex");

/** SHA-256 in hexadecimal. */
export function sha256Hex(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** UUID version 5 (RFC 9562 §5.5) in the namespace of Berth's records. */
export function uuidV5(name: string): string {
  const hash = createHash("sha1").update(recordNamespace).update(name).digest().subarray(0, 16);
  hash[6] = ((hash[6] ?? 0) & 0x0f) | 0x50;
  hash[8] = ((hash[8] ?? 0) & 0x3f) | 0x80;
  const hex = hash.toString("hex");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
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
