// The catalogue with the chart's own account on the real API server: entries come, others' objects stay, dropped entries go
// when nobody uses them, and a second start writes nothing.
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { stringify } from "yaml";
import { writeVerbs } from "../cluster/audit.ts";
import { apiPath } from "../cluster/client.ts";
import type { KubeObject } from "../cluster/client.ts";
import type { ControlPlane } from "../cluster/controlplane.ts";
import { eventually } from "../cluster/eventually.ts";
import { repoDir } from "../cluster/paths.ts";
import { ownCluster, requires } from "../cluster/session.ts";
import { startFromManifest } from "./rendered.ts";
import type { Replica } from "./rendered.ts";

const namespace = "berth-system";
const api = "berth.dev/v1alpha1";
const account = `system:serviceaccount:${namespace}:berth-operator`;
const wanted = ["all-minilm-l6-v2", "llama-3-1-8b-instruct", "phi-4", "qwen3-4b"];

interface Entry extends KubeObject {
  status?: {
    phase?: string;
    recorded?: boolean;
    architecture?: string;
    conditions?: { type: string; status: string; reason: string }[];
    nodeSupport?: { nodeType: string; quantizations: { bits: number; allowed: boolean; maxContextLength: number }[] }[];
  };
  spec: {
    description?: string;
    lifecycle?: string;
    source: { huggingFace: { repo: string; revision: string; tokenSecretRef?: { name: string } } };
  };
}

const path = (name = ""): string => apiPath(api, "clustermodels", { name });

async function release(cluster: ControlPlane, verb: "install" | "upgrade", catalogue: object): Promise<void> {
  const values = { catalogue: { enabled: true, tokenSecret: "hub", ...catalogue } };
  const args = [verb, "berth", join(repoDir, "charts", "berth"), "-n", namespace, "-f", "-"];
  const { code, stderr } = await cluster.helm(args, { input: stringify(values) });
  assert.equal(code, 0, stderr);
}

async function begin(t: TestContext, cluster: ControlPlane): Promise<Replica> {
  const replica = await startFromManifest({ cluster, release: "berth", namespace, component: "operator" });
  t.after(() => replica.stop());
  return replica;
}

async function shipped(cluster: ControlPlane): Promise<string[]> {
  const { items } = await cluster.admin.list<Entry>(path());
  return items
    .filter(({ metadata }) => metadata.labels?.["berth.dev/catalogue"] === "shipped")
    .map(({ metadata }) => metadata.name ?? "")
    .toSorted();
}

async function untilShipped(cluster: ControlPlane, names: readonly string[]): Promise<void> {
  await eventually(async () => JSON.stringify(await shipped(cluster)) === JSON.stringify(names), {
    what: `the entries are ${names.join(", ")}`,
    deadlineMs: 60_000,
    logDir: cluster.logDir,
  });
}

interface Told extends KubeObject {
  reason: string;
  note: string;
  regarding: { name: string };
}

async function untilTold(cluster: ControlPlane, name: string, reason: string): Promise<string> {
  return eventually(
    async () => {
      const { items } = await cluster.admin.list<Told>(apiPath("events.k8s.io/v1", "events", { namespace: "default" }));
      return items.find((event) => event.regarding.name === name && event.reason === reason)?.note;
    },
    { what: `an event ${reason} about ${name}`, deadlineMs: 60_000, logDir: cluster.logDir },
  );
}

async function newCluster(t: TestContext): Promise<ControlPlane> {
  const cluster = await ownCluster(t, { crdFolders: [], karpenter: false });
  const body = { apiVersion: "v1", kind: "Namespace", metadata: { name: namespace } };
  await cluster.admin.create("/api/v1/namespaces", body);
  await release(cluster, "install", { include: wanted });
  await eventually(async () => (await cluster.admin.list(path())).items.length === 0, {
    what: "ClusterModels are known",
  });
  return cluster;
}

const own = {
  apiVersion: api,
  kind: "ClusterModel",
  metadata: { name: "phi-4" },
  spec: { source: { huggingFace: { repo: "platform/phi-4" } } },
};
const nodeType = {
  apiVersion: api,
  kind: "NodeType",
  metadata: { name: "h100-1" },
  spec: {
    gpu: { product: "NVIDIA H100 80GB", count: 1, memory: "79Gi" },
    vcpus: 16,
    memory: "200Gi",
    provider: { static: { nodeSelector: { gpu: "h100" } } },
  },
};
const user = {
  apiVersion: api,
  kind: "ModelDeployment",
  metadata: { name: "chat", namespace: "default" },
  spec: { model: { kind: "ClusterModel", name: "qwen3-4b" }, nodeType: "none" },
};
const deployment = apiPath(api, "modeldeployments", { namespace: "default", name: "chat" });

