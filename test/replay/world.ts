/**
 * The cluster of a history, as far as metering sees it. Times of the past cannot be written into a real API server, so it is kept in
 * memory, with the API server's versions and conflicts. What the sealer of the replay writes is carried out; nothing else changes it.
 */
import type { CapacityClaim } from "../../operator/api/capacityclaim.ts";
import type { GPUNodePool } from "../../operator/api/gpunodepool.ts";
import type { ModelDeployment } from "../../operator/api/modeldeployment.ts";
import type { MeteredObjects } from "../../operator/controllers/facts.ts";
import type { KubeObject, KubeReader, KubeWriter } from "../../operator/ports.ts";
import { ConflictError } from "../../operator/runtime/errors.ts";
import { patched } from "./changes.ts";
import type { Change, MeteredKind } from "./changes.ts";

interface Stored {
  readonly kind: string;
  readonly object: KubeObject;
}

export type WorldKube = Pick<KubeReader, "read"> & Pick<KubeWriter, "create" | "mergePatch" | "remove">;

export interface World {
  /** Everything that became known by then, in milliseconds. */
  advance(toMs: number): void;
  objects(): MeteredObjects;
  /** Pools that wait for their closing object. */
  leaving(): readonly GPUNodePool[];
  /** The pool goes, its closing object being in the ledger; so may its deployment. */
  leave(pool: GPUNodePool): void;
  readonly kube: WorldKube;
}

export function newWorld(history: readonly Change[]): World {
  const cluster = new ObjectStore();
  let next = 0;
  return {
    advance(toMs) {
      for (let one = history[next]; one && Date.parse(one.at) <= toMs; one = history[++next]) cluster.take(one);
    },
    objects: () => cluster.metered(),
    leaving: () => cluster.leavingPools(),
    leave: (pool) => cluster.leave(pool),
    kube: {
      read: async (resource, namespace, name) => cluster.find(resource.kind, namespace, name)?.object as never,
      create: async (resource, body) => cluster.create(resource.kind, body) as never,
      mergePatch: async (resource, namespace, name, body) =>
        cluster.patch(resource.kind, namespace, name, body) as never,
      remove: async (resource, namespace, name, options) => cluster.remove(resource.kind, namespace, name, options),
    },
  };
}

/** Objects are replaced, never changed: whoever listed them keeps what it saw. */
class ObjectStore {
  readonly #stored = new Map<string, Stored>();
  /** Keys of what was removed; a history may go on telling of it. */
  readonly #gone = new Set<string>();
  readonly #leaving = new Set<string>();
  #version = 0;

  take({ kind, uid, change }: Change): void {
    const key = `${kind}/${uid}`;
    if (this.#gone.has(key)) return;
    if (change !== null) this.put(kind, uid, patched(this.#stored.get(key)?.object, change) as KubeObject);
    // Held by finalizers until the pool has its closing object.
    else if (kind === "CapacityClaim") this.#drop(key);
    else this.#leaving.add(key);
  }

  put(kind: string, uid: string, object: KubeObject): KubeObject {
    const metadata = { uid, ...object.metadata, resourceVersion: String(++this.#version) };
    const stored = { ...object, metadata };
    this.#stored.set(`${kind}/${uid}`, { kind, object: stored });
    return stored;
  }

  create(kind: string, body: KubeObject): KubeObject {
    const { namespace, name } = body.metadata;
    if (this.find(kind, namespace, name)) throw new ConflictError(new Error(`${kind} ${name} is there`));
    return this.put(kind, `new-${name}`, body);
  }

  #drop(key: string): void {
    this.#stored.delete(key);
    this.#gone.add(key);
  }

  #all<T extends KubeObject>(kind: MeteredKind): T[] {
    return [...this.#stored.values()].filter((one) => one.kind === kind).map(({ object }) => object as T);
  }

  metered(): MeteredObjects {
    return {
      deployments: this.#all<ModelDeployment>("ModelDeployment"),
      pools: this.#all<GPUNodePool>("GPUNodePool"),
      claims: this.#all<CapacityClaim>("CapacityClaim"),
    };
  }

  leavingPools(): GPUNodePool[] {
    return this.#all<GPUNodePool>("GPUNodePool").filter(({ metadata }) =>
      this.#leaving.has(`GPUNodePool/${metadata.uid ?? ""}`),
    );
  }

  leave({ metadata, spec }: GPUNodePool): void {
    this.#drop(`GPUNodePool/${metadata.uid ?? ""}`);
    const owner = `ModelDeployment/${spec.deploymentRef.uid}`;
    if (this.#leaving.has(owner)) this.#drop(owner);
  }

  /** Of two with one name the one that is not being deleted. */
  find(kind: string, namespace: string | undefined, name: string): Stored | undefined {
    return [...this.#stored.values()]
      .filter((one) => one.kind === kind && one.object.metadata.name === name)
      .filter(({ object }) => object.metadata.namespace === namespace)
      .sort((a, b) => Number(isDeleted(a)) - Number(isDeleted(b)))[0];
  }

  patch(kind: string, namespace: string | undefined, name: string, body: object): KubeObject {
    const found = this.find(kind, namespace, name);
    const { metadata } = body as { metadata?: { resourceVersion?: string } };
    const wanted = metadata?.resourceVersion;
    if (!found || (wanted !== undefined && wanted !== found.object.metadata.resourceVersion))
      throw new ConflictError(new Error(`${kind} ${name} changed`));
    return this.put(kind, found.object.metadata.uid ?? "", patched(found.object, body) as KubeObject);
  }

  remove(kind: string, namespace: string | undefined, name: string, options: { readonly uid?: string } = {}): void {
    const found = this.find(kind, namespace, name);
    if (!found) return;
    const { uid = "", finalizers = [] } = found.object.metadata;
    if (options.uid !== undefined && options.uid !== uid) throw new ConflictError(new Error(`${kind} ${name} is new`));
    if (finalizers.length > 0) throw new Error(`${kind} ${name} would linger: ${finalizers.join(", ")}`);
    this.#drop(`${kind}/${uid}`);
  }
}

function isDeleted({ object }: Stored): boolean {
  return object.metadata.deletionTimestamp !== undefined;
}
