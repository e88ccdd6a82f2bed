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
import { closingProblem } from "../plan/metering/closing.ts";
import { inTurns, readClosings } from "./closing.ts";
import type { StoredClosing } from "./closing.ts";
import { isNoted } from "./closingregister.ts";
import type { ClosingRegister } from "./closingregister.ts";

export interface MeteredObjects {
  readonly pools: readonly GPUNodePool[];
  readonly claims: readonly CapacityClaim[];
  readonly deployments: readonly ModelDeployment[];
}

export interface SeenFacts extends Facts {
  readonly stored: readonly StoredClosing[];
  /** Closing objects of pools that are not there which this operator did not leave; nothing of them is among the facts. */
  readonly foreign: readonly ForeignClosing[];
}

export interface ForeignClosing {
  readonly key: string;
  /** In words that follow the key. */
  readonly problem: string;
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

/** Who reads the closing objects; without these, all are taken. */
export interface ClosingReader {
  /** UID of the namespace kube-system. */
  readonly clusterId?: string;
  readonly register?: Pick<ClosingRegister, "read"> | undefined;
}

/**
 * Facts from `objects`, which must have been read before this call. Of a pool that is there and is not being deleted nobody has left
 * anything, and of one that is being deleted only what the register knows: anything else lies there without a meaning.
 */
export async function withClosings(
  objects: MeteredObjects,
  ledger: Ledger,
  { clusterId, register }: ClosingReader = {},
): Promise<SeenFacts> {
  const found = await readClosings(ledger);
  // After the objects: each is noted before it is put.
  const noted = found.length > 0 ? await register?.read(ledger) : undefined;
  const pools = new Map(objects.pools.map(({ metadata }) => [metadata.uid, metadata.deletionTimestamp !== undefined]));
  const foreign: ForeignClosing[] = [];
  const stored = found.filter(({ key, body, closing }) => {
    const isGoing = pools.get(closing.poolUID);
    if (isGoing === false) return false;
    const isOurs = !noted || isNoted(noted, closing.poolUID, body);
    const problem =
      (clusterId === undefined ? undefined : closingProblem(key, closing, clusterId)) ??
      (isOurs || isGoing ? undefined : "was not left by this operator");
    if (problem !== undefined) foreign.push({ key, problem });
    return isOurs && problem === undefined;
  });
  // Another leader may have sealed, removed and forgotten one since it was read.
  const left = await inTurns(foreign, 8, async (one) => ((await ledger.get(one.key)) ? [one] : []));
  return { ...objects, stored, foreign: left.flat(), closings: stored.map(({ closing }) => closing) };
}
