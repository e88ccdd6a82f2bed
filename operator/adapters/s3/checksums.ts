/** Checksums that S3 servers state of whole objects. Composite ones are of another algorithm's parts and say nothing about the bytes. */
import type { GetObjectCommand } from "@aws-sdk/client-s3";
import type { StatedChecksums } from "../../ports.ts";

interface Stated {
  readonly type: string | undefined;
  readonly crc32: string | undefined;
  readonly crc64?: string | undefined;
  readonly sha256: string | undefined;
}

function bytesOf(text: string | undefined, lengthBytes: number): Buffer | undefined {
  if (text === undefined || !/^[A-Za-z0-9+/]+={0,2}$/.test(text)) return undefined;
  const bytes = Buffer.from(text, "base64");
  return bytes.length === lengthBytes ? bytes : undefined;
}

/** Older servers state no type: a composite one then ends with the number of its parts, which is no base64. */
export function statedBy(stated: Stated | ReadonlyMap<string, string>): StatedChecksums {
  const { type, crc32, crc64, sha256 } =
    "crc32" in stated
      ? stated
      : {
          type: stated.get("x-amz-checksum-type"),
          crc32: stated.get("x-amz-checksum-crc32"),
          crc64: stated.get("x-amz-checksum-crc64nvme"),
          sha256: stated.get("x-amz-checksum-sha256"),
        };
  if (type !== undefined && type !== "FULL_OBJECT") return {};
  const found = {
    crc32: bytesOf(crc32, 4)?.readUInt32BE(),
    crc64: bytesOf(crc64, 8)?.readBigUInt64BE(),
    sha256: bytesOf(sha256, 32)?.toString("hex"),
  };
  return Object.fromEntries(Object.entries(found).filter(([, value]) => value !== undefined));
}

/** As S3 writes it: four bytes, the highest first, in base64. */
export function crc32Text(crc32: number): string {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(crc32 >>> 0);
  return bytes.toString("base64");
}

/** Asks for the stated checksums without having the SDK compare them with a body that it never sees. */
export function wantsStated(command: GetObjectCommand): void {
  setHeader(command, "x-amz-checksum-mode", "ENABLED");
}

/** Adds a header that is signed with the rest; the command may be any of the client's. */
export function setHeader(command: { readonly middlewareStack: unknown }, name: string, value: string): void {
  const stack = command.middlewareStack as GetObjectCommand["middlewareStack"];
  stack.add(
    (next) => (args) => {
      (args.request as { headers: Record<string, string> }).headers[name] = value;
      return next(args);
    },
    { step: "build", name: `berth-${name}` },
  );
}
