/**
 * What one pass of the sealer knows of every pool, packed by shard: the histories of 100,000 deployments are some 300 MB of objects,
 * and no more than one shard of them, or one block of packed ones, is needed at a time.
 */
import { lifeOf } from "../plan/metering/fold.ts";
import type { Life } from "../plan/metering/fold.ts";
import { historiesOf } from "../plan/metering/history.ts";
import type { Facts, PoolHistory } from "../plan/metering/history.ts";
import { shardOf } from "../plan/metering/identity.ts";
import { metersOf } from "../plan/metering/records.ts";
import { packRows } from "../runtime/packedrows.ts";

export type Meters = Iterable<readonly PoolHistory[]>;

export interface Histories {
  /** Of each pool that ever had a second. */
  readonly lives: readonly Life[];
  /** Over all pools of one deployment. */
  readonly lifeOf: (deploymentUID: string) => Life | undefined;
  /** Meters (records.ts: metersOf) of each of so many shards, unpacked while they are gone through. */
  readonly byShard: (shards: number) => readonly Meters[];
  /** Meters of some deployments. */
  readonly metersOf: (deploymentUIDs: ReadonlySet<string>) => readonly (readonly PoolHistory[])[];
}

/** For `shards` shards; another number can be asked for, at the price of unpacking all of them for each. */
export function packHistories(facts: Facts, shards: number): Histories {
  return packedByShard(shardsOfFacts(facts, shards).map((own) => () => historiesOf(own)));
}

/** As packHistories(), from what makes the histories of each shard. */
export function packedByShard(historiesOfShard: readonly (() => readonly PoolHistory[])[]): Histories {
  const shards = historiesOfShard.length;
  const lives: Life[] = [];
  const byDeployment = new Map<string, Life>();
  const packed = historiesOfShard.map((made): Meters => {
    const histories = made();
    for (const pool of histories) {
      const life = lifeOf([pool]);
      if (life) lives.push(life);
    }
    for (const [uid, own] of Map.groupBy(histories, ({ deploymentUID }) => deploymentUID)) {
      const life = lifeOf(own);
      if (life) byDeployment.set(uid, life);
    }
    return packRows(metersOf(histories));
  });
  return {
    lives,
    lifeOf: (uid) => byDeployment.get(uid),
    byShard: (wanted) =>
      wanted === shards ? packed : Array.from({ length: wanted }, (_, shard) => resharded(packed, shard, wanted)),
    metersOf(uids) {
      const concerned = new Set([...uids].map((uid) => shardOf(uid, shards)));
      const own = packed.filter((_, shard) => concerned.has(shard));
      return inOrder(own, ({ deploymentUID }) => uids.has(deploymentUID));
    },
  };
}

function resharded(packed: readonly Meters[], shard: number, shards: number): Meters {
  return {
    [Symbol.iterator]: () =>
      inOrder(packed, ({ deploymentUID }) => shardOf(deploymentUID, shards) === shard)[Symbol.iterator](),
  };
}

function inOrder(packed: readonly Meters[], wanted: (pool: PoolHistory) => boolean): PoolHistory[][] {
  const found: PoolHistory[] = [];
  for (const meters of packed) for (const pools of meters) found.push(...pools.filter(wanted));
  return metersOf(found);
}

/** Whatever has to do with one pool is in one shard: that of the deployment that its history will name. */
function shardsOfFacts(facts: Facts, shards: number): Facts[] {
  if (shards === 1) return [facts];
  const of = new Map<string, number>();
  for (const { poolUID, deploymentUID } of facts.closings) of.set(poolUID, shardOf(deploymentUID, shards));
  const ofPool = (poolUID: string, deploymentUID: string): number => {
    const shard = of.get(poolUID) ?? shardOf(deploymentUID, shards);
    of.set(poolUID, shard);
    return shard;
  };
  const pools = Map.groupBy(facts.pools, ({ metadata, spec }) => ofPool(metadata.uid ?? "", spec.deploymentRef.uid));
  const claims = Map.groupBy(facts.claims, ({ spec }) => ofPool(spec.poolUID, spec.deploymentUID));
  const closings = Map.groupBy(facts.closings, ({ deploymentUID }) => shardOf(deploymentUID, shards));
  const deployments = Map.groupBy(facts.deployments, ({ metadata }) => shardOf(metadata.uid ?? "", shards));
  return Array.from({ length: shards }, (_, shard) => ({
    pools: pools.get(shard) ?? [],
    claims: claims.get(shard) ?? [],
    closings: closings.get(shard) ?? [],
    deployments: deployments.get(shard) ?? [],
  }));
}
