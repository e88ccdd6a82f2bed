import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import type { KubeObject } from "../../../operator/ports.ts";
import { planPool } from "../../../operator/plan/pool/plan.ts";
import { podsOn } from "../../../operator/plan/pool/snapshot.ts";
import { chooseVictims } from "../../../operator/plan/pool/units.ts";
import { at, claimOf, NOW, offer, podOn, POOL_UID, poolOf, readyReason, snapshot, steps, unit } from "./facts.ts";

const cached = poolOf({
  deploymentRef: { ...poolOf().spec.deploymentRef, namespaceUID: "uid-team" },
  template: { ...poolOf().spec.template, cache: { storageClassName: "local", size: "1Gi" } },
});

describe("a living pool", () => {
  test("records a node before it takes it, and leaves the status to the pass that sees it", () => {
    const plan = planPool(snapshot({ offers: [offer("a")] }));
    assert.deepEqual(steps(plan), [["create CapacityClaim uid-a-1"], ["patch Node a"]]);
    assert.equal(plan.status, undefined);
    assert.equal(plan.again, true);
  });

  test("takes a node whose claim an earlier pass recorded without recording it again", () => {
    const intended = unit("a", { state: "intended", claimedAt: undefined, readyAt: undefined, ready: false });
    const plan = planPool(snapshot({ units: [intended], offers: [offer("a", { recorded: true })] }));
    assert.deepEqual(steps(plan), [["patch Node a"]]);
  });

  test("notes whose models will lie in the cache of a node that it takes, and leaves a note that is there", () => {
    const noted = (annotations: Record<string, string>): unknown => {
      const object: KubeObject = { metadata: { name: "a", uid: "uid-a", resourceVersion: "1", annotations } };
      const [, taken] = planPool(snapshot({ pool: cached, offers: [offer("a", { object })] })).steps.flat();
      assert.ok(taken?.op === "patch");
      return (taken.body as KubeObject).metadata.annotations?.["berth.dev/cache-owner"];
    };
    const owner = { namespace: "team", namespaceUID: "uid-team", claimName: "berth-cache-l4" };
    assert.equal(noted({}), JSON.stringify(owner));
    assert.equal(noted({ "berth.dev/cache-owner": JSON.stringify({ ...owner, claimUID: "uid-claim" }) }), undefined);
  });

  test("dates a claim and reports ready in one pass", () => {
    const held = unit("a", { readyAt: unit("a").claimedAt });
    const plan = planPool(snapshot({ units: [held], claims: [claimOf(held, {})] }));
    assert.deepEqual(steps(plan), [["patch CapacityClaim uid-a-1"]]);
    assert.equal(readyReason(plan), "True NodesReady: 1 of 1 nodes ready");
    assert.deepEqual(plan.status?.sizeLog, [{ since: at(200), size: 1, account: "team", tags: {} }]);
    assert.deepEqual(
      plan.events.map(({ reason }) => reason),
      ["NodesReady"],
    );
  });

  test("does nothing more when all is as it should be", () => {
    const first = planPool(snapshot({ units: [unit("a")] }));
    const again = planPool(snapshot({ units: [unit("a")], pool: poolOf({}, {}, first.status) }));
    assert.deepEqual(again.steps, []);
    assert.deepEqual(again.status, first.status);
    assert.deepEqual(again.events, []);
  });

  test("removes a claim that never began and is not wanted any more", () => {
    const intended = unit("b", { state: "intended", claimedAt: undefined, ready: false });
    const plan = planPool(
      snapshot({ units: [unit("a"), intended], claims: [claimOf(unit("a")), claimOf(intended, {})] }),
    );
    assert.deepEqual(steps(plan), [["patch CapacityClaim uid-b-1"], ["delete CapacityClaim uid-b-1"]]);
  });

  test("makes the record of a node that it holds without one", () => {
    const plan = planPool(snapshot({ units: [unit("a")], claims: [] }));
    assert.deepEqual(steps(plan), [["create CapacityClaim uid-a-1"]]);
  });

  test("restores a mark that was taken off, under another manager than the claim's", () => {
    const plan = planPool(snapshot({ units: [unit("a", { damaged: true })] }));
    const [write] = plan.steps.flat();
    assert.ok(write?.op === "patch");
    assert.equal(write.manager, "berth");
  });

  test("shrinks by the node that serves nothing, at once", () => {
    const plan = planPool(snapshot({ units: [unit("a"), unit("b")], pods: [podOn("b")] }));
    assert.deepEqual(steps(plan), [["patch Node a"]]);
  });

  test("waits for pods on the nodes to give back, then kills them", () => {
    const units = [unit("a"), unit("b")];
    const pods = [podOn("a"), podOn("b")];
    const waiting = planPool(snapshot({ units, pods }));
    assert.deepEqual(waiting.steps, []);
    assert.equal(waiting.requeueAfterMs, 400_000);
    const over = planPool(snapshot({ units, pods, sizeSince: at(600) }));
    assert.deepEqual(steps(over), [["delete Pod team/pod-b"], ["patch Node b"]]);
  });

  test("ends the claim of a lost node at its last sign of life before it lets go of it", () => {
    const lost = unit("a", {
      ready: false,
      unreadySince: NOW - 600_000,
      proofOfLife: { time: at(50), evidence: "Lease/a", estimated: true },
    });
    const plan = planPool(snapshot({ units: [lost], pods: [podOn("a")], offers: [offer("b")] }));
    assert.deepEqual(steps(plan), [
      ["delete Pod team/pod-a"],
      ["patch CapacityClaim uid-a-1"],
      ["patch CapacityClaim uid-a-1"],
      ["patch Node a"],
      ["create CapacityClaim uid-b-1"],
      ["patch Node b"],
    ]);
    const dated = plan.steps[2]?.[0];
    assert.ok(dated?.op === "patch" && dated.subresource === "status");
    assert.deepEqual(dated.body, { status: { releasedAt: { time: at(50), evidence: "Lease/a", estimated: true } } });
  });

  test("looks again when a node that is not ready will be lost", () => {
    const plan = planPool(
      snapshot({ units: [unit("a", { ready: false, unreadySince: NOW - 200_000, problem: "no CNI" })] }),
    );
    assert.equal(plan.requeueAfterMs, 400_000);
    assert.equal(readyReason(plan), "False NodeNotReady: 0 of 1 nodes ready: node a: no CNI");
  });

  test("says the obstacle in the provider's words", () => {
    const obstacle = { reason: "OutOfStock", message: "no free node: 2 nodes match" } as const;
    const plan = planPool(snapshot({ obstacle }));
    assert.equal(readyReason(plan), "False OutOfStock: 0 of 1 nodes ready: no free node: 2 nodes match");
  });
});

