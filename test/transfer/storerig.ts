// What the tests of `berth store` and `berth fetch` share: the chart installed with operator, importer and store as the
// rendered manifests say, a tenant on own nodes and one on Karpenter's, real pods bound by the real scheduler, and
// `berth fetch` as a process with a real token of such a pod.
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { stringify } from "yaml";
import { apiPath } from "../cluster/client.ts";
import type { KubeObject } from "../cluster/client.ts";
import type { ControlPlane } from "../cluster/controlplane.ts";
import { eventually } from "../cluster/eventually.ts";
import { startFaultProxy } from "../cluster/faultproxy.ts";
import type { FaultProxy } from "../cluster/faultproxy.ts";
import { addGpuNode } from "../cluster/nodes.ts";
import { repoDir } from "../cluster/paths.ts";
import { startS3 } from "../cluster/s3.ts";
import type { S3Server } from "../cluster/s3.ts";
import { ownCluster } from "../cluster/session.ts";
import { serviceAccountIdentity } from "../cluster/users.ts";
import { berthProgram, startFromManifest } from "../chart/rendered.ts";
import type { Replica } from "../chart/rendered.ts";
import { llamaFolder } from "../models/llama.ts";
import { tinyModel, uploadFiles } from "../models/tiny.ts";
import { uploadFolder } from "../models/upload.ts";
import type { StoreKind } from "./bench.ts";

export const release = "berth";
export const namespace = "berth-system";
/** Deploys the large model on a static node. */
export const first = "team-a";
/** Deploys the small one on a node that Karpenter made. */
export const second = "team-b";

const api = "berth.dev/v1alpha1";
const gpu = { product: "NVIDIA L4", count: 1, memory: "22Gi" };
const shape = { gpu, vcpus: 8, memory: "30Gi" };
const instanceType = "node.kubernetes.io/instance-type";
const nodeTypes = [
  { name: "own", spec: { ...shape, provider: { static: { nodeSelector: { [instanceType]: "gpu-l4-1" } } } } },
  {
    name: "bought",
    spec: {
      ...shape,
      provider: {
        karpenter: {
          nodeClassRef: { group: "karpenter.kwok.sh", kind: "KWOKNodeClass", name: "default" },
          requirements: [{ key: instanceType, operator: "In", values: ["gpu-l4-1"] }],
        },
      },
    },
  },
];

/** Some 96 MB in two shards: a dozen parts. */
export const largeModel = llamaFolder({ weightBytes: 96e6, shards: 2 });

export interface Pod extends KubeObject {
  metadata: KubeObject["metadata"] & { uid: string; name: string; labels?: Record<string, string> };
  spec: { nodeName?: string } & Record<string, unknown>;
}

interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
}

export interface StoreRig {
  readonly cluster: ControlPlane;
  readonly s3: S3Server;
  /** In front of the S3 server, where pods may be redirected there. */
  readonly storage?: FaultProxy | undefined;
  /** Folder of the store's objects: `models/…` below it. */
  readonly storeDir: string;
  startStore(): Promise<Replica>;
  /** The serving pod of that tenant. */
  servingPod(tenant: string): Promise<Pod>;
}

async function prepare(cluster: ControlPlane, s3: S3Server, model: string): Promise<void> {
  for (const bucket of ["ledger", "store", "weights"]) await s3.createBucket(bucket);
  const client = s3.client();
  await uploadFiles(client, "weights", "tiny/", tinyModel());
  await uploadFolder(client, "weights", "large/", model);
  client.destroy();
  for (const name of [namespace, first, second])
    await cluster.admin.create("/api/v1/namespaces", { apiVersion: "v1", kind: "Namespace", metadata: { name } });
  const keys = { accessKeyId: s3.accessKeyId, secretAccessKey: s3.secretAccessKey };
  const secret = { apiVersion: "v1", kind: "Secret", metadata: { name: "bucket" }, stringData: keys };
  await cluster.admin.create(apiPath("v1", "secrets", { namespace }), secret);
  for (const tenant of [first, second]) {
    await cluster.admin.create(apiPath("v1", "secrets", { namespace: tenant }), {
      ...secret,
      metadata: { name: "bucket", annotations: { "berth.dev/endpoints": s3.endpoint } },
      type: "berth.dev/source-credentials",
    });
  }
}

