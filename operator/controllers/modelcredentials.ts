/**
 * Which credentials go where. Only Secrets of our type, only from the Model's own namespace, only to origins that the
 * Secret itself lists: nobody can make Berth send a Secret which they may not read to a place they own.
 */
import { SOURCE_CREDENTIALS_TYPE, annotations } from "../api/keys.ts";
import type { ClusterModel, Model } from "../api/model.ts";
import { isProblem, refusal } from "../plan/model/problem.ts";
import type { ModelProblem } from "../plan/model/problem.ts";
import type { KubeObject, KubeReader, Resource } from "../ports.ts";
import { isForbidden } from "../runtime/errors.ts";

interface Secret extends KubeObject {
  readonly type?: string;
  readonly data?: Readonly<Record<string, string>>;
}
const secrets: Resource<Secret> = { group: "", version: "v1", plural: "secrets", kind: "Secret", namespaced: true };

/** A source that may be contacted, with what it takes. */
export type SourceAccess = BucketAccess | HubAccess;

export interface HubAccess {
  /** URL of the platform's hub. */
  readonly endpoint: string;
  readonly repo: string;
  /** Branch, tag or commit; the commit that was inspected where there is one. */
  readonly revision: string;
  readonly token?: string;
}

export interface BucketAccess {
  /** Origin, without a path. */
  readonly endpoint: string;
  readonly region: string;
  readonly bucket: string;
  readonly prefix: string;
  readonly addressing: "Path" | "VirtualHost";
  readonly requesterPays: boolean;
  readonly credentials?: {
    readonly accessKeyId: string;
    readonly secretAccessKey: string;
    readonly sessionToken?: string;
  };
}

export interface AccessSettings {
  /** The importer's own namespace, where a ClusterModel's Secrets are. */
  readonly namespace: string;
  readonly allowHttpEndpoints: boolean;
  /** ClusterRole and service account of the command that lets the importer read a tenant's Secrets. */
  readonly credentialsClusterRole: string;
  readonly serviceAccount: string;
  /** URL of the hub that huggingFace sources are read from: the administrator's to set, never the tenant's. */
  readonly hubEndpoint: string;
}

function originOf(url: string): string | undefined {
  try {
    const { protocol, origin } = new URL(url);
    return protocol === "http:" || protocol === "https:" ? origin : undefined;
  } catch {
    return undefined;
  }
}

function decoded(secret: Secret, key: string): string | undefined {
  const value = secret.data?.[key];
  if (value === undefined) return undefined;
  // Trailing newlines come from files that were written by echo.
  return new TextDecoder().decode(Uint8Array.from(atob(value), (char) => char.charCodeAt(0))).trim();
}

/** The one command that lets the importer read the Secrets of a namespace. */
export function bindingCommand(settings: AccessSettings, namespace: string): string {
  const { credentialsClusterRole, serviceAccount } = settings;
  const subject = `${settings.namespace}:${serviceAccount}`;
  return `kubectl create rolebinding berth-importer --clusterrole=${credentialsClusterRole} --serviceaccount=${subject} -n ${namespace}`;
}

function lists(secret: Secret, origin: string): boolean {
  const listed = secret.metadata.annotations?.[annotations.endpoints] ?? "";
  return listed.split(/[\s,]+/).some((entry) => entry !== "" && originOf(entry) === origin);
}

function refusedSecret(secret: Secret, where: string, origin: string): ModelProblem | undefined {
  if (secret.type !== SOURCE_CREDENTIALS_TYPE) {
    const remedy = `create one with --type=${SOURCE_CREDENTIALS_TYPE}`;
    return refusal("SecretTypeWrong", `Secret ${where} is not of type ${SOURCE_CREDENTIALS_TYPE}: ${remedy}`);
  }
  if (lists(secret, origin)) return undefined;
  const remedy = `add the endpoint to its annotation ${annotations.endpoints}`;
  return refusal("EndpointNotAllowed", `Secret ${where} may not be sent to ${origin}: ${remedy}`);
}

