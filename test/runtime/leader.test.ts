import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { TestContext } from "node:test";

import { newLeader, microTime } from "../../operator/runtime/leader.ts";
import type { Leader, LeaderOptions } from "../../operator/runtime/leader.ts";
import type { Cluster } from "../cluster/cluster.ts";
import { apiPath } from "../cluster/client.ts";
import { eventually } from "../cluster/eventually.ts";
import { startApiProxy } from "../cluster/faultproxy.ts";
import { ownCluster, requires, testCluster, testNamespace } from "../cluster/session.ts";
import { newRig } from "./rig.ts";

interface LeaseObject {
  readonly metadata: { readonly resourceVersion: string };
  readonly spec: {
    readonly holderIdentity?: string;
    readonly leaseTransitions?: number;
    readonly leaseDurationSeconds?: number;
    readonly renewTime?: string;
    readonly acquireTime?: string;
  };
}

interface Contender {
  readonly leader: Leader;
  /** started, paused, resumed, lost — in order. */
  readonly heard: string[];
}

const quick = { leaseDurationMs: 3_000, renewDeadlineMs: 2_000, retryPeriodMs: 250 };

function contend(
  t: TestContext,
  cluster: Cluster,
  namespace: string,
  identity: string,
  { url, ...times }: Partial<LeaderOptions> & { url?: string } = {},
): Contender {
  const rig = newRig(t, cluster, { url });
  const heard: string[] = [];
  const hear = (what: string) => () => void heard.push(what);
  const leader = newLeader({ namespace, name: "election", identity, ...quick, ...times }, rig, {
    onStarted: hear("started"),
    onPaused: hear("paused"),
    onResumed: hear("resumed"),
    onLost: (holder) => void heard.push(`lost to ${holder || "nobody"}`),
  });
  t.after(() => leader.stop());
  return { leader, heard };
}

const leasePath = (namespace: string): string =>
  apiPath("coordination.k8s.io/v1", "leases", { namespace, name: "election" });

const leaseOf = (cluster: Cluster, namespace: string): Promise<LeaseObject> =>
  cluster.admin.get<LeaseObject>(leasePath(namespace));

const began = ({ leader, heard }: Contender): Promise<unknown> =>
  eventually(() => leader.isLeader && heard.includes("started"), { what: "it leads" });

