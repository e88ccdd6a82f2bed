// A tiny raw client of the Kubernetes API for tests: JSON over one undici pool per identity, no caches, no retries.
import { Agent, request } from "undici";
import type { Dispatcher } from "undici";
import type { KeyPair } from "./x509.ts";

/** An object as the API server returns it; give a narrower type to `get<T>()` where a test reads deep fields. */
export interface KubeObject {
  apiVersion?: string;
  kind?: string;
  metadata: {
    name?: string;
    generateName?: string;
    namespace?: string;
    uid?: string;
    resourceVersion?: string;
    generation?: number;
    creationTimestamp?: string;
    deletionTimestamp?: string;
    labels?: Record<string, string>;
    annotations?: Record<string, string>;
    finalizers?: string[];
    ownerReferences?: { apiVersion: string; kind: string; name: string; uid: string; controller?: boolean }[];
    managedFields?: { manager?: string; operation?: string; subresource?: string; time?: string; fieldsV1?: object }[];
  };
  spec?: Record<string, unknown>;
  status?: Record<string, unknown>;
  data?: Record<string, string>;
  [field: string]: unknown;
}

export interface KubeList<T = KubeObject> {
  metadata: { resourceVersion: string; continue?: string };
  items: T[];
}

export interface WatchEvent<T = KubeObject> {
  type: "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK" | "ERROR";
  object: T;
}

/** An answer of 400 or more. `message` is the API server's own, `reason` that of its Status object. */
export class ApiError extends Error {
  readonly status: number;
  readonly reason: string;
  readonly headers: Record<string, string | string[] | undefined>;
  readonly body: unknown;

  constructor(what: string, response: RawResponse) {
    const status = response.body as { message?: string; reason?: string } | undefined;
    const text = typeof response.body === "string" ? response.body : (status?.message ?? "");
    super(`${what}: ${String(response.status)} ${text}`);
    this.name = "ApiError";
    this.status = response.status;
    this.reason = status?.reason ?? "";
    this.headers = response.headers;
    this.body = response.body;
  }
}

export interface RawRequest {
  readonly method?: Dispatcher.HttpMethod;
  readonly path: string;
  readonly body?: unknown;
  readonly contentType?: string;
  readonly headers?: Record<string, string>;
  readonly signal?: AbortSignal;
}

export interface RawResponse {
  readonly status: number;
  readonly headers: Record<string, string | string[] | undefined>;
  /** Parsed where the server sent JSON, else its text. */
  readonly body: unknown;
}

/** Who a client is: a bearer token, or a client certificate, or (with either) an impersonated user. */
export interface Identity {
  readonly token?: string;
  readonly certificate?: KeyPair;
  readonly impersonate?: { readonly user: string; readonly groups?: readonly string[] };
  readonly userAgent?: string;
}

export interface ApiClient {
  readonly url: string;
  /** Any request; throws only when there is no answer at all. */
  raw(request: RawRequest): Promise<RawResponse>;
  get<T extends object = KubeObject>(path: string): Promise<T>;
  /** As `get`, but undefined on 404. */
  find<T extends object = KubeObject>(path: string): Promise<T | undefined>;
  list<T extends object = KubeObject>(path: string): Promise<KubeList<T>>;
  create<T extends object = KubeObject>(path: string, object: object): Promise<T>;
  update<T extends object = KubeObject>(path: string, object: object): Promise<T>;
  /** Server-side apply, forced, by field manager `test` unless told otherwise. */
  apply<T extends object = KubeObject>(path: string, object: object, manager?: string): Promise<T>;
  /** A merge patch, or a JSON patch where `patch` is an array. */
  patch<T extends object = KubeObject>(path: string, patch: object): Promise<T>;
  /** Deletes; a 404 is success. */
  remove(path: string, options?: object): Promise<void>;
  /** Events from one watch request (give `resourceVersion=` in the path to go on from a list) until it ends. */
  watch<T extends object = KubeObject>(path: string, signal?: AbortSignal): AsyncGenerator<WatchEvent<T>>;
  close(): Promise<void>;
}

