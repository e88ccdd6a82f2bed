import assert from "node:assert/strict";
import { before, test } from "node:test";
import { tally, writeVerbs } from "../cluster/audit.ts";
import type { Cluster } from "../cluster/cluster.ts";
import { ApiError, apiPath } from "../cluster/client.ts";
import type { KubeObject } from "../cluster/client.ts";
import { eventually } from "../cluster/eventually.ts";
import type { Truthy } from "../cluster/eventually.ts";
import { addGpuNode, killNode, removeNode } from "../cluster/nodes.ts";
import type { PodPlay } from "../cluster/stages.ts";
import { requires, testCluster, testNamespace, uniqueName } from "../cluster/session.ts";
import { bind, grant, nodeIdentity, serviceAccountIdentity, tenantIdentity, userIdentity } from "../cluster/users.ts";

let cluster: Cluster;
before(async () => {
  cluster = await testCluster();
});

interface Pod extends KubeObject {
  status?: {
    phase?: string;
    conditions?: { type: string; status: string }[];
    containerStatuses?: { state?: { waiting?: { reason?: string } } }[];
    initContainerStatuses?: { state?: { waiting?: { reason?: string }; terminated?: { exitCode: number } } }[];
  };
}

const isReady = (object: KubeObject): boolean =>
  ((object.status?.["conditions"] ?? []) as { type: string; status: string }[]).some(
    ({ type, status }) => type === "Ready" && status === "True",
  );

async function gpuNode(t: { after: (fn: () => Promise<void>) => void }): Promise<string> {
  const name = uniqueName("node");
  await addGpuNode(cluster, { name, instanceType: "gpu-h100-8", labels: { "test/node": name } });
  t.after(() => removeNode(cluster, name));
  return name;
}

function podOn(node: string, name: string, extra: object = {}): object {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name },
    spec: {
      nodeSelector: { "test/node": node },
      initContainers: [{ name: "fetch", image: "example/fetch:1" }],
      containers: [{ name: "main", image: "example/main:1", resources: { limits: { "nvidia.com/gpu": "1" } } }],
      ...extra,
    },
  };
}

function podSeen<T>(namespace: string, name: string, what: string, look: (pod: Pod) => T): Promise<Truthy<T>> {
  const path = apiPath("v1", "pods", { namespace });
  const read = async (): Promise<T> => look(await cluster.admin.get<Pod>(`${path}/${name}`));
  return eventually(read, { what, watch: { client: cluster.admin, paths: [path] }, logDir: cluster.logDir });
}

test("a pod asking for a GPU is scheduled to a played node and becomes ready", async (t) => {
  if (!(await requires(t, "kwok"))) return;
  const node = await gpuNode(t);
  const namespace = await testNamespace(t);
  const pods = apiPath("v1", "pods", { namespace });
  await eventually(() => cluster.admin.find(apiPath("v1", "serviceaccounts", { namespace, name: "default" })));
  await cluster.admin.create(pods, podOn(node, "p"));
  const pod = await podSeen(namespace, "p", "the pod is ready", (seen) => isReady(seen) && seen);
  assert.equal(pod.spec?.["nodeName"], node);
  assert.equal(pod.status?.initContainerStatuses?.[0]?.state?.terminated?.exitCode, 0);
  await cluster.admin.remove(`${pods}/p`);
  await eventually(async () => !(await cluster.admin.find(`${pods}/p`)), { what: "the pod is gone" });
});

const parts: readonly { play: PodPlay; phase: string; waiting?: string; initWaiting?: string }[] = [
  { play: "crash-loop", phase: "Running", waiting: "CrashLoopBackOff" },
  { play: "image-pull", phase: "Pending", waiting: "ImagePullBackOff" },
  { play: "init-crash-loop", phase: "Pending", initWaiting: "CrashLoopBackOff" },
  { play: "never-ready", phase: "Running" },
  { play: "fail", phase: "Failed" },
];

for (const { play, phase, waiting, initWaiting } of parts) {
  test(`every pod of a namespace that plays ${play} does so`, async (t) => {
    if (!(await requires(t, "kwok"))) return;
    const node = await gpuNode(t);
    const namespace = await testNamespace(t, { play });
    await eventually(() => cluster.admin.find(apiPath("v1", "serviceaccounts", { namespace, name: "default" })));
    await cluster.admin.create(apiPath("v1", "pods", { namespace }), podOn(node, "p"));
    const status = await podSeen(namespace, "p", `the pod plays ${play}`, (pod) => {
      const played = pod.status?.phase === phase && pod.status.containerStatuses !== undefined;
      return played && !isReady(pod) && pod.status;
    });
    assert.equal(status.containerStatuses?.[0]?.state?.waiting?.reason, initWaiting ? "PodInitializing" : waiting);
    if (initWaiting) assert.equal(status.initContainerStatuses?.[0]?.state?.waiting?.reason, initWaiting);
  });
}

test("a slow pod runs first and is ready after its delay, and a pod can change its part", async (t) => {
  if (!(await requires(t, "kwok"))) return;
  const node = await gpuNode(t);
  const namespace = await testNamespace(t, { play: "slow-500ms", drain: "500ms" });
  await eventually(() => cluster.admin.find(apiPath("v1", "serviceaccounts", { namespace, name: "default" })));
  const pods = apiPath("v1", "pods", { namespace });
  await cluster.admin.create(pods, podOn(node, "p"));
  await podSeen(namespace, "p", "the pod runs", (pod) => pod.status?.phase === "Running");
  await podSeen(namespace, "p", "the pod is ready", isReady);
  await cluster.admin.patch(`${pods}/p`, { metadata: { annotations: { "test.berth.dev/play": "crash-loop" } } });
  await podSeen(namespace, "p", "the pod crashes", (pod) => !isReady(pod));
  await cluster.admin.remove(`${pods}/p`);
  assert.ok(await cluster.admin.find(`${pods}/p`), "a draining pod stays for a while");
  await eventually(async () => !(await cluster.admin.find(`${pods}/p`)), { what: "the pod is gone" });
});

