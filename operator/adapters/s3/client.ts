/** One way to make an S3 client, so that time limits, checksums and addressing are the same everywhere. */
import { S3Client } from "@aws-sdk/client-s3";
import { NodeHttpHandler } from "@smithy/node-http-handler";
import { Agent as HttpAgent } from "node:http";
import { Agent as HttpsAgent } from "node:https";
import type { EgressGuard } from "../egress/guard.ts";
import type { Tunnels } from "../egress/tunnel.ts";
import { BulkHandler } from "./bulk.ts";
import type { BulkClient } from "./bulk.ts";
import { boundAnswers } from "./answerlimits.ts";

export interface S3Access {
  /** URL with scheme and host; undefined means AWS itself. */
  readonly endpoint?: string;
  readonly region: string;
  /** Where the bucket's name stands: in the path, which is the default with an endpoint, or before the endpoint's host. */
  readonly addressing?: Addressing | undefined;
  /** Says in each request that the account of the credentials pays for it. */
  readonly requesterPays?: boolean | undefined;
  /** undefined: anonymous requests; the process's own identity is never used for a tenant. */
  readonly credentials?: S3Credentials;
  readonly maxSockets?: number;
  /** Where connections may go, for places that a tenant names; those of the platform need none. */
  readonly guard?: EgressGuard;
  /** Ways through the platform's proxy; those of a guard where there is one. */
  readonly tunnels?: Tunnels | undefined;
  /** Milliseconds without a byte after which a request fails; only this ends a body that stalls. */
  readonly idleTimeoutMs?: number;
  /** Brings the bytes of requests that carry a BulkTarget. */
  readonly bulk?: BulkClient;
  /** Tries of one request by the SDK itself: 3 where absent. */
  readonly maxAttempts?: number;
  /** Asked before each request where given, so that credentials may change while the client lives. */
  readonly currentCredentials?: () => S3Credentials;
}

export type Addressing = "Path" | "VirtualHost";

export interface S3Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
}

/** Strings that no message may carry. */
export function wordsOf({ accessKeyId, secretAccessKey, sessionToken }: S3Credentials): string[] {
  return [accessKeyId, secretAccessKey, ...(sessionToken === undefined ? [] : [sessionToken])];
}

/** Long over, so that the SDK asks for them each time. */
const expiration = new Date(0);

function identityOf({ credentials, currentCredentials }: S3Access) {
  if (!credentials)
    return {
      credentials: { accessKeyId: "", secretAccessKey: "" },
      signer: { sign: async (request: never) => request },
    };
  if (!currentCredentials) return { credentials };
  return { credentials: () => Promise.resolve({ ...currentCredentials(), expiration }) };
}

/** The URL of the host that is asked for a bucket. */
export function originOf(endpoint: string, bucket: string, addressing: Addressing | undefined): string {
  return addressing === "VirtualHost" ? endpoint.replace("://", `://${bucket}.`) : endpoint;
}

/** Signed with the rest, whichever way the request goes. */
function payForRequests(client: S3Client): void {
  client.middlewareStack.add(
    (next) => (args) => {
      (args.request as { headers: Record<string, string> }).headers["x-amz-request-payer"] = "requester";
      return next(args);
    },
    { step: "build", name: "berthRequesterPays" },
  );
}

/** Checksums only where an operation requires them: S3-compatible servers differ in what they accept. */
export function newS3Client(access: S3Access): S3Client {
  const { endpoint, region, maxSockets = 64, idleTimeoutMs = 30_000, maxAttempts = 3, bulk } = access;
  const pool = { keepAlive: true, maxSockets };
  const handling = {
    connectionTimeout: 5_000,
    socketTimeout: idleTimeoutMs,
    ...((access.tunnels ?? access.guard)?.agents(pool) ?? {
      httpAgent: new HttpAgent(pool),
      httpsAgent: new HttpsAgent(pool),
    }),
  };
  const client = new S3Client({
    region,
    ...(endpoint ? { endpoint, forcePathStyle: access.addressing !== "VirtualHost" } : {}),
    // AWS_ENDPOINT_URL_S3 is where a shell's source is: a request of the store or the ledger would take its key to a third party.
    ignoreConfiguredEndpointUrls: true,
    ...identityOf(access),
    requestChecksumCalculation: "WHEN_REQUIRED",
    responseChecksumValidation: "WHEN_REQUIRED",
    maxAttempts,
    requestHandler: bulk ? new BulkHandler(handling, bulk) : new NodeHttpHandler(handling),
  });
  boundAnswers(client);
  if (access.requesterPays) payForRequests(client);
  return client;
}