/** Path of a collection or object: `apiPath("apps/v1", "deployments", { namespace, name, subresource })`. */
export function apiPath(
  apiVersion: string,
  resource: string,
  at: { namespace?: string; name?: string; subresource?: string } = {},
): string {
  const root = apiVersion.includes("/") ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  const namespace = at.namespace ? `/namespaces/${at.namespace}` : "";
  const name = at.name ? `/${encodeURIComponent(at.name)}` : "";
  return `${root}${namespace}/${resource}${name}${at.subresource ? `/${at.subresource}` : ""}`;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function headersOf(identity: Identity): Record<string, string | string[]> {
  const as = identity.impersonate;
  return {
    accept: "application/json",
    "user-agent": identity.userAgent ?? "berth-test",
    ...(identity.token && { authorization: `Bearer ${identity.token}` }),
    ...(as && { "impersonate-user": as.user }),
    ...(as?.groups && { "impersonate-group": [...as.groups] }),
  };
}

/** Name, value, name, value …, so that a header with several values is repeated. */
function headerLines(headers: Record<string, string | string[]>): string[] {
  return Object.entries(headers).flatMap(([name, values]) => [values].flat().flatMap((value) => [name, value]));
}

/** A client of the API server at `url` that trusts `caPem`. */
export function newApiClient(url: string, caPem: string | undefined, identity: Identity): ApiClient {
  const { certificate } = identity;
  const dispatcher = new Agent({
    // Over HTTP/2 undici joins repeated headers, and impersonated groups must each have their own.
    allowH2: false,
    connect: { ca: caPem, ...(certificate && { cert: certificate.certPem, key: certificate.keyPem }) },
    bodyTimeout: 0,
    headersTimeout: 60_000,
  });
  const headers = headersOf(identity);
  const send = (wanted: RawRequest) =>
    request(new URL(wanted.path, url), {
      dispatcher,
      method: wanted.method ?? "GET",
      headers: headerLines({
        ...headers,
        ...(wanted.body !== undefined && { "content-type": wanted.contentType ?? "application/json" }),
        ...wanted.headers,
      }),
      body: wanted.body === undefined ? undefined : JSON.stringify(wanted.body),
      signal: wanted.signal,
    });
  async function raw(wanted: RawRequest): Promise<RawResponse> {
    const response = await send(wanted);
    return { status: response.statusCode, headers: response.headers, body: parsed(await response.body.text()) };
  }
  async function* watch<T extends object>(path: string, signal?: AbortSignal): AsyncGenerator<WatchEvent<T>> {
    const response = await send({ path: `${path}${path.includes("?") ? "&" : "?"}watch=1`, signal });
    if (response.statusCode >= 400) {
      const body = parsed(await response.body.text());
      throw new ApiError(`watch ${path}`, { status: response.statusCode, headers: response.headers, body });
    }
    let rest = "";
    response.body.setEncoding("utf8");
    for await (const chunk of response.body) {
      const lines = (rest + String(chunk)).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) if (line) yield JSON.parse(line) as WatchEvent<T>;
    }
  }
  return { url, raw, watch, close: () => dispatcher.destroy(), ...verbs(raw) };
}

type Verbs = Omit<ApiClient, "url" | "raw" | "watch" | "close">;

function verbs(raw: ApiClient["raw"]): Verbs {
  async function checked<T>(wanted: RawRequest): Promise<T> {
    const response = await raw(wanted);
    if (response.status >= 400) throw new ApiError(`${wanted.method ?? "GET"} ${wanted.path}`, response);
    return response.body as T;
  }
  const orMissing = (error: unknown): undefined => {
    if (error instanceof ApiError && error.status === 404) return undefined;
    throw error;
  };
  const patchType = (patch: object): string =>
    Array.isArray(patch) ? "application/json-patch+json" : "application/merge-patch+json";
  return {
    get: (path) => checked({ path }),
    find: <T extends object>(path: string) => checked<T>({ path }).catch(orMissing),
    list: (path) => checked({ path }),
    create: (path, body) => checked({ method: "POST", path, body }),
    update: (path, body) => checked({ method: "PUT", path, body }),
    apply: (path, body, manager = "test") =>
      checked({
        method: "PATCH",
        path: `${path}?fieldManager=${manager}&force=true`,
        body,
        contentType: "application/apply-patch+yaml",
      }),
    patch: (path, body) => checked({ method: "PATCH", path, body, contentType: patchType(body) }),
    remove: async (path, options = {}) => {
      await checked({ method: "DELETE", path, body: options }).catch(orMissing);
    },
  };
}
