/** URLs that let their holder read one object for a short while, without a credential (SigV4 in the query, AWS's and S3-compatible servers' own). */
import { GetObjectCommand } from "@aws-sdk/client-s3";
import type { S3Client } from "@aws-sdk/client-s3";
import { escaped } from "./sigv4.ts";

/** Where a request goes, as the SDK addresses it: path or virtual host, custom endpoint or AWS. */
interface Addressed {
  readonly method: string;
  readonly protocol: string;
  readonly hostname: string;
  readonly port?: number;
  readonly path: string;
  readonly query?: Readonly<Record<string, string | null>>;
  readonly headers: Readonly<Record<string, string>>;
}

interface Presigner {
  presign(request: Addressed, options: { readonly expiresIn: number; readonly signingDate: Date }): Promise<Addressed>;
}

/** Builds the request and stops before it would be signed and sent. */
export async function addressOf(client: S3Client, bucket: string, key: string): Promise<Addressed> {
  const command = new GetObjectCommand({ Bucket: bucket, Key: key });
  let found: Addressed | undefined;
  command.middlewareStack.add(
    () => (args) => {
      found = args.request as Addressed;
      return Promise.resolve({ response: {}, output: { $metadata: {} } });
    },
    { step: "build", priority: "low", name: "berthAddressOnly" },
  );
  await client.send(command);
  if (!found) throw new Error("the request was not built");
  return found;
}

/** A GET of this object, of any range of it, for `seconds`. */
export async function presignGet(
  client: S3Client,
  { bucket, key, seconds }: { readonly bucket: string; readonly key: string; readonly seconds: number },
): Promise<string> {
  const { method, protocol, hostname, port, path } = await addressOf(client, bucket, key);
  const host = port === undefined ? hostname : `${hostname}:${String(port)}`;
  const region = await client.config.region();
  const signer = (await client.config.signer({
    schemeId: "aws.auth#sigv4",
    name: "sigv4",
    signingName: "s3",
    signingRegion: region,
    properties: {},
  } as never)) as unknown as Presigner;
  const bare = {
    method,
    protocol,
    hostname,
    ...(port === undefined ? {} : { port }),
    path,
    query: {},
    // What is read is not known when it is signed.
    headers: { host, "x-amz-content-sha256": "UNSIGNED-PAYLOAD" },
  };
  // The SDK learns from each answer how wrong the clock is: by a clock that is slow, an address would be over when it is made.
  const signingDate = new Date(Date.now() + client.config.systemClockOffset);
  const signed = await signer.presign(bare, { expiresIn: seconds, signingDate });
  const query = Object.entries(signed.query ?? {}).map(([name, value]) => `${escaped(name)}=${escaped(value ?? "")}`);
  return `${protocol}//${host}${signed.path}?${query.join("&")}`;
}
