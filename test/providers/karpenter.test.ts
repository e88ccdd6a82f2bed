// How Karpenter's conditions and events are read.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { obstacleOf } from "../../operator/adapters/providers/karpenter/obstacles.ts";
import { unitOfNodeClaim } from "../../operator/adapters/providers/karpenter/units.ts";
import { nodePoolOf } from "../../operator/api/karpenter.ts";
import type { CoreEvent, NodeClaim, NodePool } from "../../operator/api/karpenter.ts";

const POOL = "0f9c2d5e-1111-2222-3333-444455556666";
const time = (second: number): string => `2026-11-23T12:00:${String(second).padStart(2, "0")}Z`;
const condition = (type: string, status: string, reason: string, message = "", second = 1) => ({
  type,
  status,
  reason,
  message,
  lastTransitionTime: time(second),
});

function nodePool(...conditions: ReturnType<typeof condition>[]): NodePool {
  return { metadata: { name: `berth-${POOL}` }, status: { conditions } };
}

function nodeClaim(rest: Partial<NodeClaim["metadata"]>, ...conditions: ReturnType<typeof condition>[]): NodeClaim {
  const name = `berth-${POOL}-abcde`;
  const finalizers = ["karpenter.sh/termination", "berth.dev/claim"];
  return { metadata: { name, uid: "uid-1", finalizers, ...rest }, status: { conditions } };
}

function event(reason: string, message: string, second: number): CoreEvent {
  return { metadata: { name: "e" }, reason, message, lastTimestamp: time(second) };
}

const since = Date.parse(time(10));

describe("what stands in the way", () => {
  const ready = nodePool(condition("Ready", "True", "Ready"));
  const shortage = "NodeClaim berth-x-1 event: insufficient capacity, all requested instance types were unavailable";

  test("the cause of a NodePool that is not ready, not the summary", () => {
    const sick = nodePool(
      condition("Ready", "False", "UnhealthyDependents", "NodeClassReady=False"),
      condition("NodeClassReady", "False", "NodeClassNotFound", "NodeClass not found on cluster"),
    );
    assert.deepEqual(obstacleOf(sick, [], [], since), {
      reason: "ProviderError",
      message: "NodeClass not found on cluster",
    });
  });

  test("a NodeClaim that does not launch", () => {
    const failing = nodeClaim(
      {},
      condition("Launched", "Unknown", "LaunchFailed", "creating instance, quota exceeded"),
    );
    assert.deepEqual(obstacleOf(ready, [failing], [], since), {
      reason: "ProviderError",
      message: "creating instance, quota exceeded",
    });
    const waiting = nodeClaim(
      {},
      condition("Launched", "Unknown", "AwaitingReconciliation", "object is awaiting reconciliation"),
    );
    assert.equal(obstacleOf(ready, [waiting], [], since), undefined);
  });

  test("the last event about a NodeClaim that is gone already, without the NodeClaim's changing name", () => {
    const events = [event("InsufficientCapacityError", shortage, 20), event("InsufficientCapacityError", shortage, 30)];
    assert.deepEqual(obstacleOf(ready, [], events, since), {
      reason: "OutOfStock",
      message: "insufficient capacity, all requested instance types were unavailable",
    });
  });

  test("no event from before the present wish, and none that tells of something else", () => {
    assert.equal(obstacleOf(ready, [], [event("InsufficientCapacityError", shortage, 9)], since), undefined);
    assert.equal(obstacleOf(ready, [], [event("Launched", "Status condition transitioned", 20)], since), undefined);
  });
});

describe("the life of a NodeClaim", () => {
  const query = { poolUID: POOL, size: 1, now: since, nodeLostMs: 600_000 };
  const launched = condition("Launched", "True", "Launched", "", 20);
  const unit = (of: NodeClaim) => unitOfNodeClaim(of, undefined, query, undefined);

  test("is only ordered before it launched, and wants our finalizer at once", () => {
    const { state, damaged, claimedAt } = unit(nodeClaim({ finalizers: ["karpenter.sh/termination"] }));
    assert.deepEqual([state, damaged, claimedAt], ["intended", true, undefined]);
  });

  test("begins with Launched and ends with InstanceTerminating", () => {
    assert.equal(unit(nodeClaim({}, launched)).claimedAt?.time, time(20));
    const leaving = unit(nodeClaim({ deletionTimestamp: time(30) }, launched));
    assert.deepEqual([leaving.state, leaving.releasedAt], ["leaving", undefined]);
    const terminating = condition("InstanceTerminating", "True", "InstanceTerminating", "", 40);
    const ending = unit(nodeClaim({ deletionTimestamp: time(30) }, launched, terminating));
    assert.deepEqual([ending.state, ending.releasedAt?.time, ending.residue], ["leaving", time(40), false]);
    const ended = unit(
      nodeClaim({ deletionTimestamp: time(30), finalizers: ["berth.dev/claim"] }, launched, terminating),
    );
    assert.deepEqual([ended.state, ended.releasedAt?.time, ended.residue], ["ended", time(40), true]);
  });

  test("ends with its deletion where nobody terminated an instance", () => {
    const forced = unit(nodeClaim({ deletionTimestamp: time(30), finalizers: ["berth.dev/claim"] }, launched));
    assert.equal(forced.releasedAt?.time, time(30));
    const never = unit(nodeClaim({ deletionTimestamp: time(30), finalizers: ["berth.dev/claim"] }));
    assert.deepEqual([never.state, never.claimedAt, never.releasedAt], ["ended", undefined, undefined]);
  });
});

test("a pool's UID is read from names of ours only", () => {
  assert.equal(nodePoolOf(`berth-${POOL}`), POOL);
  assert.equal(nodePoolOf(`berth-${POOL}-x7k2p`), POOL);
  assert.equal(nodePoolOf("berth-default-x7k2p"), undefined);
  assert.equal(nodePoolOf(`other-${POOL}`), undefined);
});
