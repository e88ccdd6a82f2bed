import assert from "node:assert/strict";
import { test } from "node:test";
import { apiPath } from "../cluster/client.ts";
import type { ControlPlane } from "../cluster/controlplane.ts";
import { eventually } from "../cluster/eventually.ts";
import { killNode, removeNode } from "../cluster/nodes.ts";
import { uniqueName } from "../cluster/session.ts";
import { nodeIdentity, serviceAccountIdentity } from "../cluster/users.ts";
import { accepted, carriers, carry, everyTaint, metadata, podSpec, refused, selector, template } from "./carriers.ts";
import { chartAccount, newTenant, pod, policyCluster, poolLabel, refusal, refusedBy, taintKey } from "./installed.ts";
import { running, serve } from "./serving.ts";

for (const [kind, carrier] of Object.entries(carriers)) {
  test(`a tenant's ${kind} cannot reach dedicated nodes, and any other is left alone`, async (t) => {
    const cluster = await policyCluster(t);
    if (!cluster) return;
    const { client, namespace } = await newTenant(t, cluster);
    for (const [what, { spec, words }] of Object.entries(refused)) {
      await refusedBy("dedicated-nodes", words, carry(client, namespace, carrier, spec), `${kind} that ${what}`);
    }
    for (const [what, spec] of Object.entries(accepted)) {
      assert.equal(await refusal(carry(client, namespace, carrier, spec)), undefined, `${kind} that ${what}`);
    }
  });
}

test("a PodTemplate is refused too, also to an administrator", async (t) => {
  const cluster = await policyCluster(t);
  if (!cluster) return;
  const { namespace } = await newTenant(t, cluster);
  const path = `${apiPath("v1", "podtemplates", { namespace })}?dryRun=All`;
  const make = (spec: object): Promise<unknown> =>
    cluster.admin.create(path, { apiVersion: "v1", kind: "PodTemplate", metadata, template: template(spec) });
  await refusedBy("dedicated-nodes", /remove the toleration/, make(everyTaint));
  assert.equal(await refusal(make({})), undefined);
});

test("a pod spec cannot become one that reaches dedicated nodes", async (t) => {
  const cluster = await policyCluster(t);
  if (!cluster) return;
  const { client, namespace } = await newTenant(t, cluster);
  const created = await client.create(apiPath("v1", "pods", { namespace }), pod({ nodeSelector: { no: "where" } }));
  const path = apiPath("v1", "pods", { namespace, name: created.metadata.name });
  const present = (created.spec?.["tolerations"] ?? []) as object[];
  const more = { spec: { tolerations: [...present, { key: taintKey, operator: "Exists" }] } };
  await refusedBy("dedicated-nodes", /remove the toleration/, client.patch(path, more));
  const gated = await client.create(
    apiPath("v1", "pods", { namespace }),
    pod({ schedulingGates: [{ name: "a.b/c" }] }),
  );
  const gatedPath = apiPath("v1", "pods", { namespace, name: gated.metadata.name });
  const select = { spec: { nodeSelector: { [poolLabel]: "pool-1" } } };
  await refusedBy("dedicated-nodes", /remove the node selector/, client.patch(gatedPath, select), "a gated pod");
  const deployment = await client.create(apiPath("apps/v1", "deployments", { namespace }), {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata,
    spec: { replicas: 0, selector, template: template({}) },
  });
  const at = apiPath("apps/v1", "deployments", { namespace, name: deployment.metadata.name });
  await refusedBy("dedicated-nodes", /every taint/, client.patch(at, { spec: { template: { spec: everyTaint } } }));
});

