// The whole product with the chart's own accounts, policies in force: nothing that it does is refused, and the rights that
// it has are the rights that it uses.
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { stringify } from "yaml";
import type { AuditEntry } from "../cluster/audit.ts";
import { apiPath } from "../cluster/client.ts";
import type { KubeObject } from "../cluster/client.ts";
import type { ControlPlane } from "../cluster/controlplane.ts";
import { eventually } from "../cluster/eventually.ts";
import { addGpuNode } from "../cluster/nodes.ts";
import { repoDir } from "../cluster/paths.ts";
import { startS3 } from "../cluster/s3.ts";
import type { S3Server } from "../cluster/s3.ts";
import { ownCluster, requires } from "../cluster/session.ts";
import { tenantIdentity } from "../cluster/users.ts";
import { tinyModel, uploadFiles } from "../models/tiny.ts";
import { podToken, startFetch, newFolder } from "../transfer/storerig.ts";
import type { Pod } from "../transfer/storerig.ts";
import { startFromManifest } from "./rendered.ts";

const namespace = "berth-system";
const tenant = "team-a";
const api = "berth.dev/v1alpha1";

const gpu = { product: "NVIDIA L4", count: 1, memory: "22Gi" };
const shape = { gpu, vcpus: 8, memory: "30Gi" };
const nodeTypes = [
  {
    name: "own",
    spec: { ...shape, provider: { static: { nodeSelector: { "node.kubernetes.io/instance-type": "gpu-l4-1" } } } },
  },
  {
    name: "bought",
    spec: {
      ...shape,
      provider: {
        karpenter: {
          nodeClassRef: { group: "karpenter.kwok.sh", kind: "KWOKNodeClass", name: "default" },
          requirements: [{ key: "node.kubernetes.io/instance-type", operator: "In", values: ["gpu-l4-1"] }],
        },
      },
    },
  },
];

async function installed(t: TestContext): Promise<{ cluster: ControlPlane; s3: S3Server }> {
  const cluster = await ownCluster(t, { crdFolders: [] });
  const s3 = await startS3();
  t.after(() => s3.stop());
  for (const bucket of ["ledger", "store", "weights"]) await s3.createBucket(bucket);
  const client = s3.client();
  await uploadFiles(client, "weights", "tiny/", tinyModel());
  client.destroy();
  for (const name of [namespace, tenant])
    await cluster.admin.create("/api/v1/namespaces", { apiVersion: "v1", kind: "Namespace", metadata: { name } });
  const keys = { accessKeyId: s3.accessKeyId, secretAccessKey: s3.secretAccessKey };
  const secret = { apiVersion: "v1", kind: "Secret", metadata: { name: "bucket" }, stringData: keys };
  await cluster.admin.create(apiPath("v1", "secrets", { namespace }), secret);
  await cluster.admin.create(apiPath("v1", "secrets", { namespace: tenant }), {
    ...secret,
    metadata: { name: "bucket", annotations: { "berth.dev/endpoints": s3.endpoint } },
    type: "berth.dev/source-credentials",
  });
  const place = (name: string): object => ({
    url: `s3://${name}/berth`,
    endpoint: s3.endpoint,
    existingSecret: "bucket",
  });
  const values = {
    ledger: place("ledger"),
    store: place("store"),
    // The chart's own pods must not lie on the nodes that the test wants to be free.
    operator: { nodeSelector: { role: "platform" } },
    importer: { allowHttpEndpoints: true, allowedEndpointCIDRs: ["127.0.0.1/32"], nodeSelector: { role: "platform" } },
    storeService: { nodeSelector: { role: "platform" } },
    tenantNamespaces: [tenant],
    nodeTypes,
    timing: {
      shrinkStabilizationSeconds: 0,
      drainGraceSeconds: 5,
      windowSeconds: 5,
      sealGraceSeconds: 1,
      sealSpreadSeconds: 1,
    },
  };
  const where = ["install", "berth", join(repoDir, "charts", "berth"), "-n", namespace, "-f", "-"];
  const { code, stderr } = await cluster.helm(where, { input: stringify(values) });
  assert.equal(code, 0, stderr);
  return { cluster, s3 };
}

interface Deployment extends KubeObject {
  status?: { readyReplicas?: number; conditions?: { type: string; status: string; reason: string; message: string }[] };
}

const path = (name = ""): string => apiPath(api, "modeldeployments", { namespace: tenant, name });

async function ready(cluster: ControlPlane, name: string, replicas: number): Promise<void> {
  await eventually(
    async () => {
      const { status } = await cluster.admin.get<Deployment>(path(name));
      const condition = status?.conditions?.find(({ type }) => type === "Ready");
      if (condition?.status !== "True") throw new Error(`${condition?.reason ?? "?"}: ${condition?.message ?? ""}`);
      return status?.readyReplicas === replicas;
    },
    { what: `${name} is Ready with ${String(replicas)}`, deadlineMs: 120_000, logDir: cluster.logDir },
  );
}

/** An apply that creates is logged as a patch, and asks for both rights. */
const appliedHere = ["gpunodepools", "nodetypes", "services", "deployments", "poddisruptionbudgets", "networkpolicies"];