/** The importer's private key, and the public ones that serving pods are told to trust, in PEM. */
export interface SigningKeys {
  readonly privatePem: string;
  readonly publicPems: readonly string[];
}

async function keepKey(cluster: ControlPlane, { privatePem }: SigningKeys): Promise<void> {
  await cluster.admin.create(apiPath("v1", "secrets", { namespace }), {
    apiVersion: "v1",
    kind: "Secret",
    metadata: { name: "manifest-key" },
    stringData: { "key.pem": privatePem },
  });
}

/** With an `endpoint`, serving pods may read there themselves: the S3 server, or a proxy in front of it under whose address it signs. */
async function install(
  cluster: ControlPlane,
  s3: S3Server,
  kind: StoreKind,
  { endpoint, signing }: { readonly endpoint?: string | undefined; readonly signing?: SigningKeys | undefined },
): Promise<void> {
  const place = (name: string): object => ({
    url: `s3://${name}/berth`,
    endpoint: s3.endpoint,
    existingSecret: "bucket",
  });
  // The chart's own pods must not lie on the nodes that the test wants to be free.
  const nodeSelector = { role: "platform" };
  const signed = signing ? { signing: { existingSecret: "manifest-key", trustedKeys: signing.publicPems } } : {};
  const values = {
    ledger: place("ledger"),
    ...(kind === "s3" ? { store: place("store") } : {}),
    ...(endpoint ? { store: { ...place("store"), endpoint, redirectCIDRs: ["127.0.0.1/32"] } } : {}),
    operator: { nodeSelector },
    importer: { allowHttpEndpoints: true, allowedEndpointCIDRs: ["127.0.0.1/32"], nodeSelector, ...signed },
    storeService: { nodeSelector },
    tenantNamespaces: [first, second],
    nodeTypes,
    timing: { shrinkStabilizationSeconds: 0, drainGraceSeconds: 5 },
  };
  const where = ["install", release, join(repoDir, "charts", "berth"), "-n", namespace, "-f", "-"];
  const { code, stderr } = await cluster.helm(where, { input: stringify(values) });
  if (code !== 0) throw new Error(stderr);
}

async function deploy(cluster: ControlPlane, s3: S3Server, tenant: string, prefix: string): Promise<void> {
  const source = { endpoint: s3.endpoint, region: s3.region, bucket: "weights", prefix };
  await cluster.admin.create(apiPath(api, "models", { namespace: tenant }), {
    apiVersion: api,
    kind: "Model",
    metadata: { name: "model" },
    spec: { source: { s3: { ...source, credentialsSecretRef: { name: "bucket" } } }, license: { name: "mit" } },
  });
  await cluster.admin.create(apiPath(api, "modeldeployments", { namespace: tenant }), {
    apiVersion: api,
    kind: "ModelDeployment",
    metadata: { name: "chat" },
    spec: { model: { name: "model" }, nodeType: tenant === first ? "own" : "bought" },
  });
}

