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
import { misplacedClosing } from "../plan/metering/closing.ts";
import { inTurns, readClosings } from "./closing.ts";
import type { StoredClosing } from "./closing.ts";
import { isNoted } from "./closingregister.ts";
import type { Noted } from "./closingregister.ts";

export interface MeteredObjects {
  readonly pools: readonly GPUNodePool[];
  readonly claims: readonly CapacityClaim[];
  readonly deployments: readonly ModelDeployment[];
}

export interface SeenFacts extends Facts {
  readonly stored: readonly StoredClosing[];
  /** Closing objects of pools that are not there which this operator did not leave; nothing of them is among the facts. */
  readonly foreign: readonly ForeignClosing[];
  /** Those of another cluster, whose place this is not. */
  readonly ofOthers: readonly ForeignClosing[];
  /** What was noted when they were read. */
  readonly noted?: Noted;
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
  /** undefined where nothing was ever noted: then all are taken. */
  readonly noted?: () => Promise<Noted | undefined>;
}

/**
 * Facts from `objects`, which must have been read before this call. Only what the register knows was left by a pool. Anything else
 * means nothing while its pool is there; where it is gone, it is told, as nobody can say what is missing.
 */
export async function withClosings(
  objects: MeteredObjects,
  ledger: Ledger,
  { clusterId, noted: read }: ClosingReader = {},
): Promise<SeenFacts> {
  const found = await readClosings(ledger);
  // After the objects: each is noted before it is put.
  const noted = found.length > 0 ? await read?.() : undefined;
  const pools = new Set(objects.pools.map(({ metadata }) => metadata.uid));
  const foreign: ForeignClosing[] = [];
  const ofOthers: ForeignClosing[] = [];
  const stored = found.filter(({ key, body, closing }) => {
    if (clusterId !== undefined && closing.cluster !== clusterId) {
      ofOthers.push({ key, problem: `belongs to the cluster ${closing.cluster}, this is ${clusterId}` });
      return false;
    }
    const misplaced = misplacedClosing(key, closing);
    const isOurs = !noted || isNoted(noted, closing.poolUID, body);
    const problem = misplaced ?? (isOurs || pools.has(closing.poolUID) ? undefined : "was not left by this operator");
    if (problem !== undefined) foreign.push({ key, problem });
    return isOurs && problem === undefined;
  });
  // Another leader may have sealed, removed and forgotten one since it was read.
  const left = await inTurns(foreign, 8, async (one) => ((await ledger.get(one.key)) ? [one] : []));
  const closings = stored.map(({ closing }) => closing);
  return { ...objects, stored, closings, foreign: left.flat(), ofOthers, ...(noted && { noted }) };
}
