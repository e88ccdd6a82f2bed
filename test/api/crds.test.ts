// The seven CRDs on the real API server: accepted, explained, listed, scaled; good objects taken, bad ones refused in our words.
import { modelDeployments } from "../../operator/api/resources.ts";
import assert from "node:assert/strict";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import { parseAllDocuments } from "yaml";
import { rootSchema } from "../../operator/api/crd.ts";
import { API_VERSION, GROUP } from "../../operator/api/keys.ts";
import { kinds } from "../../operator/api/kinds.ts";
import { fieldsOf } from "../../operator/api/reference.ts";
import { samples } from "../../operator/api/samples.ts";
import type { KubeObject } from "../../operator/ports.ts";
import { apiPath } from "../cluster/client.ts";
import type { RawResponse } from "../cluster/client.ts";
import type { Cluster } from "../cluster/cluster.ts";
import { testCluster, testNamespace, uniqueName } from "../cluster/session.ts";
import { badModels } from "./bad/model.ts";
import { badDeployments } from "./bad/modeldeployment.ts";
import { badNodeTypes } from "./bad/nodetype.ts";
import type { BadObject } from "./bad/object.ts";
import { badRecords } from "./bad/records.ts";
import { unknownFields } from "./bad/unknown.ts";
import { badStatusUpdates, badUpdates } from "./bad/updates.ts";
import { edited } from "./edit.ts";

const repository = join(import.meta.dirname, "../..");
const DRY_RUN = "?dryRun=All&fieldValidation=Strict";
/** The server adds it where an error keeps it from evaluating CEL; its wording is not ours. */
const UNCHECKED = "some validation rules were not checked";

/** Minor version of Kubernetes whose own words stand in the tables. */
const TABLED_MINOR = "36";
const messages = kinds.flatMap((kind) => {
  const root = rootSchema(kind);
  const nodes = [root, ...fieldsOf(root).map(({ node }) => node)];
  return nodes.flatMap((node) => (node["x-kubernetes-validations"] ?? []).map(({ message }) => message));
});

interface Refusal {
  readonly message: string;
  readonly details?: { readonly causes?: readonly { readonly field: string; readonly message: string }[] };
}

let cluster: Cluster;
before(async () => {
  cluster = await testCluster();
});

function pathOf(kind: string, namespace: string, name?: string): string {
  const resource = kinds.find((one) => one.resource.kind === kind)?.resource;
  assert.ok(resource, `no kind ${kind}`);
  return apiPath(API_VERSION, resource.plural, {
    ...(resource.namespaced ? { namespace } : {}),
    ...(name === undefined ? {} : { name }),
  });
}

function causesOf(response: RawResponse): string[] {
  const refusal = response.body as Refusal;
  const causes = refusal.details?.causes ?? [];
  return causes
    .filter(({ message }) => !message.includes(UNCHECKED))
    .map(({ field, message }) => `${field}: ${message}`);
}

/** Every cause on the server that the tables were written for; on another one of BERTH_TEST_KUBECONFIG those in our words. */
async function assertCauses(response: RawResponse, wanted: readonly string[]): Promise<void> {
  assert.equal(response.status, 422, JSON.stringify(response.body));
  const given = causesOf(response);
  const { minor } = await cluster.admin.get<{ minor: string }>("/version");
  if (minor === TABLED_MINOR) return assert.deepEqual(given, wanted);
  const ours = wanted.filter((cause) => messages.some((message) => cause.endsWith(message)));
  for (const cause of ours) assert.ok(given.includes(cause), `${cause} is missing in ${JSON.stringify(given)}`);
}

/** The object in this namespace, where its kind has one. */
function placed(object: Record<string, unknown>, namespace: string, name?: string): Record<string, unknown> {
  const metadata = object["metadata"] as Record<string, unknown>;
  const where = "namespace" in metadata ? { namespace } : {};
  return { ...object, metadata: { ...metadata, ...where, ...(name === undefined ? {} : { name }) } };
}

async function tryCreate(kind: string, object: Record<string, unknown>, namespace = "default"): Promise<RawResponse> {
  const path = pathOf(kind, namespace) + DRY_RUN;
  return cluster.admin.raw({ method: "POST", path, body: placed(object, namespace) });
}

