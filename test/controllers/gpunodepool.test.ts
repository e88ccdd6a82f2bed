// Faults on nodes and claims of static pools, and what a pool costs, on the real API server.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import type { TestContext } from "node:test";
import { pathToFileURL } from "node:url";
import { openLedger } from "../../operator/adapters/ledger/open.ts";
import { tally, writeVerbs } from "../cluster/audit.ts";
import { apiPath } from "../cluster/client.ts";
import { startControlPlane } from "../cluster/controlplane.ts";
import type { ControlPlane } from "../cluster/controlplane.ts";
import { eventually } from "../cluster/eventually.ts";
import { removeNode } from "../cluster/nodes.ts";
import { berthCrdDir, requires, testNamespace } from "../cluster/session.ts";
import { nodesOfPool, POOL_LABEL, staticBed } from "../providers/beds.ts";
import { OPERATOR_USER, startPoolOperator } from "../providers/operator.ts";
import { claimsOf, createPool, deletePool, poolIsGone, readPool, readyOf, untilReady } from "../providers/pools.ts";
import type { TestPool } from "../providers/pools.ts";
import { newPoolStage, nodePath } from "./poolstage.ts";
import type { PoolStage } from "./poolstage.ts";

let own: Promise<ControlPlane> | undefined;
const ownCluster = (): Promise<ControlPlane> =>
  (own ??= startControlPlane({ crdFolders: [berthCrdDir], karpenter: false }));
after(async () => (await own)?.stop());

const newStage = async (t: TestContext, stock: number): Promise<PoolStage> =>
  newPoolStage(t, await ownCluster(), staticBed, stock);

interface MarkedNode {
  readonly metadata: {
    readonly name: string;
    readonly labels?: Record<string, string>;
    readonly annotations?: Record<string, string>;
    readonly managedFields: readonly { readonly manager?: string; readonly time?: string }[];
  };
  readonly spec: {
    readonly taints?: readonly { readonly key: string; readonly effect: string; readonly value?: string }[];
  };
}

async function onlyNode(cluster: ControlPlane, pool: TestPool): Promise<string> {
  const [node, ...others] = await nodesOfPool(cluster, pool.uid);
  assert.ok(node && others.length === 0);
  return node.metadata.name;
}

