// The chart with the real helm on the real API server: its life from the first install to the last uninstall.
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { stringify } from "yaml";
import type { AuditMark } from "../cluster/audit.ts";
import { apiPath } from "../cluster/client.ts";
import type { KubeObject } from "../cluster/client.ts";
import type { Cluster, CommandResult } from "../cluster/cluster.ts";
import type { ControlPlane } from "../cluster/controlplane.ts";
import { eventually } from "../cluster/eventually.ts";
import { repoDir } from "../cluster/paths.ts";
import { ownCluster, requires } from "../cluster/session.ts";
import { helmWithHooks, hookValues } from "./hookrunner.ts";
import { startFromManifest } from "./rendered.ts";

const chart = join(repoDir, "charts", "berth");
const namespace = "berth-system";
const api = "berth.dev/v1alpha1";
const where = ["-n", namespace];

const nodeType = {
  name: "l4",
  spec: {
    gpu: { product: "NVIDIA L4", count: 1, memory: "23Gi" },
    vcpus: 8,
    memory: "30Gi",
    provider: { static: { nodeSelector: { "node.kubernetes.io/instance-type": "gpu-l4-1" } } },
  },
};

async function helm(cluster: Cluster, args: readonly string[], values?: object): Promise<CommandResult> {
  const result = await cluster.helm([...args, ...where, ...(values ? ["-f", "-"] : [])], {
    input: stringify(values ?? {}),
  });
  assert.equal(result.code, 0, result.stdout + result.stderr);
  return result;
}

const install = (cluster: Cluster, values?: object): Promise<CommandResult> =>
  helm(cluster, ["install", "berth", chart, "--create-namespace", ...hookValues], values);

async function without(t: TestContext): Promise<ControlPlane | undefined> {
  if (!(await requires(t, "server-restart"))) return undefined;
  return ownCluster(t, { crdFolders: [], karpenter: false });
}

async function workload(cluster: Cluster, tolerations: object[], name: string): Promise<void> {
  const at = { namespace: "default" };
  await cluster.admin.create(apiPath("apps/v1", "daemonsets", at), {
    apiVersion: "apps/v1",
    kind: "DaemonSet",
    metadata: { name },
    spec: {
      selector: { matchLabels: { app: name } },
      template: {
        metadata: { labels: { app: name } },
        spec: { tolerations, containers: [{ name: "main", image: "example/main:1" }] },
      },
    },
  });
}

const deployments = apiPath(api, "modeldeployments", { namespace: "default" });
const chat = {
  apiVersion: api,
  kind: "ModelDeployment",
  metadata: { name: "chat", finalizers: ["berth.dev/deployment", "example.com/other"] },
  spec: { model: { name: "llama" }, nodeType: "l4" },
};

async function crds(cluster: Cluster): Promise<string[]> {
  const { items } = await cluster.admin.list(apiPath("apiextensions.k8s.io/v1", "customresourcedefinitions"));
  return items.map(({ metadata }) => metadata.name ?? "").filter((name) => name.endsWith(".berth.dev"));
}

async function released(cluster: Cluster): Promise<string[]> {
  const paths = [
    apiPath("rbac.authorization.k8s.io/v1", "clusterroles"),
    apiPath("rbac.authorization.k8s.io/v1", "clusterrolebindings"),
    apiPath("admissionregistration.k8s.io/v1", "validatingadmissionpolicies"),
    apiPath("apps/v1", "deployments", { namespace }),
    apiPath("v1", "serviceaccounts", { namespace }),
    apiPath("batch/v1", "jobs", { namespace }),
  ];
  const lists = await Promise.all(paths.map((path) => cluster.admin.list(path)));
  return lists
    .flatMap(({ items }) => items.map(({ metadata }) => metadata.name ?? ""))
    .filter((name) => name.startsWith("berth"));
}

