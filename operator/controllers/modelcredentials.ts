/**
 * Which credentials go where. Only Secrets of our type, only from the Model's own namespace, only to origins that the
 * Secret itself lists: nobody can make Berth send a Secret which they may not read to a place they own.
 */
import { SOURCE_CREDENTIALS_TYPE, annotations } from "../api/keys.ts";
import type { ClusterModel, Model } from "../api/model.ts";
import { refusal } from "../plan/model/problem.ts";
import type { ModelProblem } from "../plan/model/problem.ts";
import type { KubeObject, KubeReader, Resource } from "../ports.ts";
import { isForbidden } from "../runtime/errors.ts";

interface Secret extends KubeObject {
  readonly type?: string;
  readonly data?: Readonly<Record<string, string>>;
}
const secrets: Resource<Secret> = { group: "", version: "v1", plural: "secrets", kind: "Secret", namespaced: true };

/** A source that may be contacted, with what it takes. */
export interface SourceAccess {
  /** Origin, without a path. */
  readonly endpoint: string;
  readonly region: string;
  readonly bucket: string;
  readonly prefix: string;
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

function checkSecret(secret: Secret, where: string, origin: string): SourceAccess["credentials"] | ModelProblem {
  if (secret.type !== SOURCE_CREDENTIALS_TYPE) {
    const remedy = `create one with --type=${SOURCE_CREDENTIALS_TYPE}`;
    return refusal("SecretTypeWrong", `Secret ${where} is not of type ${SOURCE_CREDENTIALS_TYPE}: ${remedy}`);
  }
  if (!lists(secret, origin)) {
    const remedy = `add the endpoint to its annotation ${annotations.endpoints}`;
    return refusal("EndpointNotAllowed", `Secret ${where} may not be sent to ${origin}: ${remedy}`);
  }
  const accessKeyId = decoded(secret, "accessKeyId");
  const secretAccessKey = decoded(secret, "secretAccessKey");
  if (!accessKeyId || !secretAccessKey) {
    return refusal("SecretInvalid", `Secret ${where} lacks accessKeyId or secretAccessKey: set both keys`);
  }
  const sessionToken = decoded(secret, "sessionToken");
  return { accessKeyId, secretAccessKey, ...(sessionToken ? { sessionToken } : {}) };
}

/** Where the model's source is and with which credentials, or why it may not be contacted. Reads at most one Secret. */
export async function accessTo(
  kube: KubeReader,
  model: Model | ClusterModel,
  settings: AccessSettings,
): Promise<SourceAccess | ModelProblem> {
  const s3 = model.spec.source.s3;
  const origin = s3 && originOf(s3.endpoint);
  if (!s3 || !origin) return refusal("EndpointNotAllowed", "spec.source.s3.endpoint is not the URL of an S3 service");
  if (origin.startsWith("http:") && !settings.allowHttpEndpoints) {
    return refusal("EndpointNotAllowed", `${origin} is plain http, which this platform does not allow: use https`);
  }
  const access = { endpoint: origin, region: s3.region, bucket: s3.bucket, prefix: s3.prefix };
  const name = s3.credentialsSecretRef?.name;
  if (name === undefined) return access;
  const namespace = model.metadata.namespace ?? settings.namespace;
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
  const credentials = checkSecret(secret, where, origin);
  return credentials && "reason" in credentials ? credentials : { ...access, credentials };
}
