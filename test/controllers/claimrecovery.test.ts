// What is lost by force, by a restore from backup or while Berth is away is found again from what is left, on the real API server.
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import type { TestContext } from "node:test";
import type { CapacityClaim } from "../../operator/api/capacityclaim.ts";
import { UNPROVEN } from "../../operator/controllers/unproven.ts";
import { startControlPlane } from "../cluster/controlplane.ts";
import type { ControlPlane } from "../cluster/controlplane.ts";
import { eventually } from "../cluster/eventually.ts";
import { removeNode } from "../cluster/nodes.ts";
import { berthCrdDir, requires } from "../cluster/session.ts";
import { karpenterBed, nodesOfPool, staticBed } from "../providers/beds.ts";
import { claimsOf, createPool, deletePool, poolIsGone, readPool, resizePool, untilReady } from "../providers/pools.ts";
import type { TestPool } from "../providers/pools.ts";
import type { PoolOperator } from "../providers/operator.ts";
import { claimPath, closingFor, newPoolStage, poolPath, removeByForce } from "./poolstage.ts";

let own: Promise<ControlPlane> | undefined;
const ownCluster = (): Promise<ControlPlane> => (own ??= startControlPlane({ crdFolders: [berthCrdDir] }));
after(async () => (await own)?.stop());

const beds = { static: staticBed, karpenter: karpenterBed } as const;
type BedName = keyof typeof beds;

const stageOn = async (t: TestContext, bed: BedName, stock = 1) =>
  newPoolStage(t, await ownCluster(), beds[bed], stock);

async function onlyClaim(cluster: ControlPlane, pool: TestPool): Promise<CapacityClaim> {
  const [claim, ...more] = await claimsOf(cluster, pool);
  assert.ok(claim && more.length === 0, "one claim");
  return claim;
}

/** Waits until the pool's only claim has an end on record. */
async function ended(cluster: ControlPlane, pool: TestPool): Promise<CapacityClaim> {
  return eventually(
    async () => {
      const claim = await onlyClaim(cluster, pool);
      return claim.status?.releasedAt && claim;
    },
    { what: `the claim of ${pool.name} has an end`, deadlineMs: 60_000 },
  );
}

const alarmAbout = ({ events }: PoolOperator, about: string) =>
  events.find((event) => event.reason === UNPROVEN && event.about === about);

const loseStatus = ({ admin }: ControlPlane, { metadata }: CapacityClaim): Promise<unknown> =>
  admin.patch(claimPath(metadata.name, "status"), { status: null });

type Times = Pick<NonNullable<CapacityClaim["status"]>, "claimedAt" | "readyAt" | "releasedAt">;
const timesOf = ({ status }: CapacityClaim): Times => ({
  claimedAt: status?.claimedAt,
  readyAt: status?.readyAt,
  releasedAt: status?.releasedAt,
});

/** Waits until the only claim of the pool tells exactly these times again. */
async function untilTimes(cluster: ControlPlane, pool: TestPool, wanted: Times): Promise<void> {
  const same = async (): Promise<boolean> => {
    assert.deepEqual(timesOf(await onlyClaim(cluster, pool)), wanted);
    return true;
  };
  await eventually(same, { what: "the times are on record again", deadlineMs: 30_000 });
}

