import assert from "node:assert/strict";
import { test } from "node:test";
import { ApiError, apiPath } from "../cluster/client.ts";
import { eventually } from "../cluster/eventually.ts";
import { addGpuNode, removeNode } from "../cluster/nodes.ts";
import { uniqueName } from "../cluster/session.ts";
import { grant, nodeIdentity, userIdentity } from "../cluster/users.ts";
import { api, claim, clusterEditor, deployment, pool, revision, uid } from "./objects.ts";
import {
  breakGlassGroup,
  chartAccount,
  newTenant,
  policyCluster,
  poolLabel,
  refusal,
  refusedBy,
  taintKey,
} from "./installed.ts";

test("claims are written by Berth alone, or with the glass broken", async (t) => {
  const cluster = await policyCluster(t);
  if (!cluster) return;
  const { namespace } = await newTenant(t, cluster);
  const operator = await chartAccount(t, cluster, "operator");
  const editor = await clusterEditor(t, cluster);
  const claims = apiPath(api, "capacityclaims");
  const name = uniqueName("claim");
  await operator.create(claims, claim(name, namespace));
  const status = { status: { lastSeenAt: "2026-01-01T00:00:00Z" } };
  await operator.patch(`${claims}/${name}/status`, status);
  const words = /capacityclaims(\/status)? is written by Berth alone/;
  await refusedBy("records", words, editor.create(claims, claim(uniqueName("claim"), namespace)), "create");
  await refusedBy("records", words, editor.patch(`${claims}/${name}`, { metadata: { labels: { a: "b" } } }), "patch");
  await refusedBy(
    "records",
    words,
    editor.patch(`${claims}/${name}/status`, { status: { lastSeenAt: null } }),
    "status",
  );
  await refusedBy("records", words, editor.remove(`${claims}/${name}`), "delete");
  await refusedBy(
    "records",
    words,
    editor.raw({ method: "DELETE", path: claims }).then(throwRefusal),
    "deletecollection",
  );
  const importer = await chartAccount(t, cluster, "importer");
  assert.match((await refusal(importer.remove(`${claims}/${name}`))) ?? "", /cannot delete resource/);
  const breaker = await clusterEditor(t, cluster, [breakGlassGroup]);
  await breaker.patch(`${claims}/${name}/status`, { status: { lastSeenAt: "2026-01-02T00:00:00Z" } });
  await operator.remove(`${claims}/${name}`);
});

function throwRefusal({ status, body }: { status: number; body: unknown }): void {
  if (status >= 400) throw new ApiError("DELETE", { status, body, headers: {} });
}

test("pools and their status are written by Berth alone", async (t) => {
  const cluster = await policyCluster(t);
  if (!cluster) return;
  const { client: tenant, namespace } = await newTenant(t, cluster);
  const operator = await chartAccount(t, cluster, "operator");
  const editor = await clusterEditor(t, cluster);
  const pools = apiPath(api, "gpunodepools", { namespace });
  await operator.create(pools, pool("chat"));
  await operator.patch(`${pools}/chat/status`, { status: { claimed: 1 } });
  const words = /gpunodepools(\/status)? is written by Berth alone/;
  await refusedBy("records", words, editor.create(pools, pool("more")), "create");
  await refusedBy("records", words, editor.patch(`${pools}/chat`, { spec: { size: 9 } }), "size");
  await refusedBy("records", words, editor.patch(`${pools}/chat/status`, { status: { claimed: 0 } }), "status");
  await refusedBy("records", words, editor.remove(`${pools}/chat`), "delete");
  assert.equal((await tenant.get(`${pools}/chat`)).metadata.name, "chat");
  assert.match((await refusal(tenant.patch(`${pools}/chat`, { spec: { size: 9 } }))) ?? "", /cannot patch resource/);
  await operator.remove(`${pools}/chat`);
});

test("a tenant edits deployments, models and replicas, and no status", async (t) => {
  const cluster = await policyCluster(t);
  if (!cluster) return;
  const { client: tenant, namespace } = await newTenant(t, cluster);
  const editor = await clusterEditor(t, cluster);
  const operator = await chartAccount(t, cluster, "operator");
  const importer = await chartAccount(t, cluster, "importer");
  const path = apiPath(api, "modeldeployments", { namespace });
  await tenant.create(path, deployment("chat"));
  await tenant.patch(`${path}/chat/scale`, { spec: { replicas: 2 } });
  assert.match((await refusal(tenant.patch(`${path}/chat/status`, { status: { replicas: 0 } }))) ?? "", /cannot patch/);
  const words = /modeldeployments\/status is written by Berth alone/;
  await refusedBy("records", words, editor.patch(`${path}/chat/status`, { status: { readyReplicas: 9 } }));
  await operator.patch(`${path}/chat/status`, { status: { readyReplicas: 1 } });
  const models = apiPath(api, "models", { namespace });
  const source = { s3: { endpoint: "https://s3.example.com", region: "x", bucket: "weights", prefix: "llama/" } };
  await tenant.create(models, { apiVersion: api, kind: "Model", metadata: { name: "llama" }, spec: { source } });
  const phase = { status: { phase: "Ready" } };
  await refusedBy("records", /models\/status is written by Berth alone/, editor.patch(`${models}/llama/status`, phase));
  await importer.patch(`${models}/llama/status`, { status: { phase: "Preparing" } });
  await tenant.get("/apis/berth.dev/v1alpha1/nodetypes");
  await tenant.get("/apis/berth.dev/v1alpha1/clustermodels");
  await tenant.remove(`${path}/chat`);
});

