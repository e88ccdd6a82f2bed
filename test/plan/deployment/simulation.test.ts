// The plan among played controllers, in random order: it always arrives, and never takes a node from under a pod.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { modelDeploymentReasons, gpuNodePoolReasons } from "../../../operator/api/reasons.ts";
import { planDeployment } from "../../../operator/plan/deployment/plan.ts";
import { NOON, deploymentOf, observed } from "./observed.ts";
import { effective } from "./read.ts";
import { World } from "./world.ts";
import { runs } from "../../propertyruns.ts";

const documented = new Set([...Object.keys(modelDeploymentReasons), ...Object.keys(gpuNodePoolReasons)]);
const actors = ["plan", "pool", "workload", "kubelet"] as const;
const MOST_ROUNDS = 400;

function created(replicas = 1): World {
  return new World(observed({ deployment: deploymentOf({ replicas }, { finalizers: [] }) }));
}

/** Lets everybody act in the order that `pick` says until nobody has anything to do; waits out what the plan waits for. */
function settle(world: World, pick: (choices: number) => number): void {
  for (let round = 0; round < MOST_ROUNDS; round++) {
    const first = pick(actors.length);
    const order = actors.map((_, index) => actors[(first + index) % actors.length] ?? "plan");
    if (order.some((actor) => world[actor]())) continue;
    const { requeueAfterMs } = world.gone ? {} : planDeployment(world.seen);
    if (requeueAfterMs === undefined) return;
    world.wait(requeueAfterMs);
  }
  assert.fail(`not settled after ${MOST_ROUNDS} rounds:\n${world.log.join("\n")}`);
}

const inOrder = (): number => 0;

describe("played to the end, in order", () => {
  test("create, scale, change, suspend, resume, delete", () => {
    const world = created();
    settle(world, inOrder);
    world.user(() => ({ replicas: 3 }), "replicas 3");
    settle(world, inOrder);
    world.user(() => ({ replicas: 2 }), "replicas 2");
    settle(world, inOrder);
    world.user(() => ({ contextLength: 4096 }), "contextLength 4096");
    settle(world, inOrder);
    world.user(() => ({ suspend: true }), "suspend");
    settle(world, inOrder);
    world.user(() => ({ suspend: false }), "resume");
    settle(world, inOrder);
    world.delete();
    settle(world, inOrder);
    assert.deepEqual(world.log, GOLDEN);
  });
});

type Act = (world: World) => void;

const act: fc.Arbitrary<Act> = fc.oneof(
  fc.integer({ min: 1, max: 6 }).map(
    (replicas): Act =>
      (world) =>
        world.user(() => ({ replicas }), `replicas ${replicas}`),
  ),
  fc.boolean().map(
    (suspend): Act =>
      (world) =>
        world.user(() => ({ suspend }), `suspend ${suspend}`),
  ),
  fc.constantFrom(undefined, 1024, 4096, 9000).map(
    (contextLength): Act =>
      (world) =>
        world.user(() => ({ contextLength }), `contextLength ${contextLength}`),
  ),
  fc.constantFrom("x", "y").map(
    (tag): Act =>
      (world) =>
        world.user(() => ({ billing: { tags: { tag } } }), `tag ${tag}`),
  ),
  fc.integer({ min: 1, max: 400_000 }).map(
    (ms): Act =>
      (world) =>
        world.wait(ms),
  ),
  fc.constantFrom(...actors).map(
    (actor): Act =>
      (world) =>
        void world[actor](),
  ),
);

