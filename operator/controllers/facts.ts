/**
 * What the sealer and the usage page see: the caches first, the closing objects after them (a closing object is written
 * before its claims go, so in this order nothing falls between the two).
 */
import { capacityClaims, gpuNodePools, modelDeployments } from "../api/resources.ts";
import type { CapacityClaim } from "../api/capacityclaim.ts";
import type { GPUNodePool } from "../api/gpunodepool.ts";
import type { ModelDeployment } from "../api/modeldeployment.ts";
import type { Facts } from "../plan/metering/history.ts";
import type { KubeObject, KubeReader, Ledger, Resource } from "../ports.ts";
import { pathOf } from "../runtime/client.ts";
import { RetryError } from "../runtime/errors.ts";
import type { Reflector } from "../runtime/reflector.ts";
import type { Transport } from "../runtime/transport.ts";
import { readClosings } from "./closing.ts";
import type { StoredClosing } from "./closing.ts";

export interface MeteredObjects {
  readonly pools: readonly GPUNodePool[];
  readonly claims: readonly CapacityClaim[];
  readonly deployments: readonly ModelDeployment[];
}

export interface SeenFacts extends Facts {
  readonly stored: readonly StoredClosing[];
}

type Followed<T extends KubeObject> = Pick<Reflector<T>, "store" | "waitUntilAtLeast">;

export interface MeteredCaches {
  readonly pools: Followed<GPUNodePool>;
  readonly claims: Followed<CapacityClaim>;
  readonly deployments: Followed<ModelDeployment>;
}

/** The caches as they are: for display. Throws RetryError before their first list. */
export function cachedObjects(caches: MeteredCaches): MeteredObjects {
  const { pools, claims, deployments } = caches;
  if (!pools.store.synced || !claims.store.synced || !deployments.store.synced) {
    throw new RetryError(new Error("the caches are not filled yet"));
  }
  return { pools: pools.store.list(), claims: claims.store.list(), deployments: deployments.store.list() };
}

/**
 * Objects at least as new as a quorum read that is made after the call: one read of one object per kind tells the version that
 * the caches must reach. Where a bookmark takes longer than `patienceMs`, that kind is listed whole instead.
 */
export async function freshObjects(deps: {
  readonly caches: MeteredCaches;
  readonly transport: Pick<Transport, "request">;
  readonly reader: Pick<KubeReader, "list">;
  readonly patienceMs: number;
}): Promise<MeteredObjects> {
  const { caches, reader, transport, patienceMs } = deps;
  async function fresh<T extends KubeObject>(
    resource: Resource<T>,
    followed: Followed<T>,
  ): Promise<() => readonly T[]> {
    const version = await newestVersion(transport, resource);
    if (await followed.waitUntilAtLeast(version, patienceMs)) return () => followed.store.list();
    const { items } = await reader.list(resource, undefined);
    return () => items;
  }
  const [pools, claims, deployments] = await Promise.all([
    fresh(gpuNodePools, caches.pools),
    fresh(capacityClaims, caches.claims),
    fresh(modelDeployments, caches.deployments),
  ]);
  return { pools: pools(), claims: claims(), deployments: deployments() };
}

/** Resource version of the collection by a quorum read: no `resourceVersion` in the query means "most recent". */
async function newestVersion(transport: Pick<Transport, "request">, resource: Resource): Promise<string> {
  const path = pathOf(resource, undefined, undefined, undefined, { limit: 1 });
  const answer = (await transport.request({ method: "GET", path })) as { metadata?: { resourceVersion?: string } };
  const version = answer.metadata?.resourceVersion;
  if (!version)
    throw new RetryError(new Error(`the API server answered a list of ${resource.plural} without a version`));
  return version;
}

/** Facts from `objects`, which must have been read before this call. */
export async function withClosings(objects: MeteredObjects, ledger: Ledger): Promise<SeenFacts> {
  const stored = await readClosings(ledger);
  return { ...objects, stored, closings: stored.map(({ closing }) => closing) };
}
