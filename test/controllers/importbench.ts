// A control plane, an S3 server and an importer with exactly the rights that the chart gives it, for tests of models.
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { randomBytes } from "node:crypto";
import { openSync } from "node:fs";
import { join } from "node:path";
import { after } from "node:test";
import { startImporter } from "../../operator/importer.ts";
import type { Importer, ImporterSettings } from "../../operator/importer.ts";
import { newBase } from "../../operator/process.ts";
import type { Base } from "../../operator/process.ts";
import type { ClusterModel, Model, ModelStatus } from "../../operator/api/model.ts";
import { openStore } from "../../operator/adapters/store/open.ts";
import type { ObjectStore } from "../../operator/ports.ts";
import { apiPath } from "../cluster/client.ts";
import type { ControlPlane } from "../cluster/controlplane.ts";
import { eventually } from "../cluster/eventually.ts";
import { startFaultProxy } from "../cluster/faultproxy.ts";
import type { FaultProxy, SeenRequest } from "../cluster/faultproxy.ts";
import { startS3 } from "../cluster/s3.ts";
import type { S3Server } from "../cluster/s3.ts";
import { ownCluster } from "../cluster/session.ts";
import { bind, grant, serviceAccountIdentity } from "../cluster/users.ts";
import { llamaFolder } from "../models/llama.ts";
import { uploadFolder } from "../models/upload.ts";

export const operatorNamespace = "berth-system";
const group = "berth.dev/v1alpha1";

/** As charts/berth/templates/rbac.yaml; the chart's own tests run the chart's. */
const clusterRules = [
  { apiGroups: ["berth.dev"], resources: ["models", "clustermodels"], verbs: ["get", "list", "watch", "patch"] },
  { apiGroups: ["berth.dev"], resources: ["models/status", "clustermodels/status"], verbs: ["patch"] },
  { apiGroups: ["berth.dev"], resources: ["modeldeployments"], verbs: ["get", "list", "watch"] },
  { apiGroups: [""], resources: ["namespaces"], verbs: ["get", "list", "watch"] },
  { apiGroups: ["events.k8s.io"], resources: ["events"], verbs: ["create", "patch"] },
];
const leaseRules = [
  { apiGroups: ["coordination.k8s.io"], resources: ["leases"], verbs: ["get", "create", "patch", "delete"] },
];

export interface Bed {
  readonly cluster: ControlPlane;
  readonly s3: S3Server;
  readonly storeUrl: string;
  /** What the importer has stored, read without it. */
  readonly store: ObjectStore;
  readonly kubeconfig: string;
}

type After = { after(run: () => unknown): void };

/** The time of a whole test file: what is handed in is undone after its last test, the latest first. Call it at the top of the file. */
export function fileScope(): After {
  const undo: (() => unknown)[] = [];
  after(async () => {
    for (const run of undo) await run();
  });
  return { after: (run) => void undo.unshift(run) };
}

/** Everything but an importer. The bucket `source` is there and empty. */
export async function newBed(t: After, storeUrl = "s3://store/platform"): Promise<Bed> {
  const [cluster, s3] = await Promise.all([ownCluster(t, { controllers: false }), startS3()]);
  t.after(() => s3.stop());
  await s3.createBucket("source");
  await s3.createBucket("store");
  await cluster.admin.create("/api/v1/namespaces", {
    apiVersion: "v1",
    kind: "Namespace",
    metadata: { name: operatorNamespace },
  });
  const identity = await serviceAccountIdentity(cluster, operatorNamespace, "berth-importer");
  const importer = { kind: "ServiceAccount", name: "berth-importer", namespace: operatorNamespace } as const;
  await grant(cluster, importer, { name: "berth-importer", rules: clusterRules });
  await grant(cluster, importer, { name: "berth-importer", namespace: operatorNamespace, rules: leaseRules });
  await cluster.admin.apply(
    apiPath("rbac.authorization.k8s.io/v1", "clusterroles", { name: "berth-source-credentials" }),
    {
      apiVersion: "rbac.authorization.k8s.io/v1",
      kind: "ClusterRole",
      metadata: { name: "berth-source-credentials" },
      rules: [{ apiGroups: [""], resources: ["secrets"], verbs: ["get"] }],
    },
  );
  const { endpoint, region, accessKeyId, secretAccessKey } = s3;
  const store = openStore({ url: storeUrl, endpoint, region, credentials: { accessKeyId, secretAccessKey } });
  t.after(() => store.close());
  return { cluster, s3, storeUrl, store, kubeconfig: cluster.kubeconfigFor(identity) };
}