test("Berth's Deployment runs on its node; its tenant may scale, annotate and delete it, but not put other code there", async (t) => {
  const cluster = await policyCluster(t);
  if (!cluster) return;
  const tenant = await newTenant(t, cluster);
  const { client, namespace } = tenant;
  const operator = await chartAccount(t, cluster, "operator");
  const { node, name } = await serve(cluster, operator, tenant);
  t.after(() => removeNode(cluster, node));
  const servingPod = await running(cluster, namespace, "app=t", node);
  const deployment = apiPath("apps/v1", "deployments", { namespace, name });
  const podPath = apiPath("v1", "pods", { namespace, name: servingPod.metadata.name });

  await client.patch(deployment, { metadata: { annotations: { note: "mine" } } });
  await client.patch(podPath, { metadata: { annotations: { "controller.kubernetes.io/pod-deletion-cost": "5" } } });
  await client.patch(`${deployment}/scale`, { spec: { replicas: 2 } });
  const image = { containers: [{ name: "main", image: "example/other:1" }] };
  const templateImage = { spec: { template: { spec: image } } };
  await refusedBy(
    "dedicated-nodes",
    /remove the toleration/,
    client.patch(deployment, templateImage),
    "template image",
  );
  const podImage = [{ op: "replace", path: "/spec/containers/0/image", value: "example/other:1" }];
  await refusedBy("dedicated-nodes", /remove the toleration/, client.patch(podPath, podImage), "pod image");
  await refusedEphemeral(cluster, podPath);

  await client.remove(deployment, { propagationPolicy: "Foreground" });
  await eventually(
    async () => {
      const kinds = ["deployments", "replicasets"].map((kind) => apiPath("apps/v1", kind, { namespace }));
      const lists = await Promise.all(
        [...kinds, apiPath("v1", "pods", { namespace })].map((path) => cluster.admin.list(path)),
      );
      return lists.every(({ items }) => items.length === 0);
    },
    { what: "the foreground deletion is complete", logDir: cluster.logDir },
  );
});

/** Even an administrator's debug container would be other code on the node. */
async function refusedEphemeral(cluster: ControlPlane, podPath: string): Promise<void> {
  const body = { spec: { ephemeralContainers: [{ name: "debug", image: "example/debug:1" }] } };
  const request = { method: "PATCH", path: `${podPath}/ephemeralcontainers`, body } as const;
  const answer = await cluster.admin.raw({ ...request, contentType: "application/strategic-merge-patch+json" });
  assert.equal(answer.status, 403);
  assert.match(JSON.stringify(answer.body), /dedicated-nodes/);
}

test("a tenant cannot pass for Berth by owner, labels or a copy of what Berth rendered", async (t) => {
  const cluster = await policyCluster(t);
  if (!cluster) return;
  const tenant = await newTenant(t, cluster);
  const { client, namespace } = tenant;
  const operator = await chartAccount(t, cluster, "operator");
  const { node, pool, name } = await serve(cluster, operator, tenant);
  t.after(() => removeNode(cluster, node));
  await running(cluster, namespace, "app=t", node);
  const { items } = await cluster.admin.list(apiPath("apps/v1", "replicasets", { namespace }));
  const copy = items[0];
  assert.ok(copy);
  const stolen = {
    apiVersion: "apps/v1",
    kind: "ReplicaSet",
    metadata: { name: "copy", labels: copy.metadata.labels, ownerReferences: copy.metadata.ownerReferences },
    spec: copy.spec,
  };
  const replicaSets = apiPath("apps/v1", "replicasets", { namespace });
  await refusedBy("dedicated-nodes", /remove the toleration/, client.create(replicaSets, stolen), "copied ReplicaSet");
  const owner = {
    apiVersion: "apps/v1",
    kind: "ReplicaSet",
    name: copy.metadata.name,
    uid: copy.metadata.uid,
    controller: true,
  };
  const claimed = { nodeSelector: { [poolLabel]: pool }, tolerations: [{ key: taintKey, value: pool }] };
  const child = pod(claimed, { labels: copy.metadata.labels, ownerReferences: [owner] });
  await refusedBy("dedicated-nodes", /remove/, client.create(apiPath("v1", "pods", { namespace }), child), "child pod");

  // A ReplicaSet without the toleration may exist, and Berth's Deployment adopts it, but it cannot become more than that.
  const adopted = { apiVersion: "apps/v1", kind: "ReplicaSet", metadata: { name: "adopted", labels: { app: "t" } } };
  await client.create(replicaSets, { ...adopted, spec: { replicas: 0, selector, template: template({}) } });
  const patch = { spec: { template: { spec: claimed } } };
  await refusedBy("dedicated-nodes", /remove/, client.patch(`${replicaSets}/adopted`, patch), "adopted ReplicaSet");
  const binding = { apiVersion: "v1", kind: "Binding", metadata: { name: "x" }, target: { kind: "Node", name: node } };
  const bound = refusal(
    client.create(apiPath("v1", "pods", { namespace, name: "x", subresource: "binding" }), binding),
  );
  assert.match((await bound) ?? "", /cannot create resource "pods\/binding"/);
  assert.ok(await cluster.admin.find(apiPath("apps/v1", "deployments", { namespace, name })));
});