test("what Berth renders pods from cannot be forged or exchanged", async (t) => {
  const cluster = await policyCluster(t);
  if (!cluster) return;
  const { namespace } = await newTenant(t, cluster);
  const operator = await chartAccount(t, cluster, "operator");
  const editor = await clusterEditor(t, cluster);
  const path = apiPath("apps/v1", "controllerrevisions", { namespace });
  const ours = { labels: { "berth.dev/deployment-uid": uid } };
  const owned = { ownerReferences: [{ apiVersion: api, kind: "ModelDeployment", name: "chat", uid }] };
  const words = /controllerrevisions is written by Berth alone/;
  await refusedBy("records", words, editor.create(path, revision("a", ours)), "by label");
  await refusedBy("records", words, editor.create(path, revision("a", owned)), "by owner");
  await editor.create(path, revision("theirs"));
  await refusedBy("records", words, editor.patch(`${path}/theirs`, { metadata: ours }), "label added");
  await operator.create(path, revision("a", ours));
  const stripped = { metadata: { labels: null } };
  await refusedBy("records", words, editor.patch(`${path}/a`, stripped), "label removed");
  await refusedBy("records", words, editor.remove(`${path}/a`), "deleted");
  await editor.remove(`${path}/theirs`);
  await operator.remove(`${path}/a`);
});

test("label, taint and last claim of a node are Berth's, everything else of it is free", async (t) => {
  const cluster = await policyCluster(t);
  if (!cluster) return;
  const editor = await clusterEditor(t, cluster);
  const operator = await chartAccount(t, cluster, "operator");
  const node = uniqueName("node");
  await addGpuNode(cluster, { name: node });
  t.after(() => removeNode(cluster, node));
  const path = apiPath("v1", "nodes", { name: node });
  const label = (value: string | null): object => ({ metadata: { labels: { [poolLabel]: value } } });
  const lastClaim = (value: string | null): object => ({
    metadata: { annotations: { "berth.dev/last-claim": value } },
  });
  const taints = (...values: string[]): object => ({
    spec: { taints: values.map((value) => ({ key: taintKey, value, effect: "NoExecute" })) },
  });
  for (const subresource of ["", "/status"]) {
    const at = `${path}${subresource}`;
    await refusedBy("node-claims", /which pool a node belongs to/, editor.patch(at, label("p")), "label");
    await refusedBy("node-claims", /which pool a node belongs to/, editor.patch(at, lastClaim("{}")), "annotation");
  }
  await refusedBy("node-claims", /taint berth.dev\/dedicated is written by Berth/, editor.patch(path, taints("p")));
  await operator.patch(path, { ...label(uid), ...taints(uid) });
  await operator.patch(path, lastClaim("{}"));
  for (const at of [path, `${path}/status`]) {
    await refusedBy("node-claims", /which pool/, editor.patch(at, label("other")), "other label");
    await refusedBy("node-claims", /which pool/, editor.patch(at, label(null)), "no label");
    await refusedBy("node-claims", /which pool/, editor.patch(at, lastClaim(null)), "no annotation");
  }
  await refusedBy("node-claims", /taint/, editor.patch(path, taints("other")), "other taint");
  await refusedBy("node-claims", /taint/, editor.patch(path, { spec: { taints: null } }), "no taint");
  await refusedBy("node-claims", /taint/, editor.patch(path, taints(uid, uid)), "invalid or doubled taint").catch(
    (error: unknown) => assert.match(String(error), /taint/),
  );
  await editor.patch(path, {
    spec: { unschedulable: true },
    metadata: { labels: { mine: "yes" }, annotations: { a: "b" } },
  });
  await (await clusterEditor(t, cluster, [breakGlassGroup])).patch(path, { spec: { taints: null } });
  await editor.remove(path);
});

test("a kubelet cannot join a pool by itself, and may register with the taint", async (t) => {
  const cluster = await policyCluster(t);
  if (!cluster) return;
  const node = uniqueName("node");
  const kubelet = cluster.client(nodeIdentity(cluster, node));
  t.after(() => kubelet.close());
  t.after(() => removeNode(cluster, node));
  const body = (labels: object, taints: object[] = []): object => ({
    apiVersion: "v1",
    kind: "Node",
    metadata: { name: node, labels },
    spec: { taints },
  });
  const joined = await refusal(kubelet.create("/api/v1/nodes", body({ [poolLabel]: uid })));
  assert.match(joined ?? "", /not allowed to (set|modify)|which pool a node belongs to/);
  await kubelet.create("/api/v1/nodes", body({}, [{ key: taintKey, value: uid, effect: "NoSchedule" }]));
  const taken = kubelet.patch(apiPath("v1", "nodes", { name: node }), { metadata: { labels: { [poolLabel]: uid } } });
  assert.match((await refusal(taken)) ?? "", /not allowed to (set|modify)|which pool a node belongs to/);
});