describe("a pool of Karpenter's", () => {
  const karpenter = {
    nodeClassRef: { group: "karpenter.kwok.sh", kind: "KWOKNodeClass", name: "default" },
    requirements: [{ key: "node.kubernetes.io/instance-type", operator: "In" as const, values: ["gpu"] }],
  };
  const pool = poolOf({ size: 2, template: { ...poolOf().spec.template, provider: { karpenter } } });
  const order = {
    object: { metadata: { name: `berth-${POOL_UID}`, resourceVersion: "3", uid: "np" } },
    replicas: 2,
    leaving: false,
    actionableSince: NOW - 61_000,
  };

  test("orders once, with everything pinned", () => {
    const plan = planPool(snapshot({ provider: "karpenter", pool }));
    assert.deepEqual(steps(plan), [[`create NodePool berth-${POOL_UID}`]]);
    const [write] = plan.steps.flat();
    assert.ok(write?.op === "create");
    const { spec } = write.object as { spec?: Record<string, unknown> };
    assert.deepEqual(spec?.["disruption"], {
      consolidateAfter: "Never",
      consolidationPolicy: "WhenEmpty",
      budgets: [{ nodes: "0" }],
    });
    assert.equal(spec?.["limits"], undefined);
    assert.equal(spec?.["replicas"], 2);
  });

  test("changes nothing of the order but replicas", () => {
    const plan = planPool(snapshot({ provider: "karpenter", pool, facts: { order: { ...order, replicas: 1 } } }));
    const [write] = plan.steps.flat();
    assert.ok(write?.op === "patch");
    assert.deepEqual(write.body, { metadata: { resourceVersion: "3" }, spec: { replicas: 2 } });
  });

  test("lowers replicas only by nodes that serve nothing", () => {
    const units = ["a", "b", "c"].map((name) => unit(name));
    const small = { ...pool, spec: { ...pool.spec, size: 1 } };
    const facts = { order: { ...order, replicas: 3 } };
    const replicas = (pods: readonly string[]): unknown => {
      const seen = snapshot({
        provider: "karpenter",
        pool: small,
        units,
        facts,
        pods: pods.map((name) => podOn(name)),
      });
      const write = planPool(seen).steps.flat().at(0);
      return write?.op === "patch" ? (write.body as { spec?: { replicas?: number } }).spec?.replicas : undefined;
    };
    assert.equal(replicas(["a"]), 1);
    assert.equal(replicas(["a", "b"]), 2);
    assert.equal(replicas(["a", "b", "c"]), undefined);
  });

  test("tells an order that nobody acts on from one that is young", () => {
    const facts = { order };
    const ignored = planPool(snapshot({ provider: "karpenter", pool, facts }));
    assert.match(readyReason(ignored) ?? "", /^False StaticCapacityNotActing/);
    const young = planPool(snapshot({ provider: "karpenter", pool, facts, sizeSince: at(20) }));
    assert.match(readyReason(young) ?? "", /^False Provisioning/);
    assert.equal(young.requeueAfterMs, 40_000);
  });

  test("buys nothing where Karpenter is missing", () => {
    const obstacle = { reason: "KarpenterNotInstalled", message: "no kinds" } as const;
    const plan = planPool(snapshot({ provider: "karpenter", pool, facts: { obstacle } }));
    assert.deepEqual(plan.steps, []);
    assert.match(readyReason(plan) ?? "", /^False KarpenterNotInstalled/);
  });

  test("lets go of a NodeClaim only when its end is on record", () => {
    const ended = unit("a", {
      state: "ended",
      residue: true,
      ref: { provider: "karpenter", kind: "NodeClaim", name: "nc", uid: "uid-a" },
      releasedAt: { time: at(5), evidence: "InstanceTerminating" },
    });
    const seen = snapshot({ provider: "karpenter", pool, facts: { order }, units: [ended] });
    assert.deepEqual(steps(planPool(seen)), [
      ["patch CapacityClaim uid-a-1"],
      ["patch CapacityClaim uid-a-1"],
      ["patch NodeClaim nc"],
    ]);
    assert.deepEqual(steps(planPool({ ...seen, claims: [] })), [["create CapacityClaim uid-a-1"]]);
  });
});

