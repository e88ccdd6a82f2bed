/** Where a model is: a folder, a bucket or a hub, as an ObjectSource that counts what is read. */
import { realpath, stat } from "node:fs/promises";
import { proxyFault } from "../adapters/egress/proxy.ts";
import type { ProxySettings } from "../adapters/egress/proxy.ts";
import { openHub } from "../adapters/hub/source.ts";
import type { SourceKind } from "../plan/model/listing.ts";
import { ENDPOINT_FORM, endpointFault, shownURL } from "../adapters/storageurl.ts";
import type { ObjectSource } from "../ports.ts";
import { TerminalError } from "../runtime/errors.ts";
import { newFolderSource } from "./foldersource.ts";

export interface Place {
  /** As the user wrote it, the hub's commit added. */
  readonly name: string;
  /** Below which the model's files stand; empty or ending in "/". */
  readonly prefix: string;
  readonly source: ObjectSource;
  /** Whether it is somebody else's repository, of which what is not served is left out. */
  readonly kind: SourceKind;
  /** Its real path, where it is a folder. */
  readonly folder?: string;
}

/** As in the importer role. */
const SILENCE_MS = 20_000;

type Environment = Readonly<Record<string, string | undefined>>;

/** The proxy that every program takes; who runs a command knows whom its proxy may reach. */
function proxySettings(env: Environment): ProxySettings {
  const given = (name: string): string | undefined => env[name] || env[name.toLowerCase()] || undefined;
  for (const name of ["HTTPS_PROXY", "HTTP_PROXY"]) {
    const fault = proxyFault(given(name) ?? "http://none");
    if (fault !== undefined) throw new TerminalError("PlaceInvalid", `${name} ${fault}`);
  }
  return { https: given("HTTPS_PROXY"), http: given("HTTP_PROXY"), none: given("NO_PROXY"), connectBy: "name" };
}

/** A variable that is given and is no URL of a server is named; an empty one is as good as none. */
function endpointFrom(env: Environment, ...names: readonly string[]): string | undefined {
  const name = names.find((one) => env[one]);
  const text = name === undefined ? undefined : env[name];
  const fault = text === undefined ? undefined : endpointFault(text);
  if (fault !== undefined)
    throw new TerminalError("PlaceInvalid", `${String(name)} ${shownURL(text ?? "")} ${fault}: ${ENDPOINT_FORM}`);
  return text;
}

/** How a bucket is asked, besides what the environment says. */
export interface BucketWays {
  readonly addressing?: "Path" | "VirtualHost" | undefined;
  readonly requesterPays?: boolean | undefined;
}

/** TerminalError where the place cannot be understood or opened. */
export async function openPlace(text: string, env: Environment, ways: BucketWays = {}): Promise<Place> {
  const scheme = /^([a-z0-9]+):\/\//.exec(text)?.[1];
  if (scheme === "s3") return openBucket(text, env, ways);
  if (scheme === "hf") return openRepository(text, env);
  if (scheme !== undefined && scheme !== "file")
    throw new TerminalError(
      "PlaceInvalid",
      `${scheme}:// is not known: write a folder, s3://bucket/prefix or hf://org/name`,
    );
  return openFolder(text.replace(/^file:\/\//, ""));
}

async function openBucket(text: string, env: Environment, ways: BucketWays): Promise<Place> {
  const { newS3Source } = await import("../adapters/s3/source.ts");
  const { newRawClient } = await import("../transfer/rawget.ts");
  const { newTunnels } = await import("../adapters/egress/tunnel.ts");
  const tunnels = newTunnels(proxySettings(env));
  const [bucket = "", ...rest] = text.slice("s3://".length).split("/");
  if (bucket === "") throw new TerminalError("PlaceInvalid", "s3:// lacks the bucket: write s3://bucket/prefix");
  const accessKeyId = env["AWS_ACCESS_KEY_ID"];
  const secretAccessKey = env["AWS_SECRET_ACCESS_KEY"];
  const sessionToken = env["AWS_SESSION_TOKEN"];
  const region = env["AWS_REGION"] || env["AWS_DEFAULT_REGION"] || "us-east-1";
  const source = newS3Source({
    ...ways,
    bucket,
    endpoint: endpointFrom(env, "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL") ?? `https://s3.${region}.amazonaws.com`,
    region,
    tunnels,
    idleTimeoutMs: SILENCE_MS,
    bulk: newRawClient({ silenceMs: SILENCE_MS, tunnels }),
    ...(accessKeyId && secretAccessKey
      ? { credentials: { accessKeyId, secretAccessKey, ...(sessionToken ? { sessionToken } : {}) } }
      : {}),
  });
  const prefix = rest.join("/").replace(/\/+$/, "");
  return { name: text, prefix: prefix === "" ? "" : `${prefix}/`, source, kind: "bucket" };
}

async function openRepository(text: string, env: Environment): Promise<Place> {
  const [repo = "", revision] = text.slice("hf://".length).replace(/\/+$/, "").split("@");
  const token = env["HF_TOKEN"];
  const endpoint = endpointFrom(env, "HF_ENDPOINT");
  const { newProxiedFetch } = await import("../adapters/egress/proxyfetch.ts");
  const fetch = newProxiedFetch(proxySettings(env));
  const source = await openHub({
    ...(fetch ? { fetch } : {}),
    repo,
    ...(revision ? { revision } : {}),
    ...(token ? { token } : {}),
    ...(endpoint ? { endpoint } : {}),
  });
  return { name: `hf://${repo}@${source.commit}`, prefix: "", source, kind: "repository" };
}

async function openFolder(folder: string): Promise<Place> {
  const root = await realpath(folder).catch(() => undefined);
  const facts = root === undefined ? undefined : await stat(root);
  if (root === undefined || !facts?.isDirectory())
    throw new TerminalError(
      "PlaceInvalid",
      `${folder} is no folder: write one that holds a model's files, s3://bucket/prefix or hf://org/name`,
    );
  return { name: folder, prefix: "", source: newFolderSource(root), kind: "bucket", folder: root };
}

export interface Reads {
  requests: number;
  bytes: number;
}

/** The same source, with what is asked of it counted; a small text that is asked for twice is read once. */
export function counted(source: ObjectSource, reads: Reads): ObjectSource {
  const texts = new Map<string, Promise<Uint8Array>>();
  const read: ObjectSource["read"] = async (object, offset, lengthBytes, signal) => {
    reads.requests += 1;
    const bytes = await source.read(object, offset, lengthBytes, signal);
    reads.bytes += bytes.length;
    return bytes;
  };
  return {
    async list(prefix, next) {
      reads.requests += 1;
      return source.list(prefix, next);
    },
    read(object, offset, lengthBytes, signal) {
      if (offset !== 0 || lengthBytes !== object.sizeBytes || lengthBytes > 1 << 24)
        return read(object, offset, lengthBytes, signal);
      const known = texts.get(object.key) ?? read(object, offset, lengthBytes, signal);
      texts.set(object.key, known);
      known.catch(() => texts.delete(object.key));
      return known;
    },
    close: () => source.close(),
  };
}