test("installed, upgraded, uninstalled and installed again: data, CRDs and claims stay", async (t) => {
  const cluster = await without(t);
  if (!cluster) return;
  await workload(cluster, [{ operator: "Exists" }], "exporter");
  await workload(cluster, [{ key: "example.com/x", operator: "Exists" }], "harmless");
  const { stdout } = await install(cluster, { tenantNamespaces: ["default"], nodeTypes: [nodeType] });
  assert.match(
    stdout,
    /ATTENTION[^]*DaemonSet default\/exporter[^]*kubectl label namespace default berth.dev\/dedicated-nodes=exempt/,
  );
  assert.doesNotMatch(stdout, /harmless/);
  assert.match(stdout, /kubectl get nodetypes.berth.dev/);
  assert.equal((await crds(cluster)).length, 7);
  await cluster.admin.create(deployments, { ...chat, metadata: { name: "chat" } });

  await cluster.admin.patch(apiPath("v1", "namespaces", { name: "default" }), {
    metadata: { labels: { "berth.dev/dedicated-nodes": "exempt" } },
  });
  const upgraded = await helm(cluster, ["upgrade", "berth", chart, "--reuse-values"], { logLevel: "debug" });
  assert.doesNotMatch(upgraded.stdout, /ATTENTION/);
  const at = apiPath("apps/v1", "deployments", { namespace, name: "berth-operator" });
  assert.match(JSON.stringify(await cluster.admin.get(at)), /--log-level=debug/);

  await cluster.admin.remove(`${deployments}/chat`);
  const models = apiPath(api, "models", { namespace: "default" });
  const source = { s3: { endpoint: "https://s3.example.com", region: "x", bucket: "weights", prefix: "llama/" } };
  await cluster.admin.create(models, { apiVersion: api, kind: "Model", metadata: { name: "llama" }, spec: { source } });
  const { code, stdout: gone, hooks } = await helmWithHooks(cluster, namespace, ["uninstall", "berth", ...where]);
  assert.equal(code, 0, gone);
  assert.deepEqual(
    hooks.map(({ exitCode }) => exitCode),
    [0],
  );
  assert.match(gone, /kept due to the resource policy/);
  assert.equal((await crds(cluster)).length, 7);
  await eventually(async () => (await released(cluster)).length === 0, { what: "nothing else of the release is left" });
  assert.ok(await cluster.admin.find(`${models}/llama`));

  await install(cluster);
  assert.ok(await cluster.admin.find(`${models}/llama`));
  assert.ok(await cluster.admin.find(apiPath("v1", "persistentvolumeclaims", { namespace, name: "berth-ledger" })));
});

test("helm uninstall is refused while deployments exist, and names them", async (t) => {
  const cluster = await without(t);
  if (!cluster) return;
  await install(cluster);
  await cluster.admin.create(deployments, chat);
  const before = await released(cluster);
  const { code, stderr, hooks } = await helmWithHooks(cluster, namespace, ["uninstall", "berth", ...where]);
  assert.notEqual(code, 0);
  assert.match(stderr, /berth-uninstall/);
  assert.match(hooks[0]?.output ?? "", /modeldeployment default\/chat/);
  assert.match(hooks[0]?.output ?? "", /--set uninstall.force=true/);
  for (const name of before) assert.ok((await released(cluster)).includes(name), `${name} is still there`);
  const { items } = await cluster.admin.list(apiPath("v1", "pods", { namespace }));
  const shown = items.filter(({ metadata }) => metadata.labels?.["app.kubernetes.io/component"] === "uninstall");
  assert.match(JSON.stringify(shown[0]?.status), /modeldeployment default\/chat/, "the pod's termination message");

  assert.match(hooks[0]?.output ?? "", /helm rollback berth 1 -n berth-system/);
  await helm(cluster, ["rollback", "berth", "1"]);
  // Forced: finalizers of Berth go, those of others stay, and what is left behind is told.
  await helm(cluster, ["upgrade", "berth", chart, "--reuse-values"], { uninstall: { force: true } });
  const forced = await helmWithHooks(cluster, namespace, ["uninstall", "berth", ...where]);
  assert.equal(forced.code, 0, forced.stderr + (forced.hooks[0]?.output ?? ""));
  assert.match(forced.hooks[0]?.output ?? "", /unmetered from now on: modeldeployment default\/chat/);
  const left = await cluster.admin.get(`${deployments}/chat`);
  assert.deepEqual(left.metadata.finalizers, ["example.com/other"]);
});

/** Requests of the chart's accounts that the API server refused for want of rights. */
async function forbidden(cluster: Cluster, mark: AuditMark): Promise<string[]> {
  const user = new RegExp(`^system:serviceaccount:${namespace}:`);
  const entries = await cluster.audit.since(mark, { user, codes: (code) => code === 403 });
  return entries.map(({ user: who, verb, resource, uri }) => `${who} ${verb} ${resource} ${uri}`);
}

test("operator and importer start with what the chart gives them, and are refused nothing", async (t) => {
  const cluster = await without(t);
  if (!cluster) return;
  const mark = await cluster.audit.mark();
  await install(cluster, {
    nodeTypes: [nodeType],
    importer: { allowHttpEndpoints: true, allowedEndpointCIDRs: ["127.0.0.1/32"] },
  });
  const operator = await startFromManifest({ cluster, release: "berth", namespace, component: "operator" });
  t.after(() => operator.stop());
  const importer = await startFromManifest({ cluster, release: "berth", namespace, component: "importer" });
  t.after(() => importer.stop());
  await Promise.all([operator.ready(), importer.ready()]);
  const path = apiPath(api, "nodetypes", { name: "l4" });
  const found = await eventually<KubeObject | undefined>(() => cluster.admin.find(path), {
    what: "the operator has applied the node type of the values",
    logDir: cluster.logDir,
  });
  assert.equal(found.metadata.name, "l4");
  assert.deepEqual(await forbidden(cluster, mark), []);
});
