// One contract for every provider: nothing here knows which one it tests.
import assert from "node:assert/strict";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import type { TestContext } from "node:test";
import { pathToFileURL } from "node:url";
import { openLedger } from "../../operator/adapters/ledger/open.ts";
import type { PoolSettings } from "../../operator/plan/pool/snapshot.ts";
import type { Ledger } from "../../operator/ports.ts";
import type { Cluster } from "../cluster/cluster.ts";
import { eventually } from "../cluster/eventually.ts";
import { killNode } from "../cluster/nodes.ts";
import type { ControlPlane } from "../cluster/controlplane.ts";
import { berthCrdDir, requires, testNamespace } from "../cluster/session.ts";
import { startControlPlane } from "../cluster/controlplane.ts";
import { karpenterBed, nodesOfPool, staticBed } from "./beds.ts";
import type { Bed } from "./beds.ts";
import { startPoolOperator } from "./operator.ts";
import type { PoolOperator } from "./operator.ts";
import {
  claimsOf,
  podsOfPool,
  servingPod,
  createPool,
  deletePool,
  poolIsGone,
  readPool,
  readyOf,
  resizePool,
  untilReady,
} from "./pools.ts";
import type { TestPool } from "./pools.ts";

type NewBed = (t: TestContext, cluster: Cluster, stock: number) => Promise<Bed>;

interface Stage {
  readonly cluster: Cluster;
  readonly bed: Bed;
  readonly ledger: Ledger;
  readonly namespace: string;
  start(settings?: Partial<PoolSettings>, dieAtWrite?: number): Promise<PoolOperator>;
}

/** A cluster of this file's own: on the shared one, operators of other tests would take care of these pools, too. */
let own: Promise<ControlPlane> | undefined;
const ownCluster = (): Promise<ControlPlane> => (own ??= startControlPlane({ crdFolders: [berthCrdDir] }));
after(async () => (await own)?.stop());

async function newStage(t: TestContext, newBed: NewBed, stock: number): Promise<Stage> {
  const cluster = await ownCluster();
  const bed = await newBed(t, cluster, stock);
  const ledger = openLedger({ url: pathToFileURL(mkdtempSync(join(tmpdir(), "berth-ledger-"))).href });
  const namespace = await testNamespace(t, { prefix: "pool", cluster });
  const running: PoolOperator[] = [];
  t.after(() => Promise.all(running.map((operator) => operator.stop())));
  return {
    cluster,
    bed,
    ledger,
    namespace,
    async start(settings, dieAtWrite) {
      const operator = await startPoolOperator({ cluster, ledger, namespace, settings, dieAtWrite });
      running.push(operator);
      return operator;
    },
  };
}

/** Deletes the pool and proves that nothing of it is left anywhere but its closing object. */
async function untilGone({ cluster, bed, ledger }: Stage, pool: TestPool): Promise<void> {
  await deletePool(cluster, pool);
  await eventually(() => poolIsGone(cluster, pool), { what: `pool ${pool.name} is gone`, deadlineMs: 90_000 });
  assert.deepEqual(await claimsOf(cluster, pool), []);
  assert.deepEqual(await bed.leftovers(pool.uid), []);
  const keys = await ledger.list(`closing/${pool.deploymentUID}/`);
  assert.deepEqual(keys, [`closing/${pool.deploymentUID}/${pool.uid}.json`]);
}

/** Each node of the pool has one open claim, in order, and each claim its dates. */
async function claimsAgree({ cluster }: Stage, pool: TestPool, nodes: number): Promise<void> {
  await eventually(async () => {
    const open = (await claimsOf(cluster, pool)).filter(({ status }) => !status?.releasedAt);
    assert.equal(open.length, nodes);
    for (const { status } of open) {
      const { claimedAt, readyAt } = status ?? {};
      assert.ok(claimedAt && readyAt && Date.parse(claimedAt.time) <= Date.parse(readyAt.time));
    }
    assert.equal((await nodesOfPool(cluster, pool.uid)).length, nodes);
    return true;
  });
}

