/** Controller of GPUNodePools: caches and provider to a snapshot, plan, writes, status. Also sweeps up after vanished pools. */
import { capacityClaims, gpuNodePools, modelDeployments } from "../api/resources.ts";
import type { CapacityClaim } from "../api/capacityclaim.ts";
import type { GPUNodePool } from "../api/gpunodepool.ts";
import type { Pod } from "../api/kubernetes.ts";
import { cacheUserOf } from "../api/nodecache.ts";
import { BY_POOL } from "../api/poolindexes.ts";
import type { ModelDeployment } from "../api/modeldeployment.ts";
import { sizeSetAt, sizesUntilNow } from "../plan/pool/sizelog.ts";
import { lostHistory } from "../plan/pool/lost.ts";
import { planPool } from "../plan/pool/plan.ts";
import { buried } from "../plan/pool/remove.ts";
import { isLiving } from "../plan/pool/snapshot.ts";
import type { LivingSnapshot, PoolPlan, PoolSettings, PoolSnapshot } from "../plan/pool/snapshot.ts";
import { poolStatus, transitionEvents } from "../plan/pool/status.ts";
import type { PoolState } from "../plan/pool/status.ts";
import { missingNodes } from "../plan/pool/units.ts";
import type {
  CapacityProvider,
  CapacityQuery,
  Clock,
  KubeReader,
  Ledger,
  Log,
  Outcome,
  ProviderName,
  Store,
} from "../ports.ts";
import { isForbidden, messageOf, TerminalError } from "../runtime/errors.ts";
import type { PlanExecutor } from "./apply.ts";
import { putClosing } from "./closing.ts";
import type { ClosingRegister } from "./closingregister.ts";
import { sweptUID } from "./poolkeys.ts";
import type { Graves } from "./graves.ts";
import type { Unproven } from "./unproven.ts";

export interface PoolDeps {
  readonly clock: Clock;
  readonly reader: KubeReader;
  readonly stores: {
    /** Keeps manager `berth-size`; indexes `poolIndexes`. */
    readonly pools: Store<GPUNodePool>;
    readonly deployments: Store<ModelDeployment>;
    /** With `claimIndexes`. */
    readonly claims: Store<CapacityClaim>;
    /** Serving pods, with `podIndexes`. */
    readonly pods: Store<Pod>;
  };
  readonly providers: Readonly<Record<ProviderName, CapacityProvider>>;
  readonly executor: PlanExecutor;
  readonly ledger: Ledger;
  /** UID of the namespace kube-system. */
  readonly clusterId: string;
  /** Where digests of closing objects are kept. */
  readonly register?: ClosingRegister;
  readonly settings: PoolSettings;
  /** End of the newest window that this process knows to be sealed (milliseconds since the epoch). */
  readonly sealedThroughMs?: () => number | undefined;
  readonly graves: Graves;
  readonly unproven: Unproven;
}

/** Passes within one reconcile, while each changes what the next one sees. */
const MOST_ROUNDS = 6;

/** `reconcile(key)`: `namespace/name` of a pool, or the key of a vanished one (poolkeys.ts). */
export function newPoolReconciler(deps: PoolDeps): (key: string, log: Log) => Promise<Outcome> {
  // Taking off the last finalizer removes the object, and the answer looks no newer than what the cache holds.
  const finished = new Set<string>();
  return async function reconcile(key, log) {
    for (let round = 1; ; round++) {
      const target = await targetOf(deps, key);
      if (!target?.pool) for (const uid of finished) if (!deps.stores.pools.byUid(uid)) finished.delete(uid);
      if (!target || finished.has(target.poolUID)) {
        deps.graves.forget(sweptUID(key));
        return {};
      }
      try {
        const seen = await observe(deps, target);
        const plan = planPool(seen);
        if (plan.steps.length > 0) log.info({ because: plan.because, steps: plan.steps.length }, "planned");
        await carryOut(deps, seen, plan);
        alarm(deps, seen);
        if (plan.close) finished.add(target.poolUID);
        if (!plan.again || round >= MOST_ROUNDS) return outcomeOf(plan, round);
      } finally {
        target.provider.settle(target.poolUID);
      }
    }
  };
}

