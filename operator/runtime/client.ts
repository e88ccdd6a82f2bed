/**
 * Reads and writes of single objects and lists: paths, content types and field managers, and the translation of the API's
 * errors into the retry taxonomy. No cache is read here; each write's answer is handed to the caches (feed.ts).
 */
import type { DeleteOptions, KubeObject, KubeReader, KubeWriter, ReadOptions, Resource } from "../ports.ts";
import { ApiError, ConflictError, RetryError, TerminalError } from "./errors.ts";
import { deepFreeze } from "./freeze.ts";
import type { WriteFeed } from "./feed.ts";
import type { Call, Transport } from "./transport.ts";

/** Objects per page of a list, as client-go's pager. */
export const pageSize = 500;

export interface ListPage<T extends KubeObject> {
  readonly items: readonly T[];
  readonly resourceVersion: string;
  /** Token of the next page; undefined on the last one. */
  readonly next: string | undefined;
}

/** Query parameters; undefined ones are left out. */
export type Query = Readonly<Record<string, string | number | boolean | undefined>>;

/** `/api/v1/…` or `/apis/<group>/<version>/…`; without a name the collection, without a namespace all of them. */
export function pathOf(
  resource: Resource,
  namespace: string | undefined,
  name: string | undefined,
  subresource?: string,
  query: Query = {},
): string {
  const root = resource.group === "" ? `/api/${resource.version}` : `/apis/${resource.group}/${resource.version}`;
  const scope = resource.namespaced && namespace ? `/namespaces/${encodeURIComponent(namespace)}` : "";
  const object = name === undefined ? "" : `/${encodeURIComponent(name)}`;
  const parameters = Object.entries(query)
    .filter(([, value]) => value !== undefined && value !== "")
    .map(([key, value]) => `${key}=${encodeURIComponent(String(value))}`);
  const tail = parameters.length > 0 ? `?${parameters.join("&")}` : "";
  return `${root}${scope}/${resource.plural}${object}${subresource ? `/${subresource}` : ""}${tail}`;
}

/** `apiVersion` of a resource's objects. */
export function apiVersionOf(resource: Resource): string {
  return resource.group === "" ? resource.version : `${resource.group}/${resource.version}`;
}

/** Asked before each write; one that is refused is a RetryError and never leaves the process. */
export interface WriteGate {
  mayWrite: () => boolean;
}

/** Reader and writer over one transport. Errors are those of errors.ts. */
export function newKubeClient(deps: {
  readonly transport: Transport;
  readonly feed?: WriteFeed;
  readonly gate?: WriteGate;
}): KubeReader & KubeWriter {
  const send = async (call: Call): Promise<unknown> => {
    try {
      return await deps.transport.request(call);
    } catch (error) {
      throw translate(error);
    }
  };
  const sendWrite: Send = async (call) => {
    if (deps.gate?.mayWrite() === false) throw new RetryError(new Error("the Lease could not be renewed in time"));
    return send(call);
  };
  const written: Written = <T extends KubeObject>(resource: Resource<T>, answer: unknown): T => {
    const object = deepFreeze(asObject<T>(answer, resource));
    deps.feed?.written(resource, object);
    return object;
  };
  return { ...newReader(deps.transport, send), ...newWriter(sendWrite, written, deps.feed) };
}

type Send = (call: Call) => Promise<unknown>;

function newReader(transport: Transport, send: Send): KubeReader {
  return {
    async read<T extends KubeObject>(
      resource: Resource<T>,
      namespace: string | undefined,
      name: string,
      { timeoutMs }: { readonly timeoutMs?: number } = {},
    ) {
      try {
        const path = pathOf(resource, namespace, name);
        return asObject<T>(await send({ method: "GET", path, timeoutMs }), resource);
      } catch (error) {
        if (error instanceof ConflictError && error.cause instanceof ApiError && error.cause.status === 404) {
          return undefined;
        }
        throw error;
      }
    },
    async list<T extends KubeObject>(resource: Resource<T>, namespace: string | undefined, options: ReadOptions = {}) {
      try {
        return await listAll(transport, resource, namespace, options);
      } catch (error) {
        throw translate(error);
      }
    },
  };
}

type Written = <T extends KubeObject>(resource: Resource<T>, answer: unknown) => T;

/** An unknown field is an error: silently dropped it would be applied anew for ever. */
const strict = { fieldValidation: "Strict" } as const;

function newWriter(send: Send, written: Written, feed: WriteFeed | undefined): KubeWriter {
  return { apply: newApply(send, written), ...newPlainWrites(send, written), remove: newRemove(send, feed) };
}

function newApply(send: Send, written: Written): KubeWriter["apply"] {
  return async function apply(resource, body, options) {
    const { namespace, name } = body.metadata;
    const query = { fieldManager: options.manager, force: options.force ?? true, ...strict };
    const answer = await send({
      method: "PATCH",
      path: pathOf(resource, namespace, name, options.subresource, query),
      // JSON is YAML; the server reads JSON under this type.
      contentType: "application/apply-patch+yaml",
      body: JSON.stringify({ ...body, apiVersion: apiVersionOf(resource), kind: resource.kind }),
      timeoutMs: options.timeoutMs,
    });
    return written(resource, answer);
  };
}

function newPlainWrites(send: Send, written: Written): Pick<KubeWriter, "create" | "mergePatch"> {
  return {
    async create(resource, body, options) {
      const query = { fieldManager: options.manager, ...strict };
      const answer = await send({
        method: "POST",
        path: pathOf(resource, body.metadata.namespace, undefined, undefined, query),
        contentType: "application/json",
        body: JSON.stringify({ ...body, apiVersion: apiVersionOf(resource), kind: resource.kind }),
        timeoutMs: options.timeoutMs,
      });
      return written(resource, answer);
    },
    async mergePatch(resource, namespace, name, body, options) {
      const query = { fieldManager: options.manager, ...strict };
      const answer = await send({
        method: "PATCH",
        path: pathOf(resource, namespace, name, options.subresource, query),
        contentType: "application/merge-patch+json",
        body: JSON.stringify(body),
        timeoutMs: options.timeoutMs,
      });
      return written(resource, answer);
    },
  };
}

