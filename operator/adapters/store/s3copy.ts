/**
 * A part of an upload that the service takes from another of its buckets. It is held to the ETag that was read, and it counts only
 * with the CRC-32 of the bytes that were read: a range's checksum cannot be the whole object's, so a server that states it has counted.
 */
import { UploadPartCopyCommand } from "@aws-sdk/client-s3";
import type { CopyOrigin, ObjectUpload } from "../../ports.ts";
import { TerminalError } from "../../runtime/errors.ts";
import { crc32Text } from "../s3/checksums.ts";
import type { Place, Upload } from "./s3upload.ts";

/** As the header has it: a path, encoded, with the version behind it. */
function copySource({ bucket, key, versionId }: CopyOrigin): string {
  const path = [bucket, ...key.split("/")].map(encodeURIComponent).join("/");
  return versionId === undefined ? path : `${path}?versionId=${encodeURIComponent(versionId)}`;
}

const refused = (why: string): TerminalError => new TerminalError("StoreError", why);

export async function copyPart(
  { onceClient, bucket, prefix }: Place,
  key: string,
  { uploadId, isChecked, parts }: Upload,
  [number, origin, { offset, lengthBytes }, crc32]: Parameters<NonNullable<ObjectUpload["copyPart"]>>,
): Promise<void> {
  if (!isChecked) throw refused("the store keeps no CRC-32 that a copied part could be held to");
  const PartNumber = number + 1;
  const command = new UploadPartCopyCommand({
    Bucket: bucket,
    Key: prefix + key,
    UploadId: uploadId,
    PartNumber,
    CopySource: copySource(origin),
    CopySourceRange: `bytes=${String(offset)}-${String(offset + lengthBytes - 1)}`,
    CopySourceIfMatch: origin.etag,
  });
  const { ETag, ChecksumCRC32 } = (await onceClient.send(command)).CopyPartResult ?? {};
  const wanted = crc32Text(crc32);
  if (ChecksumCRC32 === undefined) throw refused("the store does not state the CRC-32 of what it copied");
  if (ChecksumCRC32 !== wanted)
    throw refused(`the store states CRC-32 ${ChecksumCRC32.slice(0, 16)} of a part that has ${wanted} in the source`);
  parts.set(PartNumber, { PartNumber, ETag, ChecksumCRC32 });
}
