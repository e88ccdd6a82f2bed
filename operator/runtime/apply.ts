/**
 * Writes that cost nothing when nothing is to be done: server-side apply skipped where the live object already is what we
 * want, status patched only where it differs. Live objects come from a store; nothing is read from the server here.
 */
import { createHash } from "node:crypto";

import type { KubeObject, KubeWriter, Resource } from "../ports.ts";
import { canonicalJson, holds } from "./compare.ts";
import { ApiError, ConflictError } from "./errors.ts";

export interface ApplierOptions {
  readonly writer: KubeWriter;
  /** Annotation that carries the hash of the body that was applied last. */
  readonly hashAnnotation: string;
  /** Field manager. */
  readonly manager: string;
}

export interface Applied<T extends KubeObject> {
  readonly object: T;
  /** False: no request was made. */
  readonly wrote: boolean;
}

export interface Applier {
  /**
   * Makes `desired` (only the fields that we own) true. `live` is the cached object, if there is one; the request then
   * carries its UID, so that a deleted object is not made again by accident (ConflictError instead).
   * `mustExist` for objects of others: without `live` it is a ConflictError.
   */
  apply<T extends KubeObject>(
    resource: Resource<T>,
    desired: T,
    live: T | undefined,
    options?: { readonly force?: boolean; readonly mustExist?: boolean; readonly manager?: string },
  ): Promise<Applied<T>>;
  /**
   * Merge patch of /status with the top-level fields that differ from `live`; a field of `status` that is undefined is
   * removed, fields that `status` does not name stay. `lock` makes it fail with ConflictError on a newer object.
   */
  patchStatusIfChanged<T extends KubeObject & { readonly status?: object }>(
    resource: Resource<T>,
    live: T,
    status: object,
    options?: { readonly lock?: boolean; readonly manager?: string },
  ): Promise<Applied<T>>;
}

/** Applier for one field manager and one annotation. */
export function newApplier(options: ApplierOptions): Applier {
  const { writer, hashAnnotation } = options;
  const isApplied = newComparison(hashAnnotation);
  return {
    async apply(resource, desired, live, { force, mustExist = false, manager = options.manager } = {}) {
      if (mustExist && !live) throw new ConflictError(goneError(resource, desired));
      const body = withHash(desired, hashAnnotation);
      if (live && isApplied(body, live)) return { object: live, wrote: false };
      const uid = live?.metadata.uid;
      const sent = uid ? { ...body, metadata: { ...body.metadata, uid } } : body;
      return { object: await writer.apply(resource, sent, { manager, force }), wrote: true };
    },
    async patchStatusIfChanged(resource, live, status, { lock = false, manager = options.manager } = {}) {
      const changed = changedFields(status, live.status ?? {});
      if (Object.keys(changed).length === 0) return { object: live, wrote: false };
      const { namespace, name, resourceVersion } = live.metadata;
      const body = { ...(lock ? { metadata: { resourceVersion } } : {}), status: changed };
      const object = await writer.mergePatch(resource, namespace, name, body, { manager, subresource: "status" });
      return { object, wrote: true };
    },
  };
}

/** Hash of a desired body: the same for equal bodies whatever the order of their keys. */
export function hashOf(body: object): string {
  return createHash("sha256").update(canonicalJson(body)).digest("hex").slice(0, 32);
}

function withHash<T extends KubeObject>(desired: T, annotation: string): T {
  const annotations = { ...desired.metadata.annotations, [annotation]: hashOf(desired) };
  return { ...desired, metadata: { ...desired.metadata, annotations } };
}

/**
 * The hash says that this very body was applied (so nothing of an older body is left), the fields that nobody undid it.
 * Cached objects never change: what was found of one holds as long as it stays in the cache.
 */
function newComparison(annotation: string): (body: KubeObject, live: KubeObject) => boolean {
  const found = new WeakMap<KubeObject, string>();
  return (body, live) => {
    const hash = body.metadata.annotations?.[annotation];
    if (hash === undefined || live.metadata.annotations?.[annotation] !== hash) return false;
    if (found.get(live) === hash) return true;
    const { apiVersion: _version, kind: _kind, ...wanted } = body;
    if (!holds(wanted, live)) return false;
    found.set(live, hash);
    return true;
  };
}

function changedFields(wanted: object, live: object): Record<string, unknown> {
  const has = live as Readonly<Record<string, unknown>>;
  const changed: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(wanted) as [string, unknown][]) {
    if (value === undefined ? has[key] !== undefined : canonicalJson(value) !== canonicalJson(has[key])) {
      changed[key] = mergePatchOf(value, has[key]);
    }
  }
  return changed;
}

/** RFC 7396: members that must go are null, lists are whole. */
function mergePatchOf(wanted: unknown, live: unknown): unknown {
  if (wanted === undefined) return null;
  if (!isRecord(wanted) || !isRecord(live)) return wanted;
  const removed = Object.keys(live).filter((key) => wanted[key] === undefined);
  const kept = Object.entries(wanted).filter(([, value]) => value !== undefined);
  return Object.fromEntries([
    ...removed.map((key) => [key, null]),
    ...kept.map(([key, value]) => [key, mergePatchOf(value, live[key])]),
  ]);
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function goneError(resource: Resource, desired: KubeObject): ApiError {
  const { namespace, name } = desired.metadata;
  const message = `${resource.plural} ${namespace ? `${namespace}/` : ""}${name} is not in the cache`;
  return new ApiError({ status: 404, reason: "NotFound", message });
}