describe("CRDs", () => {
  for (const { resource, columns, shortName } of kinds) {
    test(`${resource.kind} is established and structural`, async () => {
      const name = `${resource.plural}.${GROUP}`;
      const crd = await cluster.admin.get<{ status: { conditions: { type: string; status: string }[] } }>(
        apiPath("apiextensions.k8s.io/v1", "customresourcedefinitions", { name }),
      );
      const status = new Map(crd.status.conditions.map((condition) => [condition.type, condition.status]));
      assert.equal(status.get("Established"), "True");
      assert.equal(status.get("NamesAccepted"), "True");
      assert.equal(status.get("NonStructuralSchema"), undefined);
    });

    test(`kubectl explain shows ${resource.kind} by its short name`, async () => {
      const { code, stdout, stderr } = await cluster.kubectl(["explain", `${shortName}.spec`]);
      assert.equal(code, 0, stderr);
      assert.match(stdout, new RegExp(`KIND: +${resource.kind}\n`));
      assert.ok(!stdout.includes("<empty>"), stdout);
    });

    test(`kubectl get shows the columns of ${resource.kind}`, async () => {
      const path = pathOf(resource.kind, "default");
      const { body } = await cluster.admin.raw({
        path,
        headers: { accept: "application/json;as=Table;v=v1;g=meta.k8s.io" },
      });
      const shown = (body as { columnDefinitions: { name: string; priority: number }[] }).columnDefinitions;
      assert.deepEqual(
        shown.map(({ name, priority }) => `${name} ${priority}`),
        ["Name 0", ...columns.map(({ name, wide }) => `${name} ${wide ? 1 : 0}`)],
      );
    });
  }

  test("the category berth names all seven", async () => {
    const { code, stdout, stderr } = await cluster.kubectl(["api-resources", "--categories=berth", "-o", "name"]);
    assert.equal(code, 0, stderr);
    const wanted = kinds.map(({ resource }) => `${resource.plural}.${GROUP}`);
    assert.deepEqual(stdout.trim().split("\n").sort(), wanted.sort());
  });
});

test("kubectl scale and the scale subresource work on a ModelDeployment", async (t) => {
  const namespace = await testNamespace(t);
  const resource = { namespace, name: "chat" };
  const path = apiPath(API_VERSION, modelDeployments.plural, resource);
  await cluster.admin.create(pathOf("ModelDeployment", namespace), placed(edited("ModelDeployment", {}), namespace));
  await cluster.admin.patch(`${path}/status`, { status: { replicas: 2, selector: "a=b" } });
  const { code, stderr } = await cluster.kubectl(["scale", "mdep/chat", "--replicas=5", "-n", namespace]);
  assert.equal(code, 0, stderr);
  const scale = await cluster.admin.get<{ spec: object; status: object }>(`${path}/scale`);
  assert.deepEqual([scale.spec, scale.status], [{ replicas: 5 }, { replicas: 2, selector: "a=b" }]);
  const tooMany = await cluster.kubectl(["scale", "mdep/chat", "--replicas=51", "-n", namespace]);
  assert.notEqual(tooMany.code, 0);
  assert.match(tooMany.stderr, /replicas is at most 50: create a second ModelDeployment for more/);
});

test("status is written through its subresource only", async (t) => {
  const namespace = await testNamespace(t);
  const object = { ...placed(edited("ModelDeployment", {}), namespace), status: { phase: "Ready" } };
  const created = await cluster.admin.create<KubeObject>(pathOf("ModelDeployment", namespace), object);
  assert.equal((created as { status?: unknown }).status, undefined);
});

test("what a user leaves out is filled in by the server", async () => {
  const deployment = edited("ModelDeployment", { spec: { model: { name: "m" }, nodeType: "n" } });
  const { body } = await tryCreate("ModelDeployment", deployment);
  assert.deepEqual((body as { spec: object }).spec, {
    model: { name: "m", kind: "Model" },
    nodeType: "n",
    replicas: 1,
    engine: {},
    suspend: false,
    deletionProtection: false,
    billing: {},
  });
  const source = { s3: { endpoint: "http://127.0.0.1:9000/", bucket: "abc" } };
  const model = await tryCreate("Model", edited("Model", { spec: { source } }));
  assert.deepEqual((model.body as { spec: object }).spec, {
    source: { s3: { ...source.s3, region: "us-east-1", addressingStyle: "Path", requesterPays: false, prefix: "" } },
    maxSize: "2Ti",
  });
});

const goodEdits: readonly (readonly [kind: string, title: string, edit: Record<string, unknown>])[] = [
  ["ModelDeployment", "a name of 52 characters", { "metadata.name": "a".repeat(52) }],
  ["ModelDeployment", "50 replicas", { "spec.replicas": 50 }],
  ["ModelDeployment", "a model of the catalogue", { "spec.model": { name: "llama.8b", kind: "ClusterModel" } }],
  [
    "ModelDeployment",
    "16 tags in any script",
    { "spec.billing.tags": Object.fromEntries(Array.from({ length: 16 }, (_, n) => [`k/${n}`, "价值 ü"])) },
  ],
  ["ModelDeployment", "a development version of the engine", { "spec.engine.version": "0.32.1rc1+cu130" }],
  ["Model", "an IPv6 endpoint with port", { "spec.source.s3.endpoint": "https://[2001:db8::1]:9000" }],
  ["Model", "a service name as endpoint", { "spec.source.s3.endpoint": "http://minio.storage.svc:9000/" }],
  ["Model", "a whole bucket", { "spec.source.s3.prefix": "" }],
  ["Model", "a prefix with dots and blanks in names", { "spec.source.s3.prefix": "models/Llama 3.1..8b" }],
  ["Model", "a size with a fraction", { "spec.maxSize": "1.5Ti" }],
  ["Model", "no licence", { "spec.license": undefined }],
  ["ClusterModel", "import on demand", { "spec.import": "OnDemand" }],
  ["NodeType", "static nodes", { "spec.provider": { static: { nodeSelector: { "nvidia.com/gpu.product": "H100" } } } }],
  [
    "NodeType",
    "Exists without values",
    { "spec.provider.karpenter.requirements.0": { key: "a/b", operator: "Exists" } },
  ],
  [
    "NodeType",
    "Gt with a number",
    { "spec.provider.karpenter.requirements.0": { key: "a/b", operator: "Gt", values: ["4"] } },
  ],
  ["NodeType", "GPUs of another vendor", { "spec.gpu.resourceName": "amd.com/gpu" }],
  ["NodeType", "a quota of nothing", { "spec.quota": { total: 0 } }],
  ["GPUNodePool", "no nodes", { "spec.size": 0 }],
];