function newRemove(send: Send, feed: WriteFeed | undefined): KubeWriter["remove"] {
  return async function remove(resource, namespace, name, options: DeleteOptions = {}) {
    const { uid, resourceVersion, gracePeriodSeconds, propagationPolicy } = options;
    const preconditions = uid || resourceVersion ? { uid, resourceVersion } : undefined;
    try {
      const answer = await send({
        method: "DELETE",
        path: pathOf(resource, namespace, name),
        contentType: "application/json",
        body: JSON.stringify({ gracePeriodSeconds, propagationPolicy, preconditions }),
      });
      takeDeletion(resource, answer, feed);
    } catch (error) {
      if (error instanceof ConflictError && error.cause instanceof ApiError && error.cause.status === 404) return;
      throw error;
    }
  };
}

/** A delete answers with the object while it lingers (finalizers, grace), and with a Status once it is gone. */
function takeDeletion(resource: Resource, answer: unknown, feed: WriteFeed | undefined): void {
  if (!feed || typeof answer !== "object" || answer === null) return;
  const { kind, details, metadata } = answer as {
    kind?: string;
    details?: { uid?: string };
    metadata?: { deletionTimestamp?: string };
  };
  if (kind === "Status") {
    if (details?.uid) feed.removed(resource, details.uid);
  } else if (metadata?.deletionTimestamp) feed.written(resource, deepFreeze(asObject(answer, resource)));
}

/** Errors of the transport in the words of errors.ts; what is neither the API's nor the network's stays as it is. */
export function translate(error: unknown): unknown {
  if (error instanceof ApiError) return translateApi(error);
  if (error instanceof SyntaxError) return new RetryError(error); // an answer that was cut short
  if (
    error instanceof Error &&
    (error.name === "ExchangeTimeoutError" || error.name === "AbortError" || "code" in error)
  ) {
    return new RetryError(error);
  }
  return error;
}

const refusedForNowMs = 60_000;

function translateApi(error: ApiError): Error {
  switch (error.status) {
    case 404: // of a write: the cache still shows what is gone
    case 409:
      return new ConflictError(error);
    case 400:
    case 405:
    case 406:
    case 413:
    case 415:
    case 422:
      return new TerminalError(error.reason, error.message, { cause: error });
    // Quotas and RBAC are mended by people without an event that we would see.
    case 401:
    case 403:
      return new RetryError(error, refusedForNowMs);
    default:
      return isSchemaError(error)
        ? new TerminalError("Invalid", error.message, { cause: error })
        : new RetryError(error, error.retryAfterMs);
  }
}

/** A server-side apply with a field that the schema lacks is answered with 500, yet repeating it is no use. */
function isSchemaError(error: ApiError): boolean {
  return error.status === 500 && error.message.startsWith("failed to create typed patch object");
}

/** All pages of one consistent list; when its token expires (410) the list starts again, then in one piece. */
export async function listAll<T extends KubeObject>(
  transport: Transport,
  resource: Resource<T>,
  namespace: string | undefined,
  options: ReadOptions,
  accept?: string,
): Promise<{ items: T[]; resourceVersion: string }> {
  for (let attempt = 0; ; attempt++) {
    const limit = attempt < 2 ? (options.limit ?? pageSize) : undefined;
    try {
      return await listOnce(transport, resource, namespace, { ...options, limit }, accept);
    } catch (error) {
      if (!(error instanceof ApiError && error.status === 410) || attempt >= 2) throw error;
    }
  }
}

async function listOnce<T extends KubeObject>(
  transport: Transport,
  resource: Resource<T>,
  namespace: string | undefined,
  options: ReadOptions,
  accept: string | undefined,
): Promise<{ items: T[]; resourceVersion: string }> {
  const items: T[] = [];
  let resourceVersion = "";
  for (let next: string | undefined = ""; next !== undefined;) {
    const { labelSelector, fieldSelector, limit } = options;
    const path = pathOf(resource, namespace, undefined, undefined, {
      labelSelector,
      fieldSelector,
      limit,
      continue: next,
    });
    const answer = await transport.request({ method: "GET", path, accept, timeoutMs: 30_000 });
    const page = parsePage<T>(answer, resource);
    for (const item of page.items) items.push(item);
    resourceVersion = page.resourceVersion;
    next = page.next;
  }
  return { items, resourceVersion };
}

function parsePage<T extends KubeObject>(answer: unknown, resource: Resource<T>): ListPage<T> {
  const list = answer as {
    items?: readonly unknown[] | null;
    metadata?: { resourceVersion?: string; continue?: string };
  };
  return {
    items: (list.items ?? []).map((item) => asObject<T>(item, resource)),
    resourceVersion: list.metadata?.resourceVersion ?? "",
    next: list.metadata?.continue || undefined,
  };
}

/** Items of typed lists come without apiVersion and kind: they are filled in, so that objects look alike everywhere. */
export function asObject<T extends KubeObject>(answer: unknown, resource: Resource<T>): T {
  const object = answer as T | null | undefined;
  if (typeof object !== "object" || object === null || typeof object.metadata !== "object") {
    throw new RetryError(new Error(`the API server answered with something that is no ${resource.kind}`));
  }
  return { ...object, apiVersion: apiVersionOf(resource), kind: resource.kind };
}