/** Puts a real model into the bucket `source`. */
export async function uploadLlama(
  bed: Bed,
  { prefix = "llama/", ...shape }: { prefix?: string; weightBytes?: number; shards?: number } = {},
): Promise<void> {
  const client = bed.s3.client();
  await uploadFolder(client, "source", prefix, llamaFolder(shape));
  client.destroy();
}

/** The sources' server behind a proxy that can be told to misbehave; tenantBehind() may be read through it. */
export async function sourceProxy(t: After, bed: Bed): Promise<FaultProxy> {
  const proxy = await startFaultProxy({ target: bed.s3.endpoint, dialect: "s3" });
  t.after(() => proxy.close());
  return proxy;
}

export type SettingsChange = Partial<ImporterSettings>;

/** Settings of an importer with the waits that tests can bear. */
export function settingsOf(bed: Pick<Bed, "s3" | "storeUrl">, change: SettingsChange = {}): ImporterSettings {
  const { endpoint, region, accessKeyId, secretAccessKey } = bed.s3;
  return {
    namespace: operatorNamespace,
    allowHttpEndpoints: true,
    allowedEndpointCidrs: ["127.0.0.0/8", "::1/128"],
    credentialsClusterRole: "berth-source-credentials",
    serviceAccount: "berth-importer",
    hubEndpoint: "https://hub.example.org",
    hubRedirectHosts: [],
    store: { url: bed.storeUrl, endpoint, region, credentials: { accessKeyId, secretAccessKey } },
    importConcurrency: 2,
    bufferBytes: 64 << 20,
    maxBytesPerSecond: undefined,
    progressMs: 50,
    leaseMs: 2000,
    delays: { retryMinMs: 100, retryMaxMs: 500, secretMs: 300, refusedMs: 1000 },
    ...change,
  };
}

export interface RunningImporter {
  readonly base: Base;
  readonly importer: Importer;
  stop(): Promise<void>;
}

/** An importer inside this process, over the real API server under its own service account. */
export async function importerHere(t: After, bed: Bed, change: SettingsChange = {}): Promise<RunningImporter> {
  const settings = settingsOf(bed, change);
  const kube = { kubeconfig: bed.kubeconfig };
  const config = { namespace: operatorNamespace, logLevel: "error", kube, healthPort: 0, metricsPort: 0 };
  const base = await newBase("importer", config, {});
  const importer = startImporter(base, settings);
  await importer.started;
  let stopped: Promise<void> | undefined;
  const stop = (): Promise<void> =>
    (stopped ??= (async () => {
      await importer.stop();
      await base.events.stop();
      await base.transport.close();
    })());
  t.after(stop);
  return { base, importer, stop };
}

/** An importer as a process of its own, to be killed. */
export function importerProcess(t: After, bed: Bed, change: SettingsChange = {}, logLevel = "info"): ChildProcess {
  const input = { settings: settingsOf(bed, change), kubeconfig: bed.kubeconfig, logLevel };
  const log = openSync(join(bed.cluster.logDir, "importer.log"), "a");
  const child = spawn(process.execPath, [join(import.meta.dirname, "importerentry.ts")], {
    env: { ...process.env, TEST_IMPORTER: JSON.stringify(input) },
    stdio: ["ignore", log, log],
  });
  t.after(() => child.kill("SIGKILL"));
  return child;
}

/** A namespace; `bound` lets the importer read its Secrets, as the command in the condition does. */
export async function newTenant(bed: Bed, { bound = true } = {}): Promise<string> {
  const name = `tenant-${randomBytes(4).toString("hex")}`;
  await bed.cluster.admin.create("/api/v1/namespaces", { apiVersion: "v1", kind: "Namespace", metadata: { name } });
  if (bound) await bindSecrets(bed, name);
  return name;
}

export async function bindSecrets(bed: Bed, namespace: string, name = "berth-importer"): Promise<void> {
  const subject = { kind: "ServiceAccount", name: "berth-importer", namespace: operatorNamespace } as const;
  const role = { kind: "ClusterRole", name: "berth-source-credentials" } as const;
  await bind(bed.cluster, subject, { name, namespace, role });
}

export interface SecretChange {
  readonly type?: string;
  readonly endpoints?: string;
  readonly data?: Readonly<Record<string, string>>;
}

