/** A control plane with the whole operator in this process, and one tenant a test: its namespace, node type, nodes, model. */
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import type { GPUNodePool } from "../../operator/api/gpunodepool.ts";
import type { Workload } from "../../operator/api/kubernetes.ts";
import type { ModelDeployment } from "../../operator/api/modeldeployment.ts";
import type { NodeType } from "../../operator/api/nodetype.ts";
import { operatorConfig } from "../../operator/config.ts";
import type { Renderer } from "../../operator/plan/deployment/rollout.ts";
import { workloadName } from "../../operator/plan/identity.ts";
import { startOperator } from "../../operator/wire.ts";
import { ApiError, apiPath, type KubeObject } from "../cluster/client.ts";
import type { ControlPlane } from "../cluster/controlplane.ts";
import { eventually } from "../cluster/eventually.ts";
import { addGpuNode, removeNode } from "../cluster/nodes.ts";
import { ownCluster, testNamespace, uniqueName, type NamespaceOptions } from "../cluster/session.ts";

const BERTH = "berth.dev/v1alpha1";

export interface Stage {
  readonly cluster: ControlPlane;
  /** Folder of the directory ledger. */
  readonly ledger: string;
  /** Stops the operator and starts a new one, as an upgrade does. */
  restart(render?: Renderer): Promise<void>;
}

let opened: Promise<Stage> | undefined;
const closers: (() => void | Promise<void>)[] = [];

/** One for the whole file, whose top-level `after` must call closeStage; the first caller's flags are laid over the defaults. */
export function stage(flags: Readonly<Record<string, string>> = {}): Promise<Stage> {
  return (opened ??= openStage(flags));
}

export async function closeStage(): Promise<void> {
  for (const close of closers.reverse()) await close();
}

async function openStage(flags: Readonly<Record<string, string>>): Promise<Stage> {
  const ledger = mkdtempSync(join(tmpdir(), "berth-ledger-"));
  const cluster = await ownCluster(
    { after: (close) => closers.push(close as () => Promise<void>) } as Pick<TestContext, "after">,
    {
      karpenter: false,
    },
  );
  const path = apiPath("v1", "namespaces");
  await cluster.admin.create(path, { apiVersion: "v1", kind: "Namespace", metadata: { name: "berth-system" } });
  const start = (render?: Renderer) => startOperator(configFor(cluster, ledger, flags), {}, { render });
  let running = await start();
  closers.push(async () => {
    await running.stop();
    rmSync(ledger, { recursive: true });
  });
  return {
    cluster,
    ledger,
    async restart(render) {
      await running.stop();
      running = await start(render);
    },
  };
}

function configFor(cluster: ControlPlane, ledger: string, more: Readonly<Record<string, string>>) {
  const flags = {
    kubeconfig: cluster.adminKubeconfigPath,
    leaderElect: "false",
    ledgerUrl: `file://${ledger}`,
    engineImages: '[{"version":"0.32.0","image":"vllm/vllm-openai:v0.32.0"}]',
    berthImage: "berth:test",
    storeService: "http://berth-store.berth-system.svc:8090",
    logLevel: process.env["BERTH_TEST_LOG"] === "1" ? "debug" : "error",
    shrinkStabilizationSeconds: "1",
    drainGraceSeconds: "5",
    healthPort: "0",
    metricsPort: "0",
    usagePort: "0",
    ...more,
  };
  return operatorConfig(flags, {});
}

export interface TenantOptions extends Omit<NamespaceOptions, "cluster"> {
  /** Nodes of the tenant's own node type; default 1. */
  readonly nodes?: number;
  readonly quota?: object;
  /** More of the node type's spec. */
  readonly nodeTypeSpec?: object;
  /** Uses that node type, and makes none. */
  readonly nodeType?: string;
  /** False: no Model yet. */
  readonly model?: boolean;
}

export interface Tenant {
  readonly cluster: ControlPlane;
  readonly namespace: string;
  readonly nodeType: string;
  addNode(): Promise<void>;
  addModel(name?: string): Promise<void>;
  deploy(name: string, spec?: object): Promise<void>;
  patch(name: string, spec: object): Promise<void>;
  get(name: string): Promise<ModelDeployment>;
  find<T>(path: string): Promise<T | undefined>;
  pool(name: string): Promise<GPUNodePool>;
  workload(name: string): Promise<Workload>;
  pods(): Promise<readonly ServingPod[]>;
  nodes(): Promise<readonly KubeObject[]>;
  path(kind: string, name?: string): string;
  kubectl(...args: string[]): Promise<string>;
  /** Resolves with the deployment once `holds`; `what` continues "timed out waiting until". */
  until(name: string, what: string, holds: (seen: ModelDeployment) => boolean): Promise<ModelDeployment>;
  ready(name: string): Promise<ModelDeployment>;
}

export interface ServingPod extends KubeObject {
  readonly spec: { readonly nodeName?: string };
  readonly status?: { readonly phase?: string };
}

const GROUPS: Readonly<Record<string, string>> = {
  modeldeployments: BERTH,
  models: BERTH,
  gpunodepools: BERTH,
  deployments: "apps/v1",
  controllerrevisions: "apps/v1",
  pods: "v1",
  services: "v1",
  resourcequotas: "v1",
  events: "events.k8s.io/v1",
  persistentvolumeclaims: "v1",
  poddisruptionbudgets: "policy/v1",
  networkpolicies: "networking.k8s.io/v1",
};