test("a workload older than the policies gets no pod onto dedicated nodes through a built-in controller", async (t) => {
  const cluster = await policyCluster(t);
  if (!cluster) return;
  const { namespace } = await newTenant(t, cluster);
  for (const controller of [
    "replicaset-controller",
    "deployment-controller",
    "daemon-set-controller",
    "job-controller",
  ]) {
    const client = cluster.client(await serviceAccountIdentity(cluster, "kube-system", controller));
    t.after(() => client.close());
    const resource = controller === "deployment-controller" ? "ReplicaSet" : "Pod";
    const carrier = carriers[resource];
    assert.ok(carrier);
    const attempt = carry(client, namespace, carrier, everyTaint);
    await refusedBy("dedicated-nodes", /every taint/, attempt, `${resource} by ${controller}`);
    const both = { ...everyTaint, nodeSelector: { [poolLabel]: "pool-1" } };
    await refusedBy(
      "dedicated-nodes",
      /every taint/,
      carry(client, namespace, carrier, both),
      `${resource}, label too`,
    );
  }
});

test("kubelets show their static pods, and system components run on dedicated nodes", async (t) => {
  const cluster = await policyCluster(t);
  if (!cluster) return;
  const tenant = await newTenant(t, cluster);
  const operator = await chartAccount(t, cluster, "operator");
  const { node } = await serve(cluster, operator, tenant);
  t.after(() => removeNode(cluster, node));
  await running(cluster, tenant.namespace, "app=t", node);
  const kubelet = cluster.client(nodeIdentity(cluster, node));
  t.after(() => kubelet.close());
  const { metadata: found } = await cluster.admin.get(apiPath("v1", "nodes", { name: node }));
  const owner = { apiVersion: "v1", kind: "Node", name: node, uid: found.uid, controller: true };
  const mirror = pod(
    { nodeName: node, ...everyTaint },
    { annotations: { "kubernetes.io/config.mirror": "hash" }, ownerReferences: [owner] },
  );
  await kubelet.create(apiPath("v1", "pods", { namespace: tenant.namespace }), mirror);

  const name = uniqueName("cni");
  const daemonSet = {
    apiVersion: "apps/v1",
    kind: "DaemonSet",
    metadata: { name },
    spec: {
      selector: { matchLabels: { app: name } },
      template: { metadata: { labels: { app: name } }, spec: podSpec(everyTaint) },
    },
  };
  const path = apiPath("apps/v1", "daemonsets", { namespace: "kube-system" });
  await cluster.admin.create(path, daemonSet);
  t.after(() => cluster.admin.remove(`${path}/${name}`));
  await running(cluster, "kube-system", `app=${name}`, node);
});

test("a namespace is exempt once somebody who may patch Nodes has labelled it", async (t) => {
  const cluster = await policyCluster(t);
  if (!cluster) return;
  const { client, namespace } = await newTenant(t, cluster);
  const create = (): Promise<unknown> => client.create(apiPath("v1", "pods", { namespace }), pod(everyTaint));
  await refusedBy("dedicated-nodes", /every taint/, create());
  await cluster.admin.patch(apiPath("v1", "namespaces", { name: namespace }), {
    metadata: { labels: { "berth.dev/dedicated-nodes": "exempt" } },
  });
  await eventually(async () => (await refusal(create())) === undefined, { what: "the namespace is exempt" });
});

test("kubelet, scheduler and node lifecycle controller go on working on claimed nodes", async (t) => {
  const cluster = await policyCluster(t);
  if (!cluster) return;
  const tenant = await newTenant(t, cluster);
  const operator = await chartAccount(t, cluster, "operator");
  const { node, pool } = await serve(cluster, operator, tenant);
  t.after(() => removeNode(cluster, node));
  const bound = await running(cluster, tenant.namespace, "app=t", node); // the scheduler bound it, kwok's kubelet runs it
  const kubelet = cluster.client(nodeIdentity(cluster, node));
  t.after(() => kubelet.close());
  const path = apiPath("v1", "nodes", { name: node });
  await kubelet.patch(`${path}/status`, { status: { nodeInfo: { kubeletVersion: "v1.36.3" } } });
  const at = apiPath("v1", "pods", { namespace: tenant.namespace, name: bound.metadata.name, subresource: "status" });
  await kubelet.patch(at, { status: { message: "by the kubelet" } });
  await killNode(cluster, node);
  const taints = await eventually(
    async () => {
      const object = await cluster.admin.get<{ spec: { taints: { key: string; value?: string }[] } }>(path);
      return object.spec.taints.some(({ key }) => key === "node.kubernetes.io/unreachable") && object.spec.taints;
    },
    {
      what: "the node lifecycle controller has tainted the dead node",
      watch: { client: cluster.admin, paths: ["/api/v1/nodes"] },
    },
  );
  assert.equal(taints.filter(({ key, value }) => key === taintKey && value === pool).length, 2);
});
