/** Names of S3 services: two places of one name can copy between each other. */
import type { ObjectService } from "../../ports.ts";
import type { S3Access } from "./client.ts";

/** AWS's names of one region's service, the old one of us-east-1 among them; dual-stack and private names are services of their own. */
const AWS = /^s3(?:[.-]([a-z]{2}(?:-[a-z]+)+-\d))?\.amazonaws\.com(\.cn)?$/;

/** Scheme, host and port as URLs have them in their plainest form; AWS by its region. */
export function serviceOf({ endpoint, region }: Pick<S3Access, "endpoint" | "region">): ObjectService {
  const { protocol, hostname, origin } = new URL(endpoint ?? "https://s3.amazonaws.com");
  const aws = AWS.exec(hostname);
  return aws ? `${protocol}//s3.${aws[1] ?? region}.amazonaws.com${aws[2] ?? ""}` : origin;
}