/** The Secret `source`, good unless changed. */
export async function putSecret(bed: Bed, namespace: string, change: SecretChange = {}): Promise<void> {
  const { endpoint, accessKeyId, secretAccessKey } = bed.s3;
  await bed.cluster.admin.create(apiPath("v1", "secrets", { namespace }), {
    apiVersion: "v1",
    kind: "Secret",
    metadata: { name: "source", namespace, annotations: { "berth.dev/endpoints": change.endpoints ?? endpoint } },
    type: change.type ?? "berth.dev/source-credentials",
    stringData: change.data ?? { accessKeyId, secretAccessKey },
  });
}

/** A namespace whose Secret may be sent to the proxy. */
export async function tenantBehind(bed: Bed, proxy: FaultProxy): Promise<string> {
  const namespace = await newTenant(bed);
  await putSecret(bed, namespace, { endpoints: proxy.url });
  return namespace;
}

/** A read of weights; `isHeader` tells those of their headers. */
export const isWeight = ({ method, path }: SeenRequest): boolean => method === "GET" && path.endsWith(".safetensors");
export const isHeader = ({ headers }: SeenRequest): boolean => headers.range === "bytes=0-65535";

export interface ModelChange {
  readonly name?: string;
  readonly prefix?: string;
  readonly bucket?: string;
  readonly endpoint?: string;
  readonly secret?: string | null;
  readonly spec?: object;
}

const s3Source = (bed: Bed, change: ModelChange) => ({
  endpoint: change.endpoint ?? bed.s3.endpoint,
  bucket: change.bucket ?? "source",
  prefix: change.prefix ?? "llama/",
  ...(change.secret === null ? {} : { credentialsSecretRef: { name: change.secret ?? "source" } }),
});

/** Creates a Model and returns its path. */
export async function putModel(bed: Bed, namespace: string, change: ModelChange = {}): Promise<string> {
  const name = change.name ?? "model";
  await bed.cluster.admin.create(apiPath(group, "models", { namespace }), {
    apiVersion: group,
    kind: "Model",
    metadata: { name, namespace },
    spec: { source: { s3: s3Source(bed, change) }, ...change.spec },
  });
  return apiPath(group, "models", { namespace, name });
}

/** Creates a ClusterModel (its Secret `source` is in the operator's namespace) and returns its path. */
export async function putClusterModel(bed: Bed, name: string, change: ModelChange = {}): Promise<string> {
  await bed.cluster.admin.create(apiPath(group, "clustermodels", {}), {
    apiVersion: group,
    kind: "ClusterModel",
    metadata: { name },
    spec: { source: { s3: s3Source(bed, change) }, ...change.spec },
  });
  return apiPath(group, "clustermodels", { name });
}

/** A deployment that names the model; no operator runs here, so nothing comes of it. */
export async function putDeployment(bed: Bed, namespace: string, model: object, name = "chat"): Promise<string> {
  await bed.cluster.admin.create(apiPath(group, "modeldeployments", { namespace }), {
    apiVersion: group,
    kind: "ModelDeployment",
    metadata: { name, namespace },
    spec: { model, nodeType: "gpu-l4" },
  });
  return apiPath(group, "modeldeployments", { namespace, name });
}

type AnyModel = Model | ClusterModel;

export function readyOf(status: ModelStatus | undefined) {
  return status?.conditions?.find(({ type }) => type === "Ready");
}

/** Waits until the model's status satisfies the condition, and returns the model. */
export function modelUntil(
  bed: Bed,
  path: string,
  what: string,
  holds: (model: AnyModel) => boolean,
  deadlineMs = 30_000,
): Promise<AnyModel> {
  const collection = path.slice(0, path.lastIndexOf("/"));
  const seen: { last?: AnyModel } = {};
  const check = async (): Promise<AnyModel | undefined> => {
    seen.last = await bed.cluster.admin.get<AnyModel>(path);
    if (holds(seen.last)) return seen.last;
    throw new Error(`it is ${JSON.stringify(seen.last.status)}`);
  };
  const watch = { client: bed.cluster.admin, paths: [collection] };
  return eventually(check, {
    what: `${path} ${what}`,
    deadlineMs,
    watch,
    logDir: bed.cluster.logDir,
  }) as Promise<AnyModel>;
}

export function untilReason(bed: Bed, path: string, reason: string, deadlineMs?: number): Promise<AnyModel> {
  return modelUntil(bed, path, `has reason ${reason}`, (model) => readyOf(model.status)?.reason === reason, deadlineMs);
}
