// Status of NodeTypes on the real API server: true, and written seldom.
import assert from "node:assert/strict";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { pathToFileURL } from "node:url";
import { openLedger } from "../../operator/adapters/ledger/open.ts";
import type { NodeTypeStatus } from "../../operator/api/nodetype.ts";
import { tally, writeVerbs } from "../cluster/audit.ts";
import { apiPath } from "../cluster/client.ts";
import { startControlPlane } from "../cluster/controlplane.ts";
import type { ControlPlane } from "../cluster/controlplane.ts";
import { eventually } from "../cluster/eventually.ts";
import { setNodeReady } from "../cluster/nodes.ts";
import { berthCrdDir, requires, testNamespace } from "../cluster/session.ts";
import { nodesOfPool, staticBed } from "../providers/beds.ts";
import { OPERATOR_USER, startPoolOperator } from "../providers/operator.ts";
import { createPool, deletePool, poolIsGone, untilReady } from "../providers/pools.ts";

let own: ControlPlane | undefined;
after(() => own?.stop());

test("a NodeType shows stock and use, in few writes however many pools converge", async (t) => {
  if (!(await requires(t, "server-restart", "kwok", "audit"))) return;
  const cluster = (own = await startControlPlane({ crdFolders: [berthCrdDir], karpenter: false }));
  const bed = await staticBed(t, cluster, 8);
  const namespace = await testNamespace(t, { prefix: "types", cluster });
  const ledger = openLedger({ url: pathToFileURL(mkdtempSync(join(tmpdir(), "berth-ledger-"))).href });
  const operator = await startPoolOperator({ cluster, ledger });
  t.after(() => operator.stop());
  const path = apiPath("berth.dev/v1alpha1", "nodetypes", { name: "test-type" });
  const { gpu, provider, sku } = bed.template;
  await cluster.admin.apply(path, {
    apiVersion: "berth.dev/v1alpha1",
    kind: "NodeType",
    metadata: { name: "test-type" },
    spec: { gpu, provider, sku, vcpus: 8, memory: "32Gi" },
  });
  const status = async (): Promise<NodeTypeStatus> =>
    (await cluster.admin.get<{ status?: NodeTypeStatus }>(path)).status ?? {};
  const use = async (): Promise<unknown> => {
    const { stock, pools, desiredNodes, claimedNodes, freeNodes, conditions } = await status();
    return [stock, pools, desiredNodes, claimedNodes, freeNodes, conditions?.[0]?.reason];
  };
  await eventually(async () => {
    assert.deepEqual(await use(), ["Available", 0, 0, 0, 8, "Available"]);
    return true;
  });
  const mark = await cluster.audit.mark();
  const began = Date.now();
  const pools = await Promise.all(
    [1, 2, 3, 4, 5, 6, 7].map((n) => createPool(cluster, namespace, `p${n}`, bed.template, 1)),
  );
  for (const pool of pools) await untilReady(cluster, pool, 1);
  await eventually(async () => {
    assert.deepEqual(await use(), ["LowStock", 7, 7, 7, 1, "LowStock"]);
    return true;
  });
  const writes = await cluster.audit.since(mark, {
    user: OPERATOR_USER,
    verbs: writeVerbs,
    resources: ["nodetypes/status"],
  });
  const most = 2 + Math.floor((Date.now() - began) / 3_000);
  assert.ok(writes.length <= most, `${writes.length} writes, at most ${most} wanted: ${JSON.stringify(tally(writes))}`);

  const [first] = pools;
  assert.ok(first);
  const held = (await Promise.all(pools.map((pool) => nodesOfPool(cluster, pool.uid))))
    .flat()
    .map(({ metadata }) => metadata.name);
  const { items } = await cluster.admin.list(
    `/api/v1/nodes?labelSelector=test.berth.dev/type=${provider.static?.nodeSelector["test.berth.dev/type"] ?? ""}`,
  );
  const last = items.map(({ metadata }) => metadata.name ?? "").find((name) => !held.includes(name)) ?? "";
  await setNodeReady(cluster, last, false);
  await eventually(async () => {
    assert.deepEqual(await use(), ["OutOfStock", 7, 7, 7, 0, "OutOfStock"]);
    return true;
  });
  for (const pool of pools) await deletePool(cluster, pool);
  await eventually(async () => (await Promise.all(pools.map((pool) => poolIsGone(cluster, pool)))).every(Boolean));
  await eventually(async () => {
    assert.deepEqual(await use(), ["Available", 0, 0, 0, 7, "Available"]);
    return true;
  });
});