test("a protected deployment stays until the protection is taken off, whoever asks", async (t) => {
  const cluster = await policyCluster(t);
  if (!cluster) return;
  const { client: tenant, namespace } = await newTenant(t, cluster);
  const path = apiPath(api, "modeldeployments", { namespace });
  await tenant.create(path, deployment("chat", { deletionProtection: true }));
  await tenant.create(path, deployment("other"));
  const words = /set spec.deletionProtection of modeldeployments.berth.dev chat to false/;
  await refusedBy("deletion-protection", words, tenant.remove(`${path}/chat`), "tenant");
  await refusedBy("deletion-protection", words, cluster.admin.remove(`${path}/chat`), "administrator");
  await refusedBy(
    "deletion-protection",
    words,
    tenant.raw({ method: "DELETE", path }).then(throwRefusal),
    "all of them",
  );
  await tenant.remove(`${path}/other`);
  await tenant.patch(`${path}/chat`, { spec: { deletionProtection: false } });
  await tenant.remove(`${path}/chat`);
  assert.equal(await cluster.admin.find(`${path}/chat`), undefined);
});

test("a namespace that holds a protected deployment cannot be deleted, nor its label taken off by others", async (t) => {
  const cluster = await policyCluster(t);
  if (!cluster) return;
  const { namespace } = await newTenant(t, cluster);
  const operator = await chartAccount(t, cluster, "operator");
  const editor = await clusterEditor(t, cluster);
  const path = apiPath("v1", "namespaces", { name: namespace });
  const label = (value: string | null): object => ({ metadata: { labels: { "berth.dev/deletion-protected": value } } });
  await operator.patch(path, label("true"));
  await refusedBy("deletion-protection", /holds a protected ModelDeployment/, editor.remove(path));
  await refusedBy("deletion-protection", /holds a protected ModelDeployment/, cluster.admin.remove(path));
  await refusedBy("namespace-labels", /goes when no ModelDeployment/, editor.patch(path, label(null)));
  await editor.patch(path, { metadata: { labels: { team: "a" } } });
  await operator.patch(path, label(null));
  await editor.remove(path);
  await eventually(async () => !(await cluster.admin.find(path)), { what: "the namespace is gone" });
});

test("a protected deployment outlives even a namespace that was deleted before Berth could label it", async (t) => {
  const cluster = await policyCluster(t);
  if (!cluster) return;
  const { client: tenant, namespace } = await newTenant(t, cluster);
  const path = apiPath(api, "modeldeployments", { namespace });
  await tenant.create(path, deployment("chat", { deletionProtection: true }));
  const at = apiPath("v1", "namespaces", { name: namespace });
  await cluster.admin.remove(at);
  await eventually(
    async () => {
      const { status } = await cluster.admin.get(at);
      return /deletionProtection of modeldeployments.berth.dev chat to false/.test(JSON.stringify(status));
    },
    { what: "the namespace says what holds it", deadlineMs: 60_000 },
  );
  assert.equal((await cluster.admin.get(`${path}/chat`)).metadata.deletionTimestamp, undefined);
  await cluster.admin.patch(`${path}/chat`, { spec: { deletionProtection: false } });
  await eventually(async () => !(await cluster.admin.find(at)), { what: "the namespace is gone", deadlineMs: 90_000 });
});

test("who may only edit namespaces cannot exempt one from the policy of dedicated nodes", async (t) => {
  const cluster = await policyCluster(t);
  if (!cluster) return;
  const user = uniqueName("namespaces");
  const rules = [{ apiGroups: [""], resources: ["namespaces"], verbs: ["*"] }];
  await grant(cluster, { kind: "User", name: user }, { name: user, rules });
  const client = cluster.client(userIdentity(cluster, user));
  t.after(() => client.close());
  const exempt = { "berth.dev/dedicated-nodes": "exempt" };
  const name = uniqueName("ns");
  const make = (labels: object): object => ({ apiVersion: "v1", kind: "Namespace", metadata: { name, labels } });
  const words = /only who may patch Nodes/;
  await refusedBy("namespace-labels", words, client.create("/api/v1/namespaces", make(exempt)), "created exempt");
  await client.create("/api/v1/namespaces", make({}));
  const path = apiPath("v1", "namespaces", { name });
  t.after(() => cluster.admin.remove(path));
  await refusedBy("namespace-labels", words, client.patch(path, { metadata: { labels: exempt } }), "made exempt");
  await (await clusterEditor(t, cluster)).patch(path, { metadata: { labels: exempt } });
  await client.patch(path, { metadata: { labels: { team: "b" } } });
});