test("a killed node is Unknown, keeps its pods and is left alone by kwok", async (t) => {
  if (!(await requires(t, "kwok"))) return;
  const node = await gpuNode(t);
  const path = apiPath("v1", "nodes", { name: node });
  const lease = apiPath("coordination.k8s.io/v1", "leases", { namespace: "kube-node-lease", name: node });
  await eventually(async () => isReady(await cluster.admin.get(path)), { what: "the node is ready" });
  await eventually(() => cluster.admin.find(lease), { what: "kwok holds the node's lease" });
  await killNode(cluster, node);
  assert.equal(isReady(await cluster.admin.get(path)), false);
  const tainted = async (): Promise<boolean> => {
    const { taints = [] } = (await cluster.admin.get(path)).spec as { taints?: { key: string }[] };
    return taints.some(({ key }) => key === "node.kubernetes.io/unreachable");
  };
  await eventually(tainted, { what: "the controllers taint the node as unreachable" });
  assert.equal(isReady(await cluster.admin.get(path)), false);
});

test("the audit log counts one user's writes exactly", async (t) => {
  if (!(await requires(t, "audit"))) return;
  const namespace = await testNamespace(t);
  const user = uniqueName("writer");
  const tenant = cluster.client(await tenantIdentity(cluster, namespace, { user }));
  t.after(() => tenant.close());
  const maps = apiPath("v1", "configmaps", { namespace });
  const allowed = async (): Promise<boolean> => (await tenant.raw({ path: maps })).status === 200;
  await eventually(allowed, { what: "the role binding has arrived" });
  const mark = await cluster.audit.mark();
  await tenant.create(maps, { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "a" } });
  await tenant.patch(`${maps}/a`, { data: { k: "v" } });
  await tenant.get(`${maps}/a`);
  await tenant.patch(`${maps}/b`, { data: {} }).catch(() => undefined);
  await tenant.remove(`${maps}/a`);
  assert.deepEqual(tally(await cluster.audit.since(mark, { user, verbs: writeVerbs })), {
    "create configmaps 201": 1,
    "delete configmaps 200": 1,
    "patch configmaps 200": 1,
    "patch configmaps 404": 1,
  });
  assert.equal((await cluster.audit.since(mark, { user, verbs: ["get"] })).length, 1);
});

const whoAmI = async (client: Cluster["admin"]): Promise<{ username: string; groups: string[] }> => {
  const review = { apiVersion: "authentication.k8s.io/v1", kind: "SelfSubjectReview" };
  const answer = await client.create<{ status: { userInfo: { username: string; groups: string[] } } }>(
    "/apis/authentication.k8s.io/v1/selfsubjectreviews",
    review,
  );
  return answer.status.userInfo;
};

test("anybody can be a user, a kubelet or a service account, with exactly the rights given", async (t) => {
  const namespace = await testNamespace(t);
  const node = uniqueName("kubelet");
  const clients = [
    { client: cluster.client(userIdentity(cluster, "jo", ["team-a"])), username: "jo", group: "team-a" },
    { client: cluster.client(nodeIdentity(cluster, node)), username: `system:node:${node}`, group: "system:nodes" },
    {
      client: cluster.client(await serviceAccountIdentity(cluster, namespace, "robot")),
      username: `system:serviceaccount:${namespace}:robot`,
      group: `system:serviceaccounts:${namespace}`,
    },
  ] as const;
  t.after(() => Promise.all(clients.map(({ client }) => client.close())));
  for (const { client, username, group } of clients) {
    const me = await whoAmI(client);
    assert.equal(me.username, username);
    assert.ok(me.groups.includes(group), `${username} is in ${me.groups.join()}`);
  }
  const robot = clients[2].client;
  const secrets = apiPath("v1", "secrets", { namespace });
  await assert.rejects(robot.get(secrets), (error) => error instanceof ApiError && error.status === 403);
  const subject = { kind: "ServiceAccount", name: "robot", namespace } as const;
  await grant(cluster, subject, {
    name: "robot",
    namespace,
    rules: [{ apiGroups: [""], resources: ["secrets"], verbs: ["list"] }],
  });
  await eventually(() => robot.list(secrets), { what: "the role has arrived" });
  await bind(cluster, subject, { name: "viewer", namespace, role: { kind: "ClusterRole", name: "view" } });
  await eventually(() => robot.list(apiPath("v1", "pods", { namespace })), { what: "the binding has arrived" });
});

test("kubectl and helm run as whom one likes", async (t) => {
  const namespace = await testNamespace(t);
  const identity = await tenantIdentity(cluster, namespace);
  const allowed = await cluster.kubectl(["auth", "can-i", "create", "deployments", "-n", namespace], { identity });
  assert.equal(allowed.stdout.trim(), "yes");
  const refused = await cluster.kubectl(["get", "nodes"], { identity });
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /forbidden/);
  const version = await cluster.helm(["version", "--short"]);
  assert.match(version.stdout, /^v4\./);
});

test("a wait that fails says what it saw last", async () => {
  await assert.rejects(
    eventually(() => assert.equal(1, 2), { deadlineMs: 50, what: "one is two", logDir: "/some/logs" }),
    /waiting until one is two; last seen: [^]*1 !== 2[^]*logs: \/some\/logs/,
  );
});