/** Rights that this run need not use, each with the case that needs it. */
const unusedHere = new Set([
  ...appliedHere.map((resource) => `operator create ${resource}`),
  "operator patch events", // an event that is repeated
  "operator patch nodetypes", // an edited list of node types
  "operator patch ledgers", // a ledger that moved to another URL
  "operator patch clustermodels/status", // what each node type can do with a model for all
  "operator patch namespaces", // deletion protection
  "operator update modeldeployments/finalizers", // OwnerReferencesPermissionEnforcement alone asks for it
  "operator delete pods", // a drain beyond its grace
  "operator create nodeclaims", // an apply to one that is gone
  "operator delete nodeclaims", // a lost node
  "operator delete controllerrevisions", // more revisions than are kept
  "operator create tokenreviews", // the usage API
  "operator create subjectaccessreviews",
  "operator impersonate users", // no verb of a request: see noderestriction.test.ts
  "operator impersonate groups",
  "operator get leases", // the last sign of life of a lost node; the Lease that another replica holds
  "operator patch leases", // the head of the ledger, from the second sealed window on
  "importer get namespaces",
  "importer patch events",
  "importer patch leases", // an import that takes longer than a third of its Lease
  "importer get models", // a write that met an older object
  "importer get clustermodels",
  "importer patch clustermodels",
  "importer patch clustermodels/status",
  "importer get leases", // an import that another importer began
]);

interface Rules {
  readonly rules: readonly { readonly resources: readonly string[]; readonly verbs: readonly string[] }[];
}

async function granted(cluster: ControlPlane, component: string): Promise<string[]> {
  const rbac = "rbac.authorization.k8s.io/v1";
  const name = `berth-${component}`;
  const roles = await Promise.all([
    cluster.admin.get<Rules>(apiPath(rbac, "clusterroles", { name })),
    cluster.admin.find<Rules>(apiPath(rbac, "roles", { namespace, name })),
  ]);
  const all = roles.flatMap(({ rules } = { rules: [] }) =>
    rules.flatMap(({ resources, verbs }) =>
      resources.flatMap((resource) => verbs.map((verb) => `${verb} ${resource}`)),
    ),
  );
  return [...new Set(all.map((right) => `${component} ${right}`))];
}

/** Each serving pod fetches its model, as its init step would. */
async function fetched(t: TestContext, cluster: ControlPlane, url: string): Promise<void> {
  const { items } = await cluster.admin.list<Pod>(apiPath("v1", "pods", { namespace: tenant }));
  assert.ok(items.length >= 2);
  for (const pod of items) {
    const run = startFetch(newFolder(t), { url, token: await podToken(cluster, pod) });
    const { code, message } = await run.done;
    assert.equal(code, 0, message);
  }
}

test("a deployment lives its life on both providers with the chart's rights and under its policies", async (t) => {
  if (!(await requires(t, "server-restart", "karpenter"))) return;
  const { cluster, s3 } = await installed(t);
  const mark = await cluster.audit.mark();
  let storeUrl = "";
  for (const component of ["operator", "operator", "importer", "store"] as const) {
    const replica = await startFromManifest({ cluster, release: "berth", namespace, component });
    t.after(() => replica.stop());
    if (component === "store") storeUrl = replica.urls["store"] ?? "";
  }
  for (const name of ["node-1", "node-2"]) await addGpuNode(cluster, { name });
  const user = cluster.client(await tenantIdentity(cluster, tenant));
  t.after(() => user.close());
  const source = { endpoint: s3.endpoint, region: s3.region, bucket: "weights", prefix: "tiny/" };
  await user.create(apiPath(api, "models", { namespace: tenant }), {
    apiVersion: api,
    kind: "Model",
    metadata: { name: "tiny" },
    spec: { source: { s3: { ...source, credentialsSecretRef: { name: "bucket" } } }, license: { name: "mit" } },
  });
  for (const nodeType of ["own", "bought"]) {
    const spec = { model: { name: "tiny" }, nodeType };
    await user.create(path(), { apiVersion: api, kind: "ModelDeployment", metadata: { name: nodeType }, spec });
  }
  for (const name of ["own", "bought"]) {
    await ready(cluster, name, 1);
    await user.patch(`${path(name)}/scale`, { spec: { replicas: 2 } });
  }
  await fetched(t, cluster, storeUrl);
  for (const name of ["own", "bought"]) {
    await ready(cluster, name, 2);
    await user.patch(`${path(name)}/scale`, { spec: { replicas: 1 } });
  }
  for (const name of ["own", "bought"]) await ready(cluster, name, 1);
  for (const name of ["own", "bought"]) await user.remove(path(name));
  const gone = [path(), apiPath(api, "capacityclaims"), apiPath("karpenter.sh/v1", "nodeclaims")];
  await eventually(
    async () => (await Promise.all(gone.map((at) => cluster.admin.list(at)))).every(({ items }) => items.length === 0),
    { what: "deployments, claims and NodeClaims are gone", deadlineMs: 90_000, logDir: cluster.logDir },
  );
  await user.remove(apiPath(api, "models", { namespace: tenant, name: "tiny" }));
  await eventually(
    async () => !(await cluster.admin.find(apiPath(api, "models", { namespace: tenant, name: "tiny" }))),
    {
      what: "the model is gone",
    },
  );

  for (const component of ["operator", "importer", "store"]) {
    const account = `system:serviceaccount:${namespace}:berth-${component}`;
    const entries = await cluster.audit.since(mark, { user: account, started: true });
    // What the API server refuses to the kubelet that does not exist is what the dry run asks for.
    const own = entries.filter(({ impersonated }) => impersonated === undefined);
    assert.deepEqual(own.filter(({ code }) => code === 403).map(sentence), [], "refused");
    const used = new Set(entries.map(({ verb, resource }) => `${component} ${verb} ${resource}`));
    const idle = (await granted(cluster, component)).filter((right) => !used.has(right) && !unusedHere.has(right));
    assert.deepEqual(idle, [], "granted and never used");
  }
});

const sentence = ({ user, verb, resource, uri }: AuditEntry): string => `${user} ${verb} ${resource} ${uri}`;