test("entries come and go with the values; what others made, changed or use stays", async (t) => {
  if (!(await requires(t, "server-restart", "audit"))) return;
  const cluster = await newCluster(t);
  const mark = await cluster.audit.mark();
  await cluster.admin.create(path(), own);
  const first = await begin(t, cluster);
  await untilShipped(cluster, ["all-minilm-l6-v2", "llama-3-1-8b-instruct", "qwen3-4b"]);

  await t.test("an entry says what it is, where it comes from and at which commit", async () => {
    const { metadata, spec } = await cluster.admin.get<Entry>(path("llama-3-1-8b-instruct"));
    assert.equal(spec.lifecycle, "Current");
    assert.match(spec.source.huggingFace.revision, /^[0-9a-f]{40}$/);
    assert.deepEqual(spec.source.huggingFace.tokenSecretRef, { name: "hub" });
    type Managed = { managedFields?: { manager: string; operation: string; subresource?: string }[] };
    const managers = ((metadata as Managed).managedFields ?? []).filter(({ subresource }) => subresource === undefined);
    assert.deepEqual(
      managers.map(({ manager, operation }) => [manager, operation]),
      [["berth-catalogue", "Apply"]],
    );
    const open = await cluster.admin.get<Entry>(path("qwen3-4b"));
    assert.equal(open.spec.source.huggingFace.tokenSecretRef, undefined);
  });

  await t.test("without any hub an entry has its matrix, by what it records, and is no error", async () => {
    await cluster.admin.create(apiPath(api, "nodetypes"), nodeType);
    const model = await eventually(
      async () => {
        const found = await cluster.admin.get<Entry>(path("qwen3-4b"));
        return found.status?.nodeSupport && found.status.nodeSupport.length > 0 ? found : undefined;
      },
      { what: "the matrix of qwen3-4b is there", logDir: cluster.logDir },
    );
    const { status } = model;
    assert.equal(status?.recorded, true);
    assert.equal(status.phase, "Preparing");
    assert.equal(status.architecture, "Qwen3ForCausalLM");
    assert.deepEqual(
      status.conditions?.map(({ type, status: is, reason }) => [type, is, reason]),
      [["Ready", "False", "Recorded"]],
    );
    const [row] = status.nodeSupport ?? [];
    const plain = row?.quantizations.find(({ bits }) => bits === 16);
    assert.equal(row?.nodeType, "h100-1");
    assert.ok(plain?.allowed);
    assert.equal(plain.maxContextLength, 40_960);
  });

  await t.test("an object of the platform's own keeps its name and its fields", async () => {
    assert.match(await untilTold(cluster, "phi-4", "CatalogueNameTaken"), /catalogue\.exclude/);
    const { metadata, spec } = await cluster.admin.get<Entry>(path("phi-4"));
    assert.equal(metadata.labels, undefined);
    assert.deepEqual(spec.source.huggingFace, { repo: "platform/phi-4", revision: "main" });
  });

  await t.test("a field that somebody changed stays changed", async () => {
    await cluster.admin.patch(path("all-minilm-l6-v2"), { spec: { description: "ours now" } });
    assert.match(await untilTold(cluster, "all-minilm-l6-v2", "CatalogueEntryChanged"), /conflict with "berth-test"/);
    assert.equal((await cluster.admin.get<Entry>(path("all-minilm-l6-v2"))).spec.description, "ours now");
  });

  await t.test("an entry that was deleted comes back", async () => {
    const before = await cluster.admin.get<Entry>(path("all-minilm-l6-v2"));
    await cluster.admin.remove(path("all-minilm-l6-v2"));
    await eventually(
      async () => {
        const now = await cluster.admin.find<Entry>(path("all-minilm-l6-v2"));
        return now && now.metadata.uid !== before.metadata.uid && now.spec.description !== "ours now";
      },
      { what: "the entry is there again, as shipped", logDir: cluster.logDir },
    );
  });

  await t.test("a second start writes no entry", async () => {
    await first.stop();
    const then = await cluster.audit.mark();
    const second = await begin(t, cluster);
    await second.ready();
    await cluster.admin.create(apiPath(api, "modeldeployments", { namespace: "default" }), user);
    // Whoever reports the deployment has long looked at the entries.
    await eventually(async () => (await cluster.admin.get<{ status?: object }>(deployment)).status, {
      what: "the operator works",
      logDir: cluster.logDir,
    });
    const writes = await cluster.audit.since(then, { user: account, verbs: writeVerbs, resources: ["clustermodels"] });
    assert.deepEqual(writes, []);
    await second.stop();
  });

  await t.test("dropped entries go: an unused one at once, a used one when its last deployment has gone", async () => {
    await release(cluster, "upgrade", { include: ["all-minilm-l6-v2"] });
    await begin(t, cluster);
    assert.match(await untilTold(cluster, "qwen3-4b", "CatalogueEntryInUse"), /default\/chat/);
    await untilShipped(cluster, ["all-minilm-l6-v2", "qwen3-4b"]);
    await cluster.admin.remove(deployment);
    await untilShipped(cluster, ["all-minilm-l6-v2"]);
    assert.ok(await cluster.admin.find(path("phi-4")), "never the catalogue's to remove");
  });

  const requests = await cluster.audit.since(mark, { user: account, resources: ["clustermodels"] });
  assert.deepEqual(
    requests.filter(({ code }) => code === 403).map(({ uri }) => uri),
    [],
    "refused",
  );
  // An apply that creates is logged as a patch, and asks for both rights.
  const verbs = new Set(requests.map(({ verb }) => verb));
  assert.deepEqual([verbs.has("patch"), verbs.has("delete")], [true, true], "granted and never used");
});
