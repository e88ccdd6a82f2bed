/** One way to make an S3 client, so that time limits, checksums and addressing are the same everywhere. */
import { S3Client } from "@aws-sdk/client-s3";
import { NodeHttpHandler } from "@smithy/node-http-handler";
import { Agent as HttpAgent } from "node:http";
import { Agent as HttpsAgent } from "node:https";
import type { EgressGuard } from "../egress/guard.ts";

export interface S3Access {
  /** URL with scheme and host; undefined means AWS itself. */
  readonly endpoint?: string;
  readonly region: string;
  /** undefined: anonymous requests; the process's own identity is never used for a tenant. */
  readonly credentials?: {
    readonly accessKeyId: string;
    readonly secretAccessKey: string;
    readonly sessionToken?: string;
  };
  readonly maxSockets?: number;
  /** Where connections may go, for places that a tenant names; those of the platform need none. */
  readonly guard?: EgressGuard;
  /** Milliseconds without a byte after which a request fails; only this ends a body that stalls. */
  readonly idleTimeoutMs?: number;
}

/** Checksums only where an operation requires them: S3-compatible servers differ in what they accept. */
export function newS3Client(access: S3Access): S3Client {
  const { endpoint, region, credentials, maxSockets = 64, idleTimeoutMs = 30_000 } = access;
  const pool = { keepAlive: true, maxSockets };
  return new S3Client({
    region,
    ...(endpoint ? { endpoint, forcePathStyle: true } : {}),
    ...(credentials
      ? { credentials }
      : { credentials: { accessKeyId: "", secretAccessKey: "" }, signer: { sign: async (request) => request } }),
    requestChecksumCalculation: "WHEN_REQUIRED",
    responseChecksumValidation: "WHEN_REQUIRED",
    maxAttempts: 3,
    requestHandler: new NodeHttpHandler({
      connectionTimeout: 5_000,
      socketTimeout: idleTimeoutMs,
      ...(access.guard?.agents(pool) ?? { httpAgent: new HttpAgent(pool), httpsAgent: new HttpsAgent(pool) }),
    }),
  });
}