describe("static pools", { concurrency: 1 }, () => {
  test("cost one create and one status per pool and claim, one patch and one pod list per node, and nothing afterwards", async (t) => {
    if (!(await requires(t, "server-restart", "kwok", "audit"))) return;
    const { cluster, bed, namespace, start } = await newStage(t, 6);
    const first = await start();
    const mark = await cluster.audit.mark();
    const pools = await Promise.all([1, 2, 3].map((n) => createPool(cluster, namespace, `p${n}`, bed.template, 2)));
    for (const pool of pools) await untilReady(cluster, pool, 2);
    const seen = await cluster.audit.since(mark, { user: OPERATOR_USER, verbs: [...writeVerbs, "get", "list"] });
    const writes = {
      "create capacityclaims 201": 6,
      "list pods 200": 6,
      "patch capacityclaims/status 200": 6,
      "patch gpunodepools/status 200": 3,
      "patch nodes 200": 6,
    };
    assert.deepEqual(tally(seen.filter(({ verb, resource }) => verb !== "list" || resource === "pods")), writes);
    const later = await cluster.audit.mark();
    await first.stop();
    await start();
    const last = await createPool(cluster, namespace, "p4", bed.template, 0);
    await eventually(async () => readyOf(await readPool(cluster, last))?.status === "True");
    const after = await cluster.audit.since(later, { user: OPERATOR_USER, verbs: writeVerbs });
    assert.deepEqual(
      tally(after),
      { "patch gpunodepools/status 200": 1 },
      "a restart writes nothing but the new pool's status",
    );
  });

  test("dates claim and release by the API server's time of the node's patch", async (t) => {
    if (!(await requires(t, "server-restart", "kwok"))) return;
    const { cluster, bed, namespace, start } = await newStage(t, 1);
    await start();
    const pool = await createPool(cluster, namespace, "dated", bed.template, 1);
    await untilReady(cluster, pool, 1);
    const name = await onlyNode(cluster, pool);
    const node = await cluster.admin.get<MarkedNode>(nodePath(name));
    const patched = node.metadata.managedFields.find(({ manager }) => manager === "berth-claim")?.time;
    const [claim] = await claimsOf(cluster, pool);
    assert.equal(claim?.status?.claimedAt?.time, patched);
    assert.equal(claim?.status?.readyAt?.time, patched);
    assert.deepEqual(
      node.spec.taints?.map(({ key, value, effect }) => [key, value, effect]),
      [
        ["berth.dev/dedicated", pool.uid, "NoSchedule"],
        ["berth.dev/dedicated", pool.uid, "NoExecute"],
      ],
    );
  });

  test("restores label and taints that somebody took off, without moving the claim's time", async (t) => {
    if (!(await requires(t, "server-restart", "kwok"))) return;
    const { cluster, bed, namespace, start } = await newStage(t, 1);
    await start();
    const pool = await createPool(cluster, namespace, "tampered", bed.template, 1);
    await untilReady(cluster, pool, 1);
    const name = await onlyNode(cluster, pool);
    const before = (await claimsOf(cluster, pool))[0];
    await cluster.admin.patch(nodePath(name), { metadata: { labels: { [POOL_LABEL]: null } }, spec: { taints: [] } });
    await eventually(async () => {
      const node = await cluster.admin.get<MarkedNode>(nodePath(name));
      assert.equal(node.metadata.labels?.[POOL_LABEL], pool.uid);
      assert.equal(node.spec.taints?.length, 2);
      return true;
    });
    assert.deepEqual(
      (await claimsOf(cluster, pool)).map(({ status }) => status?.claimedAt),
      [before?.status?.claimedAt],
    );
  });

  test("takes a pool's label off a node that it never claimed", async (t) => {
    if (!(await requires(t, "server-restart", "kwok"))) return;
    const { cluster, bed, namespace, start } = await newStage(t, 2);
    await start();
    const pool = await createPool(cluster, namespace, "forged", bed.template, 1);
    await untilReady(cluster, pool, 1);
    const claimed = await onlyNode(cluster, pool);
    const { items } = await cluster.admin.list(
      `/api/v1/nodes?labelSelector=test.berth.dev/type=${bed.template.provider.static?.nodeSelector["test.berth.dev/type"] ?? ""}`,
    );
    const other = items.map(({ metadata }) => metadata.name ?? "").find((name) => name !== claimed) ?? "";
    await cluster.admin.patch(nodePath(other), { metadata: { labels: { [POOL_LABEL]: pool.uid } } });
    await eventually(
      async () => (await cluster.admin.get<MarkedNode>(nodePath(other))).metadata.labels?.[POOL_LABEL] === undefined,
    );
    assert.equal((await claimsOf(cluster, pool)).length, 1);
  });

  test("ends the claim of a deleted Node at its last proof of life and claims another", async (t) => {
    if (!(await requires(t, "server-restart", "kwok"))) return;
    const { cluster, bed, namespace, start } = await newStage(t, 2);
    await start();
    const pool = await createPool(cluster, namespace, "vanishes", bed.template, 1);
    await untilReady(cluster, pool, 1);
    const name = await onlyNode(cluster, pool);
    const [first] = await claimsOf(cluster, pool);
    await removeNode(cluster, name);
    await eventually(async () => {
      const claims = await claimsOf(cluster, pool);
      const ended = claims.find(({ metadata }) => metadata.name === first?.metadata.name);
      assert.equal(ended?.status?.releasedAt?.estimated, true);
      assert.equal(claims.length, 2);
      return true;
    });
    await untilReady(cluster, pool, 1);
    assert.notEqual(await onlyNode(cluster, pool), name);
  });

  test("names the pods of others that keep a node from being claimed, and claims it when they are gone", async (t) => {
    if (!(await requires(t, "server-restart", "kwok"))) return;
    const { cluster, bed, namespace, start } = await newStage(t, 1);
    const selector = bed.template.provider.static?.nodeSelector["test.berth.dev/type"] ?? "";
    const { items } = await cluster.admin.list(`/api/v1/nodes?labelSelector=test.berth.dev/type=${selector}`);
    const node = items[0]?.metadata.name ?? "";
    const podPath = apiPath("v1", "pods", { namespace, name: "squatter" });
    await eventually(() =>
      cluster.admin.create(apiPath("v1", "pods", { namespace }), {
        apiVersion: "v1",
        kind: "Pod",
        metadata: { name: "squatter" },
        spec: { nodeName: node, containers: [{ name: "c", image: "example.invalid/c" }] },
      }),
    );
    await start();
    const pool = await createPool(cluster, namespace, "squat", bed.template, 1);
    await eventually(async () => {
      const said = readyOf(await readPool(cluster, pool));
      assert.equal(said?.reason, "ForeignPods");
      assert.match(said.message, new RegExp(`${node} runs pod ${namespace}/squatter`));
      return true;
    });
    assert.deepEqual(await claimsOf(cluster, pool), []);
    await cluster.admin.remove(podPath, { gracePeriodSeconds: 0 });
    await untilReady(cluster, pool, 1, 45_000);
  });

  test("gives back the nodes of a pool whose object vanished without its finalizer", async (t) => {
    if (!(await requires(t, "server-restart", "kwok"))) return;
    const { cluster, bed, namespace, start } = await newStage(t, 1);
    const first = await start();
    const pool = await createPool(cluster, namespace, "vanished", bed.template, 1);
    await untilReady(cluster, pool, 1);
    await first.stop();
    const path = apiPath("berth.dev/v1alpha1", "gpunodepools", { namespace, name: "vanished" });
    await cluster.admin.patch(path, { metadata: { finalizers: [] } });
    await cluster.admin.remove(path);
    await start();
    await eventually(async () => (await nodesOfPool(cluster, pool.uid)).length === 0);
    await eventually(async () => {
      const [claim] = await claimsOf(cluster, pool);
      return claim?.status?.releasedAt?.evidence.includes("managedFields[berth-claim]");
    });
    assert.deepEqual(await bed.leftovers(pool.uid), []);
  });

  test("buys nothing and says so where Karpenter is not installed, while static pools go on", async (t) => {
    if (!(await requires(t, "server-restart", "kwok"))) return;
    const { cluster, bed, namespace, start } = await newStage(t, 1);
    await start();
    const karpenter = {
      nodeClassRef: { group: "karpenter.kwok.sh", kind: "KWOKNodeClass", name: "default" },
      requirements: [{ key: "node.kubernetes.io/instance-type", operator: "In" as const, values: ["gpu-l4-1"] }],
    };
    const absent = await createPool(cluster, namespace, "absent", { ...bed.template, provider: { karpenter } }, 1);
    const here = await createPool(cluster, namespace, "here", bed.template, 1);
    await untilReady(cluster, here, 1);
    await eventually(async () => readyOf(await readPool(cluster, absent))?.reason === "KarpenterNotInstalled");
    await deletePool(cluster, absent);
    await eventually(() => poolIsGone(cluster, absent));
  });
});

