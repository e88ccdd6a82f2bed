// Turns a pod template that stands in the cluster into what a kubelet would start: arguments, environment, files of its
// volumes and its service account's token. Whatever the chart gets wrong (a key that is missing, an account that does
// not exist, a port that is not declared) fails here as it would fail there.
import { randomBytes } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { apiPath } from "../cluster/client.ts";
import type { Cluster } from "../cluster/cluster.ts";
import { freePort } from "../cluster/process.ts";

interface KeyRef {
  readonly name: string;
  readonly key: string;
  readonly optional?: boolean;
}

export interface EnvVar {
  readonly name: string;
  readonly value?: string;
  readonly valueFrom?: {
    readonly secretKeyRef?: KeyRef;
    readonly configMapKeyRef?: KeyRef;
    readonly fieldRef?: { readonly fieldPath: string };
  };
}

export interface Volume {
  readonly name: string;
  readonly emptyDir?: object;
  readonly configMap?: { readonly name: string };
  readonly secret?: { readonly secretName: string };
  readonly persistentVolumeClaim?: { readonly claimName: string };
}

interface Probe {
  readonly httpGet?: { readonly path: string; readonly port: string | number };
}

export interface Container {
  readonly name: string;
  readonly command?: readonly string[];
  readonly args?: readonly string[];
  readonly env?: readonly EnvVar[];
  readonly envFrom?: readonly object[];
  readonly ports?: readonly { readonly name: string; readonly containerPort: number }[];
  readonly volumeMounts?: readonly { readonly name: string; readonly mountPath: string; readonly subPath?: string }[];
  readonly livenessProbe?: Probe;
  readonly readinessProbe?: Probe;
}

export interface PodSpec {
  readonly serviceAccountName?: string;
  readonly containers: readonly Container[];
  readonly volumes?: readonly Volume[];
}

/** The process that stands for one container. */
export interface PodProcess {
  readonly podName: string;
  /** Arguments after the program, paths and ports already local. */
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Local port of each of the container's ports, by its name in the manifest. */
  readonly ports: Readonly<Record<string, number>>;
  /** Local URLs of the probes that the manifest declares. */
  readonly probes: { readonly live?: string; readonly ready?: string };
  /** Local folder of each mount, by its path in the container. */
  readonly folders: Readonly<Record<string, string>>;
}

export interface PodPlace {
  readonly cluster: Cluster;
  readonly namespace: string;
  /** Prefix of the pod's name. */
  readonly owner: string;
  /** API server as the process shall reach it; a fault proxy, for example. */
  readonly url?: string;
}

/** Reads everything that the pod refers to and writes it below the cluster's run folder. */
export async function podProcess(place: PodPlace, spec: PodSpec): Promise<PodProcess> {
  const [container] = spec.containers;
  if (!container) throw new Error(`${place.owner}: the pod has no container`);
  if (container.command) throw new Error(`${place.owner}: the chart sets a command; the image's entry point is Berth`);
  if (container.envFrom) throw new Error(`${place.owner}: envFrom is not played here`);
  const podName = `${place.owner}-${randomBytes(4).toString("hex")}`;
  const root = join(place.cluster.runDir, "pods", podName);
  const folders = await mountAll({ ...place, root }, spec, container);
  const ports = await localPorts(container);
  const declared = await environment({ ...place, podName, account: spec.serviceAccountName ?? "default" }, container);
  const localPath = rewriter(folders);
  const env = Object.fromEntries(Object.entries(declared).map(([name, value]) => [name, localPath(value)]));
  const args = (container.args ?? []).map((arg) => localPort(localPath(expand(arg, declared)), container, ports));
  const account = await accountFolder(place, root, spec.serviceAccountName ?? "default");
  const server = new URL(place.url ?? place.cluster.url);
  return {
    podName,
    args,
    env: {
      ...env,
      TMPDIR: folders["/tmp"] ?? root,
      BERTH_SERVICE_ACCOUNT_DIR: account,
      KUBERNETES_SERVICE_HOST: server.hostname,
      KUBERNETES_SERVICE_PORT: server.port,
    },
    ports,
    probes: {
      live: probeUrl(container.livenessProbe, container, ports),
      ready: probeUrl(container.readinessProbe, container, ports),
    },
    folders,
  };
}

/** `$(NAME)` in arguments, as the kubelet expands it. */
function expand(text: string, env: Readonly<Record<string, string>>): string {
  return text.replace(/\$\(([A-Za-z_][A-Za-z0-9_]*)\)/g, (all, name: string) => env[name] ?? all);
}