describe("leader election", { concurrency: 6 }, () => {
  test("one of two leads; released, the other takes over at once", async (t) => {
    const cluster = await testCluster();
    const namespace = await testNamespace(t);
    const first = contend(t, cluster, namespace, "first");
    const second = contend(t, cluster, namespace, "second", { leaseDurationMs: 60_000 });
    first.leader.start();
    await began(first);
    second.leader.start();
    const before = await leaseOf(cluster, namespace);
    assert.equal(before.spec.holderIdentity, "first");
    assert.equal(before.spec.leaseTransitions, 0);
    assert.match(before.spec.renewTime ?? "", /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
    await eventually(async () => (await leaseOf(cluster, namespace)).spec.renewTime !== before.spec.renewTime, {
      what: "it is renewed",
    });
    assert.equal(second.leader.isLeader, false);
    await first.leader.stop();
    assert.equal(first.leader.isLeader, false);
    await began(second);
    const after = await leaseOf(cluster, namespace);
    assert.equal(after.spec.holderIdentity, "second");
    assert.equal(after.spec.leaseTransitions, 1);
    assert.deepEqual(first.heard, ["started"]);
  });

  test("a stopped leader leaves an empty holder and a duration of one second", async (t) => {
    const cluster = await testCluster();
    const namespace = await testNamespace(t);
    const only = contend(t, cluster, namespace, "only");
    only.leader.start();
    await began(only);
    await only.leader.stop();
    const { spec } = await leaseOf(cluster, namespace);
    assert.equal(spec.holderIdentity ?? "", "");
    assert.equal(spec.leaseDurationSeconds, 1);
  });

  test("a killed leader is followed only after the lease duration, seen by the follower's own clock", async (t) => {
    if (!(await requires(t, "server-restart"))) return;
    const cluster = await testCluster();
    const namespace = await testNamespace(t);
    const proxy = await startApiProxy(cluster);
    const dead = contend(t, cluster, namespace, "dead", { url: proxy.url });
    t.after(() => proxy.close());
    const heir = contend(t, cluster, namespace, "heir");
    dead.leader.start();
    await began(dead);
    heir.leader.start();
    // Cut off for good: to the others it is dead.
    proxy.add({ fault: { kind: "reset" } });
    const cutMs = performance.now();
    await began(heir);
    const tookMs = performance.now() - cutMs;
    assert.ok(tookMs > quick.leaseDurationMs - quick.retryPeriodMs * 3, `took over after ${tookMs.toFixed(0)} ms`);
    assert.equal((await leaseOf(cluster, namespace)).spec.leaseTransitions, 1);
    await eventually(() => dead.heard.includes("paused"), { what: "the one cut off has paused" });
    assert.ok(!dead.leader.isLeader);
    proxy.clear();
    await eventually(() => dead.heard.at(-1) === "lost to heir", { what: "it learns that it has lost" });
    assert.deepEqual(dead.heard, ["started", "paused", "lost to heir"]);
    assert.ok(heir.leader.isLeader);
  });

  test("a lease with timestamps of a wrong clock is not taken before it was watched for its duration", async (t) => {
    const cluster = await testCluster();
    const namespace = await testNamespace(t);
    const old = microTime(Date.now() - 86_400_000);
    await cluster.admin.create(apiPath("coordination.k8s.io/v1", "leases", { namespace }), {
      apiVersion: "coordination.k8s.io/v1",
      kind: "Lease",
      metadata: { namespace, name: "election" },
      spec: {
        holderIdentity: "slow clock",
        leaseDurationSeconds: 2,
        renewTime: old,
        acquireTime: old,
        leaseTransitions: 4,
      },
    });
    const startedMs = performance.now();
    const next = contend(t, cluster, namespace, "next");
    next.leader.start();
    await began(next);
    assert.ok(performance.now() - startedMs >= 2_000);
    const { spec } = await leaseOf(cluster, namespace);
    assert.equal(spec.leaseTransitions, 5);
    assert.equal(spec.leaseDurationSeconds, 3);
  });

  test("a lease edited by somebody else without a new holder is kept", async (t) => {
    const cluster = await testCluster();
    const namespace = await testNamespace(t);
    const only = contend(t, cluster, namespace, "only");
    only.leader.start();
    await began(only);
    await cluster.admin.patch(leasePath(namespace), { metadata: { labels: { seen: "yes" } } });
    const { spec } = await leaseOf(cluster, namespace);
    await eventually(async () => (await leaseOf(cluster, namespace)).spec.renewTime !== spec.renewTime);
    assert.deepEqual(only.heard, ["started"]);
  });

  test("a lease taken by force is lost, and nothing is released over its new holder", async (t) => {
    const cluster = await testCluster();
    const namespace = await testNamespace(t);
    const loser = contend(t, cluster, namespace, "loser");
    loser.leader.start();
    await began(loser);
    await cluster.admin.patch(leasePath(namespace), { spec: { holderIdentity: "thief" } });
    await eventually(() => loser.heard.at(-1) === "lost to thief");
    assert.equal(loser.leader.isLeader, false);
    await loser.leader.stop();
    assert.equal((await leaseOf(cluster, namespace)).spec.holderIdentity, "thief");
  });
});

describe("leader election and an API server that is away", () => {
  test("work pauses past the renew deadline and goes on when the server is back", async (t) => {
    if (!(await requires(t, "server-restart"))) return;
    const cluster = await ownCluster(t, { controllers: false });
    const namespace = await testNamespace(t, { cluster });
    const first = contend(t, cluster, namespace, "first");
    const second = contend(t, cluster, namespace, "second", { leaseDurationMs: 60_000 });
    first.leader.start();
    await began(first);
    second.leader.start();
    for (const outage of ["killed", "frozen"] as const) {
      const heardBefore = first.heard.length;
      if (outage === "killed") await cluster.apiserver.kill();
      else cluster.apiserver.freeze();
      await eventually(() => first.heard.at(-1) === "paused", { what: "it pauses" });
      assert.equal(first.leader.isLeader, false);
      if (outage === "killed") await cluster.apiserver.start();
      else cluster.apiserver.thaw();
      await eventually(() => first.heard.length > heardBefore + 1 || second.heard.length > 0, {
        what: "somebody leads",
      });
      // With equal durations the follower might have won; whoever leads, it is one.
      if (first.heard.at(-1) !== "resumed") {
        assert.deepEqual(second.heard, ["started"]);
        return;
      }
    }
    assert.deepEqual(first.heard, ["started", "paused", "resumed", "paused", "resumed"]);
    assert.deepEqual(second.heard, []);
  });
});