test("says that Karpenter's static capacity is off when it ignores the NodePool", async (t) => {
  if (!(await requires(t, "server-restart", "kwok", "karpenter"))) return;
  const cluster = await startControlPlane({ crdFolders: [berthCrdDir], staticCapacity: false });
  t.after(() => cluster.stop());
  const namespace = await testNamespace(t, { prefix: "pool", cluster });
  const ledger = openLedger({ url: pathToFileURL(mkdtempSync(join(tmpdir(), "berth-ledger-"))).href });
  const operator = await startPoolOperator({ cluster, ledger, settings: { staticCapacityTimeoutMs: 3_000 } });
  t.after(() => operator.stop());
  const template = {
    sku: "l4-1",
    gpu: { product: "NVIDIA L4", count: 1, memory: "24Gi", resourceName: "nvidia.com/gpu" },
    provider: {
      karpenter: {
        nodeClassRef: { group: "karpenter.kwok.sh", kind: "KWOKNodeClass", name: "default" },
        requirements: [{ key: "node.kubernetes.io/instance-type", operator: "In" as const, values: ["gpu-l4-1"] }],
      },
    },
  };
  const pool = await createPool(cluster, namespace, "ignored", template, 1);
  await eventually(async () => readyOf(await readPool(cluster, pool))?.reason === "StaticCapacityNotActing", {
    deadlineMs: 40_000,
  });
  await deletePool(cluster, pool);
  await eventually(() => poolIsGone(cluster, pool));
});

test("says that the ledger is away and keeps claims and finalizer until it is back", async (t) => {
  if (!(await requires(t, "server-restart", "kwok"))) return;
  const cluster = await ownCluster();
  const bed = await staticBed(t, cluster, 1);
  const namespace = await testNamespace(t, { prefix: "pool", cluster });
  // A directory that cannot be one: its parent is a file.
  const folder = mkdtempSync(join(tmpdir(), "berth-ledger-"));
  const place = join(folder, "ledger");
  writeFileSync(place, "");
  const ledger = openLedger({ url: pathToFileURL(place).href });
  const operator = await startPoolOperator({ cluster, ledger, namespace });
  t.after(() => operator.stop());
  const pool = await createPool(cluster, namespace, "unsettled", bed.template, 1);
  await untilReady(cluster, pool, 1);
  await deletePool(cluster, pool);
  await eventually(async () => {
    const said = readyOf(await readPool(cluster, pool));
    assert.equal(said?.reason, "Released");
    assert.match(said.message, /closing record cannot be written/);
    return true;
  });
  assert.equal((await claimsOf(cluster, pool)).length, 1);
  assert.deepEqual(await bed.leftovers(pool.uid), [], "its node is free all the same");
  rmSync(place);
  await eventually(() => poolIsGone(cluster, pool), { deadlineMs: 60_000 });
  assert.equal((await ledger.list(`closing/${pool.deploymentUID}/`)).length, 1);
});