function outcomeOf(plan: PoolPlan, round: number): Outcome {
  if (plan.again && round >= MOST_ROUNDS) return { requeueAfterMs: 1_000 };
  return plan.requeueAfterMs === undefined ? {} : { requeueAfterMs: plan.requeueAfterMs };
}

interface Target {
  readonly poolUID: string;
  readonly pool: GPUNodePool | undefined;
  readonly grave?: GPUNodePool;
  readonly provider: CapacityProvider;
}

async function targetOf(deps: PoolDeps, key: string): Promise<Target | undefined> {
  const uid = sweptUID(key);
  if (uid !== undefined) return vanishedTarget(deps, uid);
  const [namespace = "", name = ""] = key.split("/");
  const pool = deps.stores.pools.get(namespace, name);
  if (!pool) return undefined;
  return { poolUID: pool.metadata.uid ?? "", pool, provider: providerOf(deps, pool) };
}

function providerOf(deps: PoolDeps, { spec }: GPUNodePool): CapacityProvider {
  return deps.providers[spec.template.provider.static ? "static" : "karpenter"];
}

/** Something still carries the UID of a pool that is in no cache. */
async function vanishedTarget(deps: PoolDeps, poolUID: string): Promise<Target | undefined> {
  if (deps.stores.pools.byUid(poolUID)) return undefined;
  const grave = deps.graves.of(poolUID);
  const [claim] = deps.stores.claims.byIndex(BY_POOL, poolUID);
  for (const provider of Object.values(deps.providers)) {
    const facts = await provider.observe(queryOf(deps, poolUID, undefined));
    const owes = claim?.spec.providerRef.provider === provider.name;
    if (facts.units.length === 0 && !facts.order && !owes) continue;
    // The pool's watch may only be late: nothing is taken from a living pool, so one quorum list decides.
    const { items } = await deps.reader.list(gpuNodePools, undefined);
    if (items.some((pool) => pool.metadata.uid === poolUID)) return undefined;
    return { poolUID, pool: undefined, provider, ...(grave && { grave }) };
  }
  return undefined;
}

function queryOf(deps: PoolDeps, poolUID: string, pool: GPUNodePool | undefined): CapacityQuery {
  const sizeSince = pool && sizeSetAt(pool);
  const sealedThroughMs = sealedMs(deps, pool);
  return {
    poolUID,
    ...(pool && { template: pool.spec.template, ...cacheUserOf(pool.spec) }),
    size: pool?.spec.size ?? 0,
    ...(sizeSince !== undefined && { sizeSince }),
    now: deps.clock.now(),
    nodeLostMs: deps.settings.nodeLostMs,
    ...(sealedThroughMs !== undefined && { sealedThroughMs }),
  };
}

/** Of the two that tell, the later one: what the sealer of this process did last, and what the deployment says. */
function sealedMs(deps: PoolDeps, pool: GPUNodePool | undefined): number | undefined {
  const deployment = pool && deps.stores.deployments.byUid(pool.spec.deploymentRef.uid);
  const said = deployment?.status?.metering?.sealedThrough;
  const known = [deps.sealedThroughMs?.(), said === undefined ? undefined : Date.parse(said)];
  const times = known.filter((at) => at !== undefined);
  return times.length === 0 ? undefined : Math.max(...times);
}