export async function tenant(t: Pick<TestContext, "after">, options: TenantOptions = {}): Promise<Tenant> {
  const { cluster } = await stage();
  const { nodes = 1, quota = {}, model = true, nodeTypeSpec = {}, nodeType: given, ...rest } = options;
  const namespace = await testNamespace(t, { ...rest, cluster });
  const nodeType = given ?? uniqueName("l4");
  if (!given) {
    await cluster.admin.create(apiPath(BERTH, "nodetypes"), nodeTypeBody(nodeType, { quota, ...nodeTypeSpec }));
    t.after(() => cluster.admin.remove(apiPath(BERTH, "nodetypes", { name: nodeType })).catch(() => undefined));
  }
  const one = newTenant(t, cluster, namespace, nodeType);
  if (given) {
    if (model) await one.addModel();
    return one;
  }
  for (let count = 0; count < nodes; count++) await one.addNode();
  await eventually(async () => (await freeNodes(cluster, nodeType)) === nodes, { what: "the operator sees the nodes" });
  if (model) await one.addModel();
  return one;
}

async function freeNodes({ admin }: ControlPlane, name: string): Promise<number | undefined> {
  const { status } = await admin.get<NodeType>(apiPath(BERTH, "nodetypes", { name }));
  return status?.freeNodes;
}

function nodeTypeBody(name: string, more: object): KubeObject & { spec: object } {
  const gpu = { product: "NVIDIA L4", count: 1, memory: "22Gi" };
  const provider = { static: { nodeSelector: { "example.org/shape": name } } };
  return {
    apiVersion: BERTH,
    kind: "NodeType",
    metadata: { name },
    spec: { gpu, vcpus: 8, memory: "32Gi", provider, ...more },
  };
}

function newTenant(t: Pick<TestContext, "after">, cluster: ControlPlane, namespace: string, nodeType: string): Tenant {
  const { admin } = cluster;
  const path = (kind: string, name?: string): string => apiPath(GROUPS[kind] ?? BERTH, kind, { namespace, name });
  const get = (name: string): Promise<ModelDeployment> => admin.get(path("modeldeployments", name));
  const until: Tenant["until"] = (name, what, holds) =>
    eventually(
      async () => {
        const seen = await get(name);
        if (!holds(seen)) throw new Error(JSON.stringify(seen.status, undefined, 1));
        return seen;
      },
      { what, deadlineMs: 60_000, watch: { client: admin, paths: [path("modeldeployments")] }, logDir: cluster.logDir },
    );
  return {
    cluster,
    namespace,
    nodeType,
    path,
    get,
    until,
    async addNode() {
      const name = uniqueName("node");
      await addGpuNode(cluster, { name, labels: { "example.org/shape": nodeType } });
      await eventually(() => isNodeReady(cluster, name), { what: `node ${name} is ready` });
      t.after(() => removeNode(cluster, name).catch(() => undefined));
    },
    addModel: (name = "mini") => addModel(cluster, path, name),
    async deploy(name, spec = {}) {
      const body = { model: { name: "mini" }, nodeType, ...spec };
      const metadata = { name, namespace };
      await admin.create(path("modeldeployments"), {
        apiVersion: BERTH,
        kind: "ModelDeployment",
        metadata,
        spec: body,
      } as KubeObject);
    },
    async patch(name, spec) {
      await admin.patch(path("modeldeployments", name), { spec });
    },
    async find<T>(where: string) {
      return admin.get<T & KubeObject>(where).catch((error: unknown) => {
        if (error instanceof ApiError && error.status === 404) return undefined;
        throw error;
      });
    },
    pool: (name) => admin.get(path("gpunodepools", name)),
    async workload(name) {
      const { metadata } = await get(name);
      return admin.get(path("deployments", workloadName(name, metadata.uid ?? "")));
    },
    pods: async () => (await admin.list<ServingPod>(path("pods"))).items,
    async nodes() {
      const { items } = await admin.list(apiPath("v1", "nodes"));
      return items.filter(({ metadata }) => metadata.labels?.["example.org/shape"] === nodeType);
    },
    async kubectl(...args) {
      const { code, stdout, stderr } = await cluster.kubectl(["-n", namespace, ...args]);
      if (code !== 0) throw new Error(`kubectl ${args.join(" ")}: ${stderr}`);
      return stdout;
    },
    ready: (name) =>
      until(name, `${name} is Ready at its newest generation`, ({ metadata, status }) => {
        const ready = status?.conditions?.find(({ type }) => type === "Ready");
        return ready?.status === "True" && ready.observedGeneration === metadata.generation;
      }),
  };
}

interface NodeStatus extends KubeObject {
  readonly status?: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] };
}

async function isNodeReady({ admin }: ControlPlane, name: string): Promise<boolean> {
  const { status } = await admin.get<NodeStatus>(apiPath("v1", "nodes", { name }));
  return status?.conditions?.some((one) => one.type === "Ready" && one.status === "True") ?? false;
}

/** The importer's work, done by an administrator: a model of which one revision is in the store. */
async function addModel(cluster: ControlPlane, path: Tenant["path"], name: string): Promise<void> {
  const source = { s3: { endpoint: "https://s3.example.org", bucket: "models", prefix: `${name}/` } };
  const metadata = { name };
  await cluster.admin.create(path("models"), {
    apiVersion: BERTH,
    kind: "Model",
    metadata,
    spec: { source },
  } as KubeObject);
  const at = "2026-01-01T00:00:00Z";
  const digest = `sha256:${createHash("sha256").update(name).digest("hex")}`;
  const status = {
    digest,
    weightBytes: 90_000_000,
    contextLength: 512,
    kvBytesPerToken: 0,
    task: "Embed",
    shape: { attentionHeads: 12 },
    revisions: [{ number: 1, digest, sizeBytes: 90_000_000, importedAt: at }],
    conditions: [{ type: "Ready", status: "True", reason: "Imported", message: "imported", lastTransitionTime: at }],
  };
  await cluster.admin.patch(`${path("models", name)}/status`, { status });
}
