// How many nodes and pods: growth at once, shrinking behind the pods, suspend and resume, what others did by hand.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { GPUNodePoolStatus } from "../../../operator/api/gpunodepool.ts";
import type { Seen } from "../../../operator/plan/deployment/seen.ts";
import { planDeployment } from "../../../operator/plan/deployment/plan.ts";
import { desiredWorkload } from "../../../operator/plan/deployment/children.ts";
import { currentRevision } from "../../../operator/plan/deployment/revisions.ts";
import { revisionLabelOf } from "../../../operator/plan/deployment/rollout.ts";
import { NOON, changed, deploymentOf, leaving, observed, podOf, poolOf, serving } from "./observed.ts";
import { conditionOf, described, effective, messageOf, writtenSize, writtenWorkload } from "./read.ts";

function withPool(seen: Seen, size: number, status: Partial<GPUNodePoolStatus> = {}): Seen {
  return { ...seen, pool: poolOf(seen.deployment, size, status) };
}

/** The workload was lowered to `replicas` and the named pods were asked to end `agoMs` ago. */
function drained(seen: Seen, replicas: number, agoMs: number, graceSeconds = 150): Seen {
  const revision = currentRevision(seen);
  assert.ok(revision);
  const label = revisionLabelOf(revision);
  const pods = seen.pods.map((pod, index) =>
    index < replicas
      ? pod
      : podOf(pod.metadata.name, {
          revision: label,
          metadata: { ...pod.metadata, ...leaving(pod.metadata.name, agoMs, graceSeconds) },
        }),
  );
  return { ...seen, workload: desiredWorkload(seen.deployment, revision, replicas), pods };
}

describe("growth", () => {
  test("is ordered at once, pods with it", () => {
    const plan = planDeployment(changed(serving(), { replicas: 5 }));
    assert.equal(writtenSize(plan), 5);
    assert.equal(writtenWorkload(plan)?.spec?.replicas, 5);
    assert.equal(plan.status?.phase, "Scaling");
    assert.equal(conditionOf(plan, "Ready"), "False Provisioning");
  });

  test("waits until the log holds the former size: what was acted on must not be lost", () => {
    const seen = changed(withPool(serving(), 2, { sizeLog: [] }), { replicas: 5 });
    const plan = planDeployment(seen);
    assert.equal(writtenSize(plan), undefined);
    assert.equal(
      writtenWorkload(plan)?.spec?.replicas,
      2,
      "and no pod is made for nodes that nobody has asked for yet",
    );
  });

  test("repeats the provider's own words while nodes are missing", () => {
    const words = {
      type: "Ready",
      status: "False",
      reason: "OutOfStock",
      message: "no p5.48xlarge in zone-a",
    } as const;
    const conditions = [{ ...words, lastTransitionTime: "2026-03-10T12:00:00Z", observedGeneration: 1 }];
    const seen = withPool(changed(serving(), { replicas: 3 }), 3, { ready: 2, claimed: 2, conditions });
    const plan = planDeployment(seen);
    assert.equal(conditionOf(plan, "CapacityReady"), "False OutOfStock");
    assert.equal(messageOf(plan), "no p5.48xlarge in zone-a");
  });
});

describe("shrinking", () => {
  const fewer = (seen: Seen, agoMs: number): Seen => ({
    ...changed(seen, { replicas: 1 }),
    replicasSetAt: NOON - agoMs,
  });

  test("waits out the stabilization time and goes on being Ready", () => {
    const plan = planDeployment(fewer(serving(), 100_000));
    assert.deepEqual(effective(plan, fewer(serving(), 100_000)), []);
    assert.equal(plan.requeueAfterMs, 200_000);
    assert.equal(conditionOf(plan, "Ready"), "True Serving");
    assert.equal(plan.status?.phase, "Scaling");
    assert.match(messageOf(plan), /1 of 2 nodes are given back after the stabilization time of 300 s/);
    assert.equal(plan.because, "ShrinkStabilizing");
  });

  test("lowers the workload first", () => {
    const plan = planDeployment(fewer(serving(), 300_000));
    assert.equal(writtenWorkload(plan)?.spec?.replicas, 1);
    assert.equal(writtenSize(plan), undefined);
    assert.equal(plan.because, "Draining");
  });

  test("keeps the nodes while a pod finishes, and looks again when its grace is over", () => {
    const plan = planDeployment(drained(fewer(serving(), 400_000), 1, 100_000));
    assert.equal(writtenSize(plan), undefined);
    assert.equal(plan.requeueAfterMs, 500_000);
    assert.equal(conditionOf(plan, "Ready"), "True Serving");
    assert.equal(plan.status?.replicas, 2);
  });

  test("ends a pod that outlasts the grace, without grace", () => {
    const plan = planDeployment(drained(fewer(serving(), 900_000), 1, 600_000));
    assert.ok(described(plan).includes("delete Pod team/pod-1"));
    assert.ok(plan.steps.flat().some((write) => write.op === "delete" && write.gracePeriodSeconds === 0));
    assert.equal(writtenSize(plan), undefined);
  });

  test("does not wait for a record that only a foreign finalizer keeps", () => {
    const plan = planDeployment(drained(fewer(serving(), 900_000), 1, 5_000, 0));
    assert.equal(writtenSize(plan), 1);
  });

  test("gives the nodes back when the pods are gone", () => {
    const seen = fewer(serving(), 900_000);
    const plan = planDeployment({ ...drained(seen, 1, 0), pods: seen.pods.slice(0, 1) });
    assert.equal(writtenSize(plan), 1);
  });
});