const providers: Readonly<Record<string, NewBed>> = { static: staticBed, karpenter: karpenterBed };

for (const [name, newBed] of Object.entries(providers)) {
  describe(`provider ${name}`, { concurrency: 4 }, () => {
    test("grows, shrinks and is deleted without a trace", async (t) => {
      if (!(await requires(t, "server-restart", "kwok", "karpenter"))) return;
      const stage = await newStage(t, newBed, 3);
      const { cluster, bed, namespace } = stage;
      await stage.start();
      const pool = await createPool(cluster, namespace, "grow", bed.template, 1);
      await untilReady(cluster, pool, 1);
      await resizePool(cluster, pool, 3);
      const grown = await untilReady(cluster, pool, 3);
      // Two sizes within one second of the API server collapse to the last.
      assert.equal(grown.status?.sizeLog?.at(-1)?.size, 3);
      await claimsAgree(stage, pool, 3);
      await resizePool(cluster, pool, 1);
      await untilReady(cluster, pool, 1, 90_000);
      await claimsAgree(stage, pool, 1);
      const ended = (await claimsOf(cluster, pool)).filter(({ status }) => status?.releasedAt);
      assert.equal(ended.length, 2);
      await untilGone(stage, pool);
    });

    test("says in the provider's words why no node comes", async (t) => {
      if (!(await requires(t, "server-restart", "kwok", "karpenter"))) return;
      const stage = await newStage(t, newBed, 0);
      const { cluster, bed, namespace } = stage;
      await stage.start();
      const pool = await createPool(cluster, namespace, "barren", bed.barren, 1);
      await eventually(async () => {
        const said = readyOf(await readPool(cluster, pool));
        assert.equal(said?.status, "False");
        assert.match(said.message, bed.barrenWords);
        return true;
      });
      await untilGone(stage, pool);
    });

    test("gives the last nodes to one of two pools, never to both", async (t) => {
      if (!(await requires(t, "server-restart", "kwok", "karpenter"))) return;
      const stage = await newStage(t, newBed, 3);
      const { cluster, bed, namespace } = stage;
      await stage.start();
      const pools = await Promise.all(
        ["left", "right"].map((side) => createPool(cluster, namespace, side, bed.template, 2)),
      );
      const most = Math.min(4, bed.stock);
      await eventually(
        async () => {
          const live = await Promise.all(pools.map((pool) => readPool(cluster, pool)));
          assert.equal(
            live.reduce((sum, { status }) => sum + (status?.ready ?? 0), 0),
            most,
          );
          assert.ok(live.every(({ status }) => status?.sizeLog?.length === 1));
          return true;
        },
        { deadlineMs: 60_000 },
      );
      const held = await Promise.all(pools.map((pool) => nodesOfPool(cluster, pool.uid)));
      const names = held.flat().map(({ metadata }) => metadata.name);
      assert.equal(new Set(names).size, names.length);
      assert.equal(names.length, most);
      for (const pool of pools) await untilGone(stage, pool);
    });

    test("replaces a node that died", async (t) => {
      if (!(await requires(t, "server-restart", "kwok", "karpenter"))) return;
      const stage = await newStage(t, newBed, 2);
      const { cluster, bed, namespace } = stage;
      await stage.start({ nodeLostMs: 3_000 });
      const pool = await createPool(cluster, namespace, "dies", bed.template, 1);
      await untilReady(cluster, pool, 1);
      await claimsAgree(stage, pool, 1);
      const [dead] = await nodesOfPool(cluster, pool.uid);
      const [first] = await claimsOf(cluster, pool);
      await killNode(cluster, dead?.metadata.name ?? "");
      await eventually(
        async () => {
          const claims = await claimsOf(cluster, pool);
          const open = claims.filter(({ status }) => !status?.releasedAt);
          assert.equal(open.length, 1);
          assert.notEqual(open[0]?.metadata.name, first?.metadata.name);
          assert.ok(open[0]?.status?.readyAt);
          return true;
        },
        { deadlineMs: 90_000, what: "another node has taken its place" },
      );
      await untilReady(cluster, pool, 1);
      await untilGone(stage, pool);
    });

    test("gives back the node that serves nothing, and waits for one that serves until the drain grace is over", async (t) => {
      if (!(await requires(t, "server-restart", "kwok", "karpenter"))) return;
      const stage = await newStage(t, newBed, 3);
      const { cluster, bed, namespace } = stage;
      await stage.start({ drainGraceMs: 8_000 });
      const pool = await createPool(cluster, namespace, "serves", bed.template, 3);
      await untilReady(cluster, pool, 3);
      const busy = await Promise.all(["s1", "s2"].map((pod) => servingPod(cluster, pool, pod)));
      assert.equal(new Set(busy).size, 2);
      await resizePool(cluster, pool, 2);
      await untilReady(cluster, pool, 2, 90_000);
      const kept = (await nodesOfPool(cluster, pool.uid)).map(({ metadata }) => metadata.name);
      assert.deepEqual([...kept].sort(), [...busy].sort());
      await resizePool(cluster, pool, 1);
      await untilReady(cluster, pool, 1, 90_000);
      await eventually(async () => (await podsOfPool(cluster, pool)).length === 1);
      const [left] = await nodesOfPool(cluster, pool.uid);
      assert.deepEqual(
        (await podsOfPool(cluster, pool)).map(({ spec }) => spec?.["nodeName"]),
        [left?.metadata.name],
      );
      await untilGone(stage, pool);
    });

    for (const dieAtWrite of [1, 3, 5, 8]) {
      test(`is released after a crash at write ${dieAtWrite} of the deletion`, async (t) => {
        if (!(await requires(t, "server-restart", "kwok", "karpenter"))) return;
        const stage = await newStage(t, newBed, 2);
        const { cluster, bed, namespace, ledger } = stage;
        const first = await stage.start();
        const pool = await createPool(cluster, namespace, "ends", bed.template, 2);
        await untilReady(cluster, pool, 2);
        await claimsAgree(stage, pool, 2);
        await first.stop();
        const mortal = await stage.start({}, dieAtWrite);
        await deletePool(cluster, pool);
        await mortal.died;
        await mortal.stop();
        await stage.start();
        await untilGone(stage, pool);
        const closing = await ledger.get(`closing/${pool.deploymentUID}/${pool.uid}.json`);
        const { claims } = JSON.parse(Buffer.from(closing ?? []).toString()) as { claims: { releasedAt?: unknown }[] };
        assert.equal(claims.filter(({ releasedAt }) => releasedAt !== undefined).length, 2);
      });
    }

    for (const dieAtWrite of [1, 2, 3, 4, 5, 6, 7]) {
      test(`converges after a crash at write ${dieAtWrite}`, async (t) => {
        if (!(await requires(t, "server-restart", "kwok", "karpenter"))) return;
        const stage = await newStage(t, newBed, 2);
        const { cluster, bed, namespace } = stage;
        const mortal = await stage.start({}, dieAtWrite);
        const pool = await createPool(cluster, namespace, "crash", bed.template, 2);
        const ready = untilReady(cluster, pool, 2).then(() => "ready" as const);
        ready.catch(() => undefined);
        const first = await Promise.race([mortal.died.then(() => "died" as const), ready]);
        // Where fewer writes make it ready, the deletion brings the others.
        if (first === "ready") await deletePool(cluster, pool);
        await mortal.died;
        await mortal.stop();
        await stage.start();
        await eventually(
          async () => {
            const live = await cluster.admin.find(
              `/apis/berth.dev/v1alpha1/namespaces/${namespace}/gpunodepools/crash`,
            );
            if (!live || live.metadata.deletionTimestamp) return true;
            await untilReady(cluster, pool, 2, 1_000);
            await claimsAgree(stage, pool, 2);
            return true;
          },
          { deadlineMs: 60_000 },
        );
        await untilGone(stage, pool);
      });
    }
  });
}