for (const bed of ["static", "karpenter"] as const) {
  describe(`${bed} nodes`, { concurrency: 1 }, () => {
    test("a claim that lost its status, or was removed by force, has the same times again", async (t) => {
      if (!(await requires(t, "server-restart", "kwok", bed === "karpenter" ? "karpenter" : "kwok"))) return;
      const at = await stageOn(t, bed);
      await at.start();
      const pool = await createPool(at.cluster, at.namespace, "open", at.bed.template, 1);
      await untilReady(at.cluster, pool, 1);
      const claim = await onlyClaim(at.cluster, pool);
      await loseStatus(at.cluster, claim);
      await untilTimes(at.cluster, pool, timesOf(claim));
      await removeByForce(at.cluster, claimPath(claim.metadata.name));
      await eventually(async () => (await onlyClaim(at.cluster, pool)).metadata.uid !== claim.metadata.uid);
      await untilTimes(at.cluster, pool, timesOf(claim));
    });

    test("a claim that ended and lost its status has the same times again", async (t) => {
      if (!(await requires(t, "server-restart", "kwok", bed === "karpenter" ? "karpenter" : "kwok"))) return;
      const at = await stageOn(t, bed);
      const first = await at.start();
      const pool = await createPool(at.cluster, at.namespace, "over", at.bed.template, 1);
      await untilReady(at.cluster, pool, 1);
      await resizePool(at.cluster, pool, 0);
      const claim = await ended(at.cluster, pool);
      // The node serves somebody else by now, so nothing but the claim itself tells about it.
      const next = await createPool(at.cluster, at.namespace, "next", at.bed.template, 1);
      await untilReady(at.cluster, next, 1);
      await first.stop();
      await loseStatus(at.cluster, claim);
      await at.start();
      await untilTimes(at.cluster, pool, timesOf(claim));
      const [after] = await claimsOf(at.cluster, next);
      const start = Date.parse(after?.status?.claimedAt?.time ?? "");
      if (bed === "static") assert.ok(start >= Date.parse(claim.status?.releasedAt?.time ?? ""), "no overlap");
    });

    test("the books of a pool that is removed by force while Berth runs are closed to the second", async (t) => {
      if (!(await requires(t, "server-restart", "kwok", bed === "karpenter" ? "karpenter" : "kwok"))) return;
      const at = await stageOn(t, bed);
      await at.start();
      const pool = await createPool(at.cluster, at.namespace, "forced", at.bed.template, 1);
      await untilReady(at.cluster, pool, 1);
      const claim = await onlyClaim(at.cluster, pool);
      const { status } = await readPool(at.cluster, pool);
      await deletePool(at.cluster, pool);
      const path = poolPath(at.namespace, pool.name);
      const deletedAt = (await at.cluster.admin.find(path))?.metadata.deletionTimestamp;
      if (deletedAt !== undefined) await removeByForce(at.cluster, path);
      const closing = await eventually(() => closingFor(at.ledger, pool.deploymentUID), { deadlineMs: 60_000 });
      assert.deepEqual(
        closing.steps,
        (status?.sizeLog ?? []).map((step) => ({ ...step, tags: {} })),
      );
      if (deletedAt !== undefined) assert.equal(closing.endedAt, deletedAt);
      assert.equal(closing.claims[0]?.claimedAt, claim.status?.claimedAt?.time);
      assert.ok(closing.claims[0]?.releasedAt);
      await eventually(async () => (await claimsOf(at.cluster, pool)).length === 0);
      await eventually(async () => (await at.bed.leftovers(pool.uid)).length === 0, { deadlineMs: 60_000 });
    });
  });
}