describe("played in random order", () => {
  const history = fc.record({
    replicas: fc.integer({ min: 1, max: 4 }),
    acts: fc.array(act, { maxLength: 60 }),
    picks: fc.infiniteStream(fc.nat({ max: 3 })),
  });

  function play({ replicas, acts, picks }: { replicas: number; acts: Act[]; picks: Iterator<number> }): World {
    const world = created(replicas);
    for (const one of acts) {
      one(world);
      const reasons = (planDeployment(world.seen).status?.conditions ?? []).map(({ reason }) => reason);
      assert.deepEqual(
        reasons.filter((reason) => !documented.has(reason)),
        [],
      );
    }
    settle(world, (choices) => (picks.next().value ?? 0) % choices);
    return world;
  }

  test("arrives where the spec says, and then writes nothing", () => {
    fc.assert(
      fc.property(history, (given) => {
        const world = play(given);
        const { spec, status } = world.seen.deployment;
        const wanted = spec.suspend ? 0 : spec.replicas;
        const isBlocked = spec.contextLength === 9000;
        // What is blocked keeps what it has, which may be less than is wanted.
        if (!isBlocked) assert.deepEqual([world.seen.pool?.spec.size ?? 0, world.seen.pods.length], [wanted, wanted]);
        const phase = spec.suspend ? "Suspended" : isBlocked ? "Error" : "Ready";
        assert.equal(status?.phase, phase, world.log.join("\n"));
        const plan = planDeployment(world.seen);
        assert.deepEqual(effective(plan, world.seen), []);
        assert.deepEqual(plan.status, status);
        assert.deepEqual(plan.events, []);
        assert.ok(world.seen.revisions.length <= 3);
        assert.ok(world.seen.now >= NOON);
      }),
      { numRuns: runs(150) },
    );
  });

  test("a deletion at any moment leaves nothing", () => {
    fc.assert(
      fc.property(history, ({ replicas, acts, picks }) => {
        const world = created(replicas);
        for (const one of acts) one(world);
        world.plan();
        world.delete();
        settle(world, (choices) => (picks.next().value ?? 0) % choices);
        assert.ok(world.gone, world.log.join("\n"));
        assert.equal(world.seen.pool, undefined);
        assert.deepEqual(world.seen.pods, []);
      }),
      { numRuns: runs(100) },
    );
  });
});

/** What a reviewer should find sensible, line by line. */
const GOLDEN: string[] = [
  "patch ModelDeployment team/chat, apply GPUNodePool team/chat - Creating",
  "phase Creating",
  "pool: 1 nodes",
  "create ControllerRevision team/berth-11111111-1111-4111-8111-111111111111-1, apply Deployment team/chat-11111111 - Deploying",
  "phase Deploying",
  "workload: makes pod-0",
  "phase Ready",
  "user: replicas 3",
  "apply GPUNodePool team/chat, apply Deployment team/chat-11111111 - Scaling",
  "phase Scaling",
  "pool: 2 nodes",
  "pool: 3 nodes",
  "workload: makes pod-1",
  "workload: makes pod-2",
  "phase Ready",
  "user: replicas 2",
  "phase Scaling",
  "apply Deployment team/chat-11111111 - Draining",
  "workload: ends pod-0",
  "apply GPUNodePool team/chat - Ready",
  "phase Ready",
  "pool: 2 nodes",
  "user: contextLength 4096",
  "create ControllerRevision team/berth-11111111-1111-4111-8111-111111111111-2, apply Deployment team/chat-11111111 - Updating",
  "phase Updating",
  "workload: ends pod-1",
  "workload: makes pod-3",
  "workload: ends pod-2",
  "phase Scaling",
  "workload: makes pod-4",
  "phase Ready",
  "user: suspend",
  "apply Deployment team/chat-11111111 - Draining",
  "phase Scaling",
  "workload: ends pod-3",
  "workload: ends pod-4",
  "apply GPUNodePool team/chat - Scaling",
  "pool: 1 nodes",
  "pool: 0 nodes",
  "phase Suspended",
  "user: resume",
  "apply GPUNodePool team/chat, apply Deployment team/chat-11111111 - Creating",
  "phase Creating",
  "pool: 1 nodes",
  "pool: 2 nodes",
  "phase Deploying",
  "workload: makes pod-5",
  "workload: makes pod-6",
  "phase Scaling",
  "phase Ready",
  "user: delete",
  "delete Deployment team/chat-11111111 - 2 pods finish their requests",
  "phase Deleting",
  "workload: ends pod-5",
  "workload: ends pod-6",
  "delete GPUNodePool team/chat - the node pool is being released: because",
  "pool: released",
  "patch ModelDeployment team/chat - everything is gone",
];
