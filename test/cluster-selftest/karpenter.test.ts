import assert from "node:assert/strict";
import { before, test } from "node:test";
import type { Cluster } from "../cluster/cluster.ts";
import { apiPath } from "../cluster/client.ts";
import type { KubeObject } from "../cluster/client.ts";
import { eventually } from "../cluster/eventually.ts";
import { nodeClassName } from "../cluster/karpenter.ts";
import { requires, testCluster, uniqueName } from "../cluster/session.ts";

let cluster: Cluster;
before(async () => {
  cluster = await testCluster();
});

const nodePool = (name: string, replicas: number): object => ({
  apiVersion: "karpenter.sh/v1",
  kind: "NodePool",
  metadata: { name },
  spec: {
    replicas,
    template: {
      metadata: { labels: { "test/pool": name } },
      spec: {
        expireAfter: "Never",
        nodeClassRef: { group: "karpenter.kwok.sh", kind: "KWOKNodeClass", name: nodeClassName },
        requirements: [{ key: "node.kubernetes.io/instance-type", operator: "In", values: ["gpu-h100-8"] }],
      },
    },
  },
});

interface Node extends KubeObject {
  status?: { allocatable?: Record<string, string>; conditions?: { type: string; status: string }[] };
}

test("the real Karpenter buys GPU nodes for a static pool, which become ready, and gives them back", async (t) => {
  if (!(await requires(t, "karpenter", "kwok"))) return;
  const name = uniqueName("pool");
  const path = apiPath("karpenter.sh/v1", "nodepools", { name });
  t.after(() => cluster.admin.remove(path));
  const nodes = `/api/v1/nodes?labelSelector=${encodeURIComponent(`test/pool=${name}`)}`;
  const ready = async (): Promise<Node[]> => {
    const { items } = await cluster.admin.list<Node>(nodes);
    return items.filter(({ status }) => status?.conditions?.some((c) => c.type === "Ready" && c.status === "True"));
  };
  const waiting = (count: number) => ({
    what: `Karpenter has ${String(count)} ready nodes`,
    deadlineMs: 60_000,
    watch: { client: cluster.admin, paths: [nodes] },
    logDir: cluster.logDir,
  });
  await cluster.admin.apply(path, nodePool(name, 2));
  await eventually(async () => (await ready()).length === 2, waiting(2));
  assert.equal((await ready())[0]?.status?.allocatable?.["nvidia.com/gpu"], "8");
  await cluster.admin.remove(path);
  await eventually(async () => (await cluster.admin.list(nodes)).items.length === 0, waiting(0));
});