/** Replaces mount paths by local folders, the longest first, whole path elements only. */
function rewriter(folders: Readonly<Record<string, string>>): (text: string) => string {
  const paths = Object.keys(folders).sort((a, b) => b.length - a.length);
  const escaped = paths.map((path) => path.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  if (escaped.length === 0) return (text) => text;
  const pattern = new RegExp(`(?<![A-Za-z0-9._-])(${escaped.join("|")})(?=/|$)`, "g");
  return (text) => text.replace(pattern, (path) => folders[path] ?? path);
}

async function localPorts(container: Container): Promise<Record<string, number>> {
  const entries = (container.ports ?? []).map(async ({ name }) => [name, await freePort()] as const);
  return Object.fromEntries(await Promise.all(entries));
}

/** `--health-port=8081` gets the local port of the container's port 8081, which must be declared. */
function localPort(arg: string, container: Container, ports: Readonly<Record<string, number>>): string {
  const match = /^(--[a-z-]+-port)=(\d+)$/.exec(arg);
  if (!match) return arg;
  const declared = container.ports?.find(({ containerPort }) => containerPort === Number(match[2]));
  if (!declared) throw new Error(`${container.name}: ${arg} is not among the container's ports`);
  return `${match[1] ?? ""}=${String(ports[declared.name])}`;
}

function probeUrl(probe: Probe | undefined, container: Container, ports: Readonly<Record<string, number>>) {
  if (!probe?.httpGet) return undefined;
  const { path, port } = probe.httpGet;
  const name = container.ports?.find((entry) => entry.name === port || entry.containerPort === port)?.name ?? "";
  const local = ports[name];
  if (local === undefined)
    throw new Error(`${container.name}: a probe asks port ${String(port)}, which is not declared`);
  return `http://127.0.0.1:${String(local)}${path}`;
}

async function environment(
  place: PodPlace & { readonly podName: string; readonly account: string },
  container: Container,
): Promise<Record<string, string>> {
  const env: Record<string, string> = {};
  for (const variable of container.env ?? []) {
    const value = await valueOf(place, variable);
    if (value !== undefined) env[variable.name] = expand(value, env);
  }
  return env;
}

async function valueOf(
  place: PodPlace & { readonly podName: string; readonly account: string },
  { name, value, valueFrom }: EnvVar,
): Promise<string | undefined> {
  if (!valueFrom) return value ?? "";
  if (valueFrom.secretKeyRef) return keyOf(place, "secrets", valueFrom.secretKeyRef);
  if (valueFrom.configMapKeyRef) return keyOf(place, "configmaps", valueFrom.configMapKeyRef);
  const fields: Record<string, string> = {
    "metadata.name": place.podName,
    "metadata.namespace": place.namespace,
    "spec.serviceAccountName": place.account,
  };
  const field = fields[valueFrom.fieldRef?.fieldPath ?? ""];
  if (field === undefined) throw new Error(`${place.owner}: the source of ${name} is not played here`);
  return field;
}

async function keyOf(place: PodPlace, resource: "secrets" | "configmaps", ref: KeyRef): Promise<string | undefined> {
  const data = await contentOf(place, resource, ref.name, ref.optional);
  const value = data[ref.key];
  if (value !== undefined) return value.toString();
  if (ref.optional) return undefined;
  throw new Error(`${place.owner}: ${resource} ${place.namespace}/${ref.name} has no key ${ref.key}`);
}

async function contentOf(
  place: PodPlace,
  resource: "secrets" | "configmaps",
  name: string,
  optional = false,
): Promise<Record<string, Buffer>> {
  const object = await place.cluster.admin.find(apiPath("v1", resource, { namespace: place.namespace, name }));
  if (!object && !optional) throw new Error(`${place.owner}: ${resource} ${place.namespace}/${name} does not exist`);
  const encoding = resource === "secrets" ? "base64" : "utf8";
  return Object.fromEntries(
    Object.entries(object?.data ?? {}).map(([key, value]) => [key, Buffer.from(value, encoding)]),
  );
}

const accountMount = "/var/run/secrets/kubernetes.io/serviceaccount";

type Mounting = PodPlace & { readonly root: string };

async function mountAll(place: Mounting, spec: PodSpec, container: Container): Promise<Record<string, string>> {
  const folders: Record<string, string> = {};
  for (const { name, mountPath, subPath } of container.volumeMounts ?? []) {
    if (mountPath === accountMount) continue; // admission adds it to pods; accountFolder() plays it
    const volume = spec.volumes?.find((entry) => entry.name === name);
    if (!volume) throw new Error(`${place.owner}: no volume is called ${name}`);
    folders[mountPath] = join(await folderOf(place, volume), subPath ?? "");
  }
  return folders;
}

async function folderOf(place: Mounting, volume: Volume): Promise<string> {
  const { configMap, secret, persistentVolumeClaim, emptyDir } = volume;
  if (persistentVolumeClaim) return claimFolder(place, persistentVolumeClaim.claimName);
  const folder = join(place.root, "volumes", volume.name);
  mkdirSync(folder, { recursive: true });
  if (emptyDir) return folder;
  const content = configMap
    ? await contentOf(place, "configmaps", configMap.name)
    : secret && (await contentOf(place, "secrets", secret.secretName));
  if (!content) throw new Error(`${place.owner}: the kind of volume ${volume.name} is not played here`);
  for (const [key, bytes] of Object.entries(content)) writeFileSync(join(folder, key), bytes, { mode: 0o600 });
  return folder;
}

/** Local folder of a PersistentVolumeClaim that exists in the cluster: the same one for every pod that mounts it. */
export async function claimFolder(place: Pick<PodPlace, "cluster" | "namespace">, claimName: string): Promise<string> {
  const path = apiPath("v1", "persistentvolumeclaims", { namespace: place.namespace, name: claimName });
  const claim = await place.cluster.admin.get(path);
  const folder = join(place.cluster.runDir, "claims", claim.metadata.uid ?? "");
  mkdirSync(folder, { recursive: true });
  return folder;
}

/** Token and CA of the pod's own service account, as the kubelet mounts them. The account must exist. */
async function accountFolder(place: PodPlace, root: string, name: string): Promise<string> {
  const { cluster, namespace } = place;
  const answer = await cluster.admin.create<{ status: { token: string } }>(
    apiPath("v1", "serviceaccounts", { namespace, name, subresource: "token" }),
    {
      apiVersion: "authentication.k8s.io/v1",
      kind: "TokenRequest",
      spec: { audiences: [], expirationSeconds: 86_400 },
    },
  );
  const folder = join(root, "serviceaccount");
  const write = (file: string, content: string): void => {
    mkdirSync(dirname(join(folder, file)), { recursive: true });
    writeFileSync(join(folder, file), content, { mode: 0o600 });
  };
  write("token", answer.status.token);
  write("ca.crt", cluster.caPem);
  write("namespace", namespace);
  return folder;
}