describe("good objects", () => {
  for (const kind of Object.keys(samples)) {
    test(`${kind}: the sample of the docs`, async () => {
      const response = await tryCreate(kind, edited(kind, {}));
      assert.equal(response.status, 201, JSON.stringify(response.body));
    });
  }
  for (const [kind, title, edit] of goodEdits) {
    test(`${kind}: ${title}`, async () => {
      const response = await tryCreate(kind, edited(kind, edit));
      assert.equal(response.status, 201, JSON.stringify(response.body));
    });
  }
  for (const file of exampleFiles()) {
    test(`every object of our kinds in ${file}`, async () => {
      for (const document of parseAllDocuments(readFileSync(join(repository, file), "utf8"))) {
        const object = document.toJS() as (KubeObject & Record<string, unknown>) | null;
        if (object?.apiVersion !== API_VERSION) continue;
        const response = await tryCreate(object.kind ?? "", object);
        assert.equal(response.status, 201, JSON.stringify(response.body));
      }
    });
  }
});

function exampleFiles(): string[] {
  const folder = join(repository, "examples");
  if (!existsSync(folder)) return [];
  const names = readdirSync(folder, { recursive: true, encoding: "utf8" });
  return names.filter((name) => /\.ya?ml$/.test(name)).map((name) => `examples/${name}`);
}

describe("bad objects", () => {
  const all: readonly BadObject[] = [...badDeployments, ...badModels, ...badNodeTypes, ...badRecords];
  test("there are at least 60, and one or more for each message of ours", () => {
    assert.ok(all.length >= 60);
    const tabled = [...all, ...badUpdates, ...badStatusUpdates].flatMap(({ causes }) => causes);
    const unbroken = messages.filter((message) => !tabled.some((cause) => cause.endsWith(message)));
    assert.deepEqual(unbroken, []);
  });
  for (const { kind, title, edit, causes } of all) {
    test(`${kind}: ${title}`, async () => {
      const response = await tryCreate(kind, edited(kind, edit));
      await assertCauses(response, causes);
    });
  }
  for (const { kind, edit, message } of unknownFields) {
    test(`${kind}: ${message} under strict validation`, async () => {
      const response = await tryCreate(kind, edited(kind, edit));
      assert.equal(response.status, 400);
      const what = `${kind} in version "v1alpha1" cannot be handled as a ${kind}`;
      assert.equal((response.body as Refusal).message, `${what}: strict decoding error: ${message}`);
    });
  }
});

describe("bad changes", () => {
  for (const { kind, title, edit, causes } of badUpdates) {
    test(`${kind}: ${title}`, async (t) => {
      const namespace = await testNamespace(t);
      const name = uniqueName("it");
      const path = pathOf(kind, namespace, name);
      t.after(() => cluster.admin.remove(path));
      const created = await cluster.admin.create<KubeObject>(
        pathOf(kind, namespace),
        placed(edited(kind, {}), namespace, name),
      );
      const changed = placed(edited(kind, edit), namespace, name);
      const { resourceVersion } = created.metadata;
      Object.assign(changed["metadata"] as object, { resourceVersion });
      const response = await cluster.admin.raw({ method: "PUT", path, body: changed });
      await assertCauses(response, causes);
    });
  }
  for (const { kind, title, first, edit, causes } of badStatusUpdates) {
    test(`${kind}: ${title}`, async (t) => {
      const namespace = await testNamespace(t);
      const name = uniqueName("it");
      const path = pathOf(kind, namespace, name);
      t.after(() => cluster.admin.remove(path));
      await cluster.admin.create<KubeObject>(pathOf(kind, namespace), placed(edited(kind, {}), namespace, name));
      const { status } = placed(edited(kind, { status: {}, ...first }), namespace, name);
      await cluster.admin.patch(`${path}/status`, { status });
      const changed = placed(edited(kind, { status: {}, ...edit }), namespace, name);
      const headers = { "content-type": "application/merge-patch+json" };
      const body = { status: changed["status"] };
      const response = await cluster.admin.raw({ method: "PATCH", path: `${path}/status`, headers, body });
      await assertCauses(response, causes);
    });
  }
});