describe("static nodes alone", { concurrency: 1 }, () => {
  test("a pool that vanishes without a word is wanted no longer than a server can witness", async (t) => {
    if (!(await requires(t, "server-restart", "kwok"))) return;
    const at = await stageOn(t, "static");
    await at.start();
    const pool = await createPool(at.cluster, at.namespace, "mute", at.bed.template, 1);
    await untilReady(at.cluster, pool, 1);
    const { status } = await onlyClaim(at.cluster, pool);
    await removeByForce(at.cluster, poolPath(at.namespace, pool.name));
    const closing = await eventually(() => closingFor(at.ledger, pool.deploymentUID), { deadlineMs: 60_000 });
    const witnessed = [status?.claimedAt?.time, status?.readyAt?.time, closing.steps.at(-1)?.since].sort().at(-1);
    assert.equal(closing.endedAt, witnessed);
    await eventually(async () => (await claimsOf(at.cluster, pool)).length === 0);
  });

  test("what nobody saw of a pool that vanished is told and not billed", async (t) => {
    if (!(await requires(t, "server-restart", "kwok"))) return;
    const at = await stageOn(t, "static");
    const first = await at.start();
    const pool = await createPool(at.cluster, at.namespace, "unseen", at.bed.template, 1);
    await untilReady(at.cluster, pool, 1);
    const claim = await onlyClaim(at.cluster, pool);
    await first.stop();
    await removeByForce(at.cluster, poolPath(at.namespace, pool.name));
    const second = await at.start();
    const alarm = await eventually(() => alarmAbout(second, claim.metadata.name));
    assert.match(alarm.message, /removed by force while Berth did not run/);
    assert.equal(alarm.about, claim.metadata.name);
    await ended(at.cluster, pool);
    await eventually(async () => (await at.bed.leftovers(pool.uid)).length === 0, { deadlineMs: 60_000 });
    assert.equal(await closingFor(at.ledger, pool.deploymentUID), undefined);
    assert.equal(second.events.filter(({ about }) => about === claim.metadata.name).length, 1, "once");
  });

  test("a pool that lost its status logs the same size since the same second", async (t) => {
    if (!(await requires(t, "server-restart", "kwok"))) return;
    const at = await stageOn(t, "static");
    const operator = await at.start();
    const pool = await createPool(at.cluster, at.namespace, "bare", at.bed.template, 1);
    const before = await untilReady(at.cluster, pool, 1);
    await at.cluster.admin.patch(poolPath(at.namespace, pool.name, "status"), { status: null });
    const after = await untilReady(at.cluster, pool, 1);
    assert.deepEqual(after.status?.sizeLog, before.status?.sizeLog);
    // Within one second of the server's clock nothing would be held before the size that stays on record.
    const claimedAt = Date.parse((await onlyClaim(at.cluster, pool)).status?.claimedAt?.time ?? "");
    await eventually(() => Promise.resolve(Date.now() >= claimedAt + 1000), { what: "the claim's second is over" });
    await resizePool(at.cluster, pool, 0);
    await untilReady(at.cluster, pool, 0);
    await operator.stop();
    await at.cluster.admin.patch(poolPath(at.namespace, pool.name, "status"), { status: null });
    const second = await at.start();
    const alarm = await eventually(() => alarmAbout(second, `${at.namespace}/${pool.name}`));
    assert.match(alarm.message, /held before the first desired size on record/);
    const { status } = await readPool(at.cluster, pool);
    assert.deepEqual(
      status?.sizeLog?.map(({ size }) => size),
      [0],
      "what was wanted before is not guessed",
    );
  });

  test("a claim that ended and was removed by force comes back from its node, unless it is sealed", async (t) => {
    if (!(await requires(t, "server-restart", "kwok"))) return;
    const at = await stageOn(t, "static");
    let sealed = 0;
    const first = await at.start({ sealedThroughMs: () => sealed });
    const pool = await createPool(at.cluster, at.namespace, "erased", at.bed.template, 1);
    await untilReady(at.cluster, pool, 1);
    await resizePool(at.cluster, pool, 0);
    const claim = await ended(at.cluster, pool);
    await removeByForce(at.cluster, claimPath(claim.metadata.name));
    await eventually(async () => (await onlyClaim(at.cluster, pool)).metadata.uid !== claim.metadata.uid);
    await untilTimes(at.cluster, pool, timesOf(claim));
    await first.stop();
    await removeByForce(at.cluster, claimPath(claim.metadata.name));
    sealed = Date.parse(claim.status?.releasedAt?.time ?? "");
    await at.start({ sealedThroughMs: () => sealed });
    await resizePool(at.cluster, pool, 1);
    await untilReady(at.cluster, pool, 1);
    const next = await onlyClaim(at.cluster, pool);
    assert.notEqual(next.metadata.name, claim.metadata.name);
  });

  test("a node that vanished while Berth was away ends at its last proof of life", async (t) => {
    if (!(await requires(t, "server-restart", "kwok"))) return;
    const at = await stageOn(t, "static");
    const first = await at.start();
    const pool = await createPool(at.cluster, at.namespace, "away", at.bed.template, 1);
    await untilReady(at.cluster, pool, 1);
    const [node] = await nodesOfPool(at.cluster, pool.uid);
    const claim = await onlyClaim(at.cluster, pool);
    const seenAt = claim.status?.claimedAt?.time ?? "";
    await at.cluster.admin.patch(claimPath(claim.metadata.name, "status"), { status: { lastSeenAt: seenAt } });
    await first.stop();
    const before = Date.now();
    await removeNode(at.cluster, node?.metadata.name ?? "");
    await at.start();
    const over = (await ended(at.cluster, pool)).status?.releasedAt;
    assert.equal(over?.estimated, true);
    assert.ok(Date.parse(over.time) >= Date.parse(seenAt) && Date.parse(over.time) <= before + 1_000);
  });

  test("a namespace that is removed is closed like any deletion", async (t) => {
    if (!(await requires(t, "server-restart", "kwok"))) return;
    const at = await stageOn(t, "static");
    await at.start();
    const pool = await createPool(at.cluster, at.namespace, "nuked", at.bed.template, 1);
    await untilReady(at.cluster, pool, 1);
    const claim = await onlyClaim(at.cluster, pool);
    const { admin } = at.cluster;
    await admin.remove(`/api/v1/namespaces/${at.namespace}`);
    await eventually(() => poolIsGone(at.cluster, pool), { deadlineMs: 60_000 });
    const closing = await eventually(() => closingFor(at.ledger, pool.deploymentUID));
    assert.equal(closing.claims[0]?.claimedAt, claim.status?.claimedAt?.time);
    assert.ok(closing.endedAt && closing.claims[0]?.releasedAt && closing.claims[0].releasedAt >= closing.endedAt);
    assert.deepEqual(await at.bed.leftovers(pool.uid), []);
  });
});