/** One store of that kind behind both tenants' deployments, each with a pod on its node; `model` is what the first one runs. */
export async function startStoreRig(
  t: Pick<TestContext, "after">,
  kind: StoreKind,
  model = largeModel,
  options: { readonly redirects?: "direct" | "through a proxy"; readonly signing?: SigningKeys } = {},
): Promise<StoreRig> {
  const { redirects, signing } = options;
  const cluster = await ownCluster(t as TestContext, { crdFolders: [] });
  const s3 = await startS3();
  t.after(() => s3.stop());
  await prepare(cluster, s3, model);
  const isProxied = redirects === "through a proxy";
  const storage = isProxied ? await startFaultProxy({ target: s3.endpoint, dialect: "s3" }) : undefined;
  if (storage) t.after(() => storage.close());
  if (signing) await keepKey(cluster, signing);
  await install(cluster, s3, kind, { endpoint: storage?.url ?? (redirects ? s3.endpoint : undefined), signing });
  let storeDir = join(s3.dir, "store", "berth");
  for (const component of ["operator", "importer"] as const) {
    const replica = await startFromManifest({ cluster, release, namespace, component });
    t.after(() => replica.stop());
    if (component === "importer" && kind === "file")
      storeDir = replica.process.folders["/var/lib/berth/store"] ?? storeDir;
  }
  await addGpuNode(cluster, { name: "own-1" });
  await addGpuNode(cluster, { name: "plain-1", instanceType: "cpu-4" });
  await deploy(cluster, s3, first, "large/");
  await deploy(cluster, s3, second, "tiny/");
  const rig: StoreRig = {
    cluster,
    s3,
    storage,
    storeDir,
    startStore: async () => {
      const store = await startFromManifest({ cluster, release, namespace, component: "store" });
      t.after(() => store.stop());
      await store.ready();
      return store;
    },
    servingPod: (tenant) =>
      eventually(
        async () => {
          const { items } = await cluster.admin.list<Pod>(apiPath("v1", "pods", { namespace: tenant }));
          const found = items.find(({ spec, metadata }) => spec.nodeName && metadata.labels?.["berth.dev/revision"]);
          if (found) return found;
          const path = apiPath(api, "modeldeployments", { namespace: tenant, name: "chat" });
          const { status } = await cluster.admin.get<KubeObject & { status?: { conditions?: Condition[] } }>(path);
          const why = status?.conditions?.filter((condition) => condition.status !== "True") ?? [];
          throw new Error(why.map(({ type, reason, message }) => `${type} ${reason}: ${message}`).join("; "));
        },
        { what: `a serving pod of ${tenant} has its node`, deadlineMs: 120_000, logDir: cluster.logDir },
      ),
  };
  await Promise.all([rig.servingPod(first), rig.servingPod(second)]);
  return rig;
}

/** A token as the kubelet projects it into the pod. */
export async function podToken(cluster: ControlPlane, pod: Pod, audiences = ["berth-store"]): Promise<string> {
  const { name, uid, namespace: tenant = "" } = pod.metadata;
  const boundPod = { name, uid };
  const account = (pod.spec["serviceAccountName"] as string | undefined) ?? "default";
  return (await serviceAccountIdentity(cluster, tenant, account, { audiences, boundPod })).token;
}

export interface FetchProcess {
  readonly pid: number;
  readonly into: string;
  /** Lines of its log so far. */
  lines(): readonly Record<string, unknown>[];
  kill(signal?: NodeJS.Signals): void;
  readonly done: Promise<{ readonly code: number | null; readonly message: string }>;
}

/** A folder of the test, gone with it. */
export function newFolder(t: Pick<TestContext, "after">): string {
  const folder = mkdtempSync(join(tmpdir(), "berth-fetch-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** `berth fetch` with its token in a file, as the init step of a pod runs it; `into` of an earlier run is gone on with. */
export function startFetch(
  folder: string,
  options: {
    readonly url: string;
    readonly token: string;
    readonly args?: readonly string[];
    /** `model` in the folder where absent. */
    readonly into?: string;
  },
): FetchProcess {
  const { into = join(folder, "model") } = options;
  const message = join(folder, "termination-log");
  mkdirSync(into, { recursive: true });
  writeFileSync(message, "");
  writeFileSync(join(folder, "token"), options.token);
  const flags = ["--store", options.url, "--into", into, "--token-file", join(folder, "token")];
  const more = ["--termination-log", message, "--patience-seconds", "20", "--progress-seconds", "1"];
  const args = [...berthProgram(), "fetch", ...flags, ...more, ...(options.args ?? [])];
  const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", ...args], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  let log = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => void (log += text));
  const done = new Promise<{ code: number | null; message: string }>((resolve) => {
    child.once("close", (code) => resolve({ code, message: readFileSync(message, "utf8") }));
  });
  return {
    pid: child.pid ?? 0,
    into,
    lines: () =>
      log
        .split("\n")
        .filter((line) => line.startsWith("{") && line.endsWith("}"))
        .map((line) => JSON.parse(line) as Record<string, unknown>),
    kill: (signal = "SIGKILL") => void child.kill(signal),
    done,
  };
}