describe("suspend", () => {
  test("drains at once, without stabilization", () => {
    const plan = planDeployment({ ...changed(serving(), { suspend: true }), replicasSetAt: NOON - 1000 });
    assert.equal(writtenWorkload(plan)?.spec?.replicas, 0);
    assert.equal(writtenSize(plan), undefined);
    assert.equal(conditionOf(plan, "Ready"), "False Draining");
    assert.equal(plan.status?.phase, "Scaling");
  });

  test("gives all nodes back when the pods are gone, and keeps the pool", () => {
    const plan = planDeployment({ ...changed(serving(), { suspend: true }), pods: [] });
    assert.equal(writtenSize(plan), 0);
  });

  test("is done when no node is held", () => {
    const seen = { ...withPool(changed(serving(), { suspend: true }), 0), pods: [] };
    const plan = planDeployment(seen);
    assert.equal(plan.status?.phase, "Suspended");
    assert.equal(conditionOf(plan, "Ready"), "False Suspended");
    assert.equal(conditionOf(plan, "Reconciling"), undefined);
    assert.equal(conditionOf(plan, "Stalled"), undefined);
  });

  test("says that nodes are still being released", () => {
    const plan = planDeployment({ ...withPool(changed(serving(), { suspend: true }), 0, { claimed: 2 }), pods: [] });
    assert.equal(conditionOf(plan, "CapacityReady"), "False Draining");
    assert.match(messageOf(plan, "CapacityReady"), /2 nodes are being released/);
  });

  test("from the start buys nothing", () => {
    const plan = planDeployment(observed({ deployment: deploymentOf({ suspend: true }) }));
    assert.deepEqual(described(plan), []);
    assert.equal(plan.status?.phase, "Suspended");
  });

  test("ended, brings the nodes and the pinned template back", () => {
    const before = serving();
    const seen = { ...withPool(before, 0), pods: [] };
    const plan = planDeployment(seen);
    assert.equal(writtenSize(plan), 2);
    assert.deepEqual(writtenWorkload(plan)?.spec?.template, currentRevision(before)?.pinned.podTemplate);
  });
});

describe("done by others", () => {
  const deleted = { deletionTimestamp: "2026-03-10T11:59:00Z" };

  test("a pool deleted by hand: its pods drain, then a new one is made", () => {
    const seen = serving();
    const plan = planDeployment({ ...seen, pool: poolOf(seen.deployment, 2, {}, deleted) });
    assert.equal(writtenWorkload(plan)?.spec?.replicas, 0);
    assert.equal(writtenSize(plan), undefined);
    assert.equal(conditionOf(plan, "Ready"), "False PoolBeingDeleted");
    const after = planDeployment({ ...seen, pool: undefined, pods: [] });
    assert.equal(writtenSize(after), 2);
  });

  test("a terminating namespace takes no new object", () => {
    const namespace = { metadata: { name: "team", uid: "n", ...deleted } };
    assert.deepEqual(described(planDeployment(observed({ namespace }))), []);
    const bare = deploymentOf({}, { finalizers: [] });
    assert.deepEqual(described(planDeployment(observed({ deployment: bare, namespace }))), []);
    assert.deepEqual(described(planDeployment(changed(serving({}, { namespace }), { replicas: 9 }))), []);
  });

  test("a node that died in a rollout does not keep its pod for ever", () => {
    const plan = planDeployment(drained(serving(), 1, 700_000));
    assert.ok(described(plan).includes("delete Pod team/pod-1"));
  });
});