test("a claim that the ledger closed goes only when its node has left", () => {
  const over = unit("a", { ready: false, unreadySince: 0 });
  const releasedAt = { time: at(50), evidence: "ledger v1/x" };
  const claim = claimOf(over, { claimedAt: over.claimedAt, releasedAt });
  const annotations = { "berth.dev/sealed-end": JSON.stringify(releasedAt) };
  const closed = { ...claim, metadata: { ...claim.metadata, annotations } };
  const gone = [["patch CapacityClaim uid-a-1"], ["delete CapacityClaim uid-a-1"]];
  assert.deepEqual(steps(planPool(snapshot({ units: [over], claims: [closed] }))), [["patch Node a"]]);
  assert.deepEqual(steps(planPool(snapshot({ units: [unit("b")], claims: [closed, claimOf(unit("b"))] }))), gone);
  const vanished = { ...snapshot({ units: [], claims: [closed] }), pool: undefined };
  assert.deepEqual(steps(planPool(vanished)), gone);
});

describe("a pool that is deleted", () => {
  const deleted = poolOf({}, { deletionTimestamp: at(10) });

  test("waits for its pods, then kills them and releases", () => {
    const seen = snapshot({ pool: deleted, units: [unit("a")], pods: [podOn("a")] });
    const waiting = planPool(seen);
    assert.deepEqual(waiting.steps, []);
    assert.match(readyReason(waiting) ?? "", /^False Draining/);
    const over = planPool({ ...seen, pool: poolOf({}, { deletionTimestamp: at(600) }) });
    assert.deepEqual(steps(over), [["delete Pod team/pod-a"], ["patch Node a"]]);
  });

  test("closes, removes its claims and goes, in this order and only when all is dated", () => {
    const ended = unit("a", { state: "ended", releasedAt: { time: at(1), evidence: "test" } });
    const undated = planPool(snapshot({ pool: deleted, units: [ended] }));
    assert.deepEqual(steps(undated), [["patch CapacityClaim uid-a-1"], ["patch CapacityClaim uid-a-1"]]);
    assert.equal(undated.close, false);
    const dated = claimOf(ended, { claimedAt: ended.claimedAt, releasedAt: ended.releasedAt });
    const plan = planPool(snapshot({ pool: deleted, claims: [dated] }));
    assert.equal(plan.close, true);
    assert.deepEqual(steps(plan), [
      ["patch CapacityClaim uid-a-1"],
      ["delete CapacityClaim uid-a-1"],
      ["patch GPUNodePool team/chat"],
    ]);
  });

  test("has nothing to do without its finalizer", () => {
    const plan = planPool(
      snapshot({ pool: poolOf({}, { deletionTimestamp: at(10), finalizers: [] }), units: [unit("a")] }),
    );
    assert.deepEqual(plan.steps, []);
  });
});

