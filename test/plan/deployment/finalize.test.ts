// The end of a deployment: pods, then nodes, then the object; each step only after the former is seen done.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { finalizers } from "../../../operator/api/keys.ts";
import { planDeployment } from "../../../operator/plan/deployment/plan.ts";
import type { Seen } from "../../../operator/plan/deployment/seen.ts";
import { deploymentOf, leaving, observed, podOf, poolOf, serving } from "./observed.ts";
import { conditionOf, described, messageOf, writes } from "./read.ts";

const DELETED = "2026-03-10T11:59:00Z";

function deleted(seen: Seen): Seen {
  const { deployment } = seen;
  return { ...seen, deployment: { ...deployment, metadata: { ...deployment.metadata, deletionTimestamp: DELETED } } };
}

describe("a deleted deployment", () => {
  test("first takes its workload away", () => {
    const plan = planDeployment(deleted(serving()));
    assert.deepEqual(described(plan), ["delete Deployment team/chat-11111111"]);
    assert.equal(plan.status?.phase, "Deleting");
    assert.equal(conditionOf(plan, "Ready"), "False Deleting");
    assert.equal(plan.status?.readyReplicas, 2);
    assert.deepEqual(
      plan.events.map(({ reason }) => reason),
      ["Deleting"],
    );
  });

  test("waits for its pods and counts them", () => {
    const pods = [podOf("pod-0", { metadata: leaving("pod-0", 10_000) })];
    const plan = planDeployment({ ...deleted(serving()), workload: undefined, pods });
    assert.deepEqual(described(plan), []);
    assert.match(messageOf(plan), /1 pods finish their requests/);
    assert.equal(plan.requeueAfterMs, 590_000);
    assert.equal(plan.status?.replicas, 1);
    assert.equal(plan.status?.readyReplicas, 0);
  });

  test("ends pods that outlast the grace", () => {
    const pods = [podOf("pod-0", { metadata: leaving("pod-0", 600_000) })];
    const plan = planDeployment({ ...deleted(serving()), workload: undefined, pods });
    assert.deepEqual(described(plan), ["delete Pod team/pod-0"]);
  });

  test("then gives its nodes back, each object by its UID", () => {
    const plan = planDeployment({ ...deleted(serving()), workload: undefined, pods: [] });
    assert.deepEqual(described(plan), ["delete GPUNodePool team/chat"]);
    assert.ok(writes(plan).every((write) => write.op === "delete" && write.uid !== undefined));
  });

  test("waits for the pool in the pool's words", () => {
    const seen = deleted(serving());
    const pool = poolOf(seen.deployment, 2, {}, { deletionTimestamp: DELETED });
    const plan = planDeployment({ ...seen, pool, workload: undefined, pods: [] });
    assert.deepEqual(described(plan), []);
    assert.match(messageOf(plan), /the node pool is being released: because/);
  });

  test("lets go only when everything is gone, and only of what it saw", () => {
    const plan = planDeployment({ ...deleted(serving()), pool: undefined, workload: undefined, pods: [] });
    const [patch] = writes(plan);
    assert.ok(patch?.op === "patch");
    assert.deepEqual(patch.body, {
      metadata: { uid: deploymentOf().metadata.uid, resourceVersion: "100", finalizers: [] },
    });
    assert.equal(plan.status, undefined);
    assert.deepEqual(
      plan.events.map(({ reason }) => reason),
      ["Released"],
    );
  });

  test("keeps the finalizers of others", () => {
    const deployment = deploymentOf(
      {},
      { deletionTimestamp: DELETED, finalizers: ["x.example/y", finalizers.deployment] },
    );
    const [patch] = writes(planDeployment(observed({ deployment })));
    assert.ok(patch?.op === "patch");
    assert.deepEqual((patch.body as { metadata: { finalizers: string[] } }).metadata.finalizers, ["x.example/y"]);
  });

  test("without our finalizer is not ours any more", () => {
    const deployment = deploymentOf({}, { deletionTimestamp: DELETED, finalizers: ["x.example/y"] });
    const plan = planDeployment(observed({ deployment }));
    assert.deepEqual(described(plan), []);
    assert.equal(plan.status, undefined);
  });

  test("does not touch the pool of a namesake", () => {
    const foreign = poolOf(deploymentOf({}, { uid: "99999999-9999-4999-8999-999999999999" }), 1);
    const plan = planDeployment({ ...deleted(serving()), pool: foreign, workload: undefined, pods: [] });
    assert.deepEqual(described(plan), ["patch ModelDeployment team/chat"]);
  });
});

test("the finalizer comes before anything that costs money", () => {
  const plan = planDeployment(observed({ deployment: deploymentOf({}, { finalizers: [] }) }));
  assert.deepEqual(described(plan), ["patch ModelDeployment team/chat", "apply GPUNodePool team/chat"]);
  assert.equal(plan.steps.length, 2);
});