function bucketCredentials(secret: Secret, where: string): NonNullable<BucketAccess["credentials"]> | ModelProblem {
  const accessKeyId = decoded(secret, "accessKeyId");
  const secretAccessKey = decoded(secret, "secretAccessKey");
  if (!accessKeyId || !secretAccessKey) {
    return refusal("SecretInvalid", `Secret ${where} lacks accessKeyId or secretAccessKey: set both keys`);
  }
  const sessionToken = decoded(secret, "sessionToken");
  return { accessKeyId, secretAccessKey, ...(sessionToken ? { sessionToken } : {}) };
}

/** The model's Secret, where it may be sent to `origin`. */
async function secretFor(
  kube: KubeReader,
  { namespace, name }: { readonly namespace: string; readonly name: string },
  origin: string,
  settings: AccessSettings,
): Promise<Secret | ModelProblem> {
  const where = `${namespace}/${name}`;
  let secret: Secret | undefined;
  try {
    secret = await kube.read(secrets, namespace, name);
  } catch (error) {
    if (!isForbidden(error)) throw error;
    const command = bindingCommand(settings, namespace);
    return refusal("SecretNotReadable", `Berth may not read Secret ${where}; this command allows it: ${command}`);
  }
  if (!secret)
    return refusal("SecretNotFound", `Secret ${where} does not exist: create it with type ${SOURCE_CREDENTIALS_TYPE}`);
  return refusedSecret(secret, where, origin) ?? secret;
}

/** Where the model's source is and with which credentials, or why it may not be contacted. Reads at most one Secret. */
export async function accessTo(
  kube: KubeReader,
  model: Model | ClusterModel,
  settings: AccessSettings,
): Promise<SourceAccess | ModelProblem> {
  const { s3, huggingFace } = model.spec.source;
  if (huggingFace) return hubAccess(kube, model, huggingFace, settings);
  const origin = s3 && originOf(s3.endpoint);
  if (!s3 || !origin) return refusal("EndpointNotAllowed", "spec.source.s3.endpoint is not the URL of an S3 service");
  if (origin.startsWith("http:") && !settings.allowHttpEndpoints) {
    return refusal("EndpointNotAllowed", `${origin} is plain http, which this platform does not allow: use https`);
  }
  const { region, bucket, prefix, addressingStyle: addressing, requesterPays } = s3;
  const access = { endpoint: origin, region, bucket, prefix, addressing, requesterPays };
  const name = s3.credentialsSecretRef?.name;
  if (name === undefined) return access;
  const namespace = model.metadata.namespace ?? settings.namespace;
  const secret = await secretFor(kube, { namespace, name }, origin, settings);
  if (isProblem(secret)) return secret;
  const credentials = bucketCredentials(secret, `${namespace}/${name}`);
  return isProblem(credentials) ? credentials : { ...access, credentials };
}

async function hubAccess(
  kube: KubeReader,
  model: Model | ClusterModel,
  source: NonNullable<Model["spec"]["source"]["huggingFace"]>,
  settings: AccessSettings,
): Promise<HubAccess | ModelProblem> {
  const endpoint = settings.hubEndpoint;
  const access = { endpoint, repo: source.repo, revision: pinnedCommit(model) ?? source.revision };
  const name = source.tokenSecretRef?.name;
  if (name === undefined) return access;
  const namespace = model.metadata.namespace ?? settings.namespace;
  const secret = await secretFor(kube, { namespace, name }, originOf(endpoint) ?? endpoint, settings);
  if (isProblem(secret)) return secret;
  const token = decoded(secret, "token");
  // One word: anything else could not be sent as a header.
  if (!token || !/^[\x21-\x7e]+$/.test(token))
    return refusal("SecretInvalid", `Secret ${namespace}/${name} lacks the key token: set it to the hub's token`);
  return { ...access, token };
}

/** The commit that this very spec was resolved to, unless a new look at the source is asked for. */
function pinnedCommit({ metadata, status }: Model | ClusterModel): string | undefined {
  const isCurrent = status?.observedGeneration === metadata.generation;
  return isCurrent && metadata.annotations?.[annotations.refresh] === undefined ? status?.sourceCommit : undefined;
}