async function observe(deps: PoolDeps, { poolUID, pool, provider, grave }: Target): Promise<PoolSnapshot> {
  const { stores, settings } = deps;
  const query = queryOf(deps, poolUID, pool);
  const facts = await provider.observe(query);
  const base = { now: query.now, pool, facts, settings };
  const missing = missingNodes(base);
  const { offers, obstacle } =
    missing > 0 ? await provider.offers(query, missing) : { offers: [], obstacle: undefined };
  const deployment = pool && stores.deployments.byUid(pool.spec.deploymentRef.uid);
  return Object.freeze({
    ...base,
    poolUID,
    sizeSince: query.sizeSince,
    sealedThrough: deployment?.status?.metering?.sealedThrough,
    offers,
    obstacle,
    claims: stores.claims.byIndex(BY_POOL, poolUID),
    pods: stores.pods.byIndex(BY_POOL, poolUID),
    ...(grave && { grave }),
  });
}

/** Closing object, steps, status, events. The status is written also when a write failed, so that the user sees why. */
async function carryOut(deps: PoolDeps, seen: PoolSnapshot, plan: PoolPlan): Promise<void> {
  const failure = await attempt(deps, seen, plan);
  if (isLiving(seen)) await report(deps, seen, failure ? afterFailure(seen, plan, failure) : plan);
  if (failure) throw failure.error;
}

interface Failure {
  readonly error: unknown;
  /** It was the ledger that failed, before any step. */
  readonly unsettled: boolean;
}

async function attempt(deps: PoolDeps, seen: PoolSnapshot, plan: PoolPlan): Promise<Failure | undefined> {
  let unsettled = plan.close;
  try {
    if (plan.close) await close(deps, seen);
    unsettled = false;
    await deps.executor.write(plan.steps);
    return undefined;
  } catch (error) {
    return { error, unsettled };
  }
}

type Report = Pick<PoolPlan, "status" | "events">;

async function report(deps: PoolDeps, { pool }: LivingSnapshot, { status, events }: Report): Promise<void> {
  const { namespace, name, uid } = pool.metadata;
  const live = deps.stores.pools.get(namespace, name);
  if (status && live && live.metadata.uid === uid) await deps.executor.status(gpuNodePools, live, status);
  deps.executor.emit(pool, gpuNodePools, { events });
}

/** What passes by itself changes no condition; a refusal, and a ledger that is away, are for people. */
function afterFailure(seen: LivingSnapshot, plan: PoolPlan, { error, unsettled }: Failure): Report {
  const said = messageOf(error);
  const state: PoolState | undefined = unsettled
    ? {
        status: "False",
        reason: "Released",
        message: `all nodes are released, the closing record cannot be written: ${said}`,
      }
    : error instanceof TerminalError || isForbidden(error)
      ? { status: "False", reason: "ProviderError", message: said }
      : undefined;
  if (!state) return { status: plan.status, events: [] };
  return { status: poolStatus(seen, state), events: transitionEvents(seen, state) };
}

async function close(deps: PoolDeps, seen: PoolSnapshot): Promise<void> {
  const last = seen.pool ?? seen.grave;
  if (!last) return;
  const sizeSince = sizeSetAt(last);
  const ended = seen.pool ? last : buried(last, sizeSince, seen.claims);
  const deployment = deps.stores.deployments.byUid(last.spec.deploymentRef.uid);
  // A pool that ends before its first status was written has a size all the same.
  const { sizeLog = [], ...status } = ended.status ?? {};
  const log = sizesUntilNow(sizeLog, ended.spec, sizeSince);
  const pool = { ...ended, status: { ...status, sizeLog: [...log] } };
  const input = { deployment, pool, claims: seen.claims, clusterId: deps.clusterId };
  await putClosing(deps.ledger, input, deps.register);
}

/** Tells people what of the pool's history is lost for good: nothing is billed for it. */
function alarm(deps: PoolDeps, seen: PoolSnapshot): void {
  const lost = lostHistory(seen);
  if (!lost) return;
  const about = seen.pool ?? deps.stores.deployments.byUid(seen.claims[0]?.spec.deploymentUID ?? "") ?? seen.claims[0];
  const resource = seen.pool ? gpuNodePools : about === seen.claims[0] ? capacityClaims : modelDeployments;
  deps.unproven({ ...lost, key: seen.poolUID, ...(about && { about, resource }) });
}