test("a vanished pool's nodes are given back and its claims dated, none removed", () => {
  const seen = { ...snapshot({ units: [unit("a")], pods: [podOn("a")] }), pool: undefined };
  assert.deepEqual(steps(planPool(seen)), [["delete Pod team/pod-a"], ["patch Node a"]]);
});

const units = fc.uniqueArray(
  fc.record({
    name: fc.constantFrom("a", "b", "c", "d", "e", "f"),
    state: fc.constantFrom("held", "intended", "leaving", "ended"),
    ready: fc.boolean(),
    unready: fc.option(fc.integer({ min: 0, max: 1_200 }), { nil: undefined }),
    busy: fc.boolean(),
  }),
  { selector: ({ name }) => name, maxLength: 6 },
);

describe("for all facts", () => {
  const seenOf = fc
    .record({
      units,
      size: fc.integer({ min: 0, max: 6 }),
      offers: fc.subarray(["x", "y", "z"]),
      since: fc.integer({ min: 0, max: 900 }),
    })
    .map(({ units: drawn, size, offers, since }) =>
      snapshot({
        pool: poolOf({ size }),
        units: drawn.map(({ name, state, ready, unready }) =>
          unit(name, {
            state,
            ready: ready && unready === undefined,
            ...(state === "intended" && { claimedAt: undefined, readyAt: undefined }),
            ...(unready !== undefined && { unreadySince: NOW - unready * 1000 }),
          }),
        ),
        pods: drawn.filter(({ busy }) => busy).map(({ name }) => podOn(name)),
        offers: offers.map((name) => offer(name)),
        sizeSince: at(since),
      }),
    );

  test("the same snapshot gives the same plan", () => {
    fc.assert(fc.property(seenOf, (seen) => assert.deepEqual(planPool(seen), planPool(structuredClone(seen)))));
  });

  test("a node is never patched twice in one pass, nor taken and given back", () => {
    fc.assert(
      fc.property(seenOf, (seen) => {
        const patched = steps(planPool(seen))
          .flat()
          .filter((line) => line.startsWith("patch Node"));
        assert.equal(new Set(patched).size, patched.length);
      }),
    );
  });

  test("after the pass the pool holds no more nodes than wanted, but for those that still serve", () => {
    fc.assert(
      fc.property(seenOf, (seen) => {
        const patches = steps(planPool(seen))
          .flat()
          .filter((line) => line.startsWith("patch Node"));
        const held = seen.facts.units.filter(({ state }) => state === "held").map(({ ref }) => ref.name);
        const released = held.filter((name) => patches.includes(`patch Node ${name}`));
        const taken = patches.length - released.length;
        const kept = held.filter((name) => !released.includes(name));
        const idle = kept.filter((name) => !seen.pods.some(({ spec }) => spec?.nodeName === name));
        const over = kept.length + taken - seen.pool.spec.size;
        assert.ok(over <= 0 || (taken === 0 && idle.length <= seen.pool.spec.size), `${over} too many`);
      }),
    );
  });

  test("victims serve nothing before any that serves is chosen", () => {
    fc.assert(
      fc.property(seenOf, fc.integer({ min: 0, max: 6 }), (seen, count) => {
        const held = seen.facts.units.filter(({ state }) => state === "held");
        const victims = chooseVictims(seen, held, count);
        const spared = held.filter((one) => !victims.includes(one));
        const busy = (one: (typeof held)[number]): boolean => podsOn(seen, one).length > 0;
        assert.equal(victims.length, Math.min(count, held.length));
        assert.ok(!victims.some(busy) || !spared.some((one) => !busy(one)));
      }),
    );
  });
});
