// What real nodes must do before anything is built on them, each step printed with its time. Runs inside the namespaces.
import assert from "node:assert/strict";
import { ApiError, apiPath } from "../cluster/client.ts";
import { eventually } from "../cluster/eventually.ts";
import { nodeIdentity } from "../cluster/users.ts";
import { startRealCluster } from "./cluster.ts";
import type { RealCluster } from "./cluster.ts";
import { untilReady } from "./node.ts";
import { probeImage } from "./probe.ts";

const namespace = "selftest";

interface PodStatus {
  readonly phase: string;
  readonly podIP?: string;
  readonly containerStatuses?: readonly {
    readonly restartCount: number;
    readonly ready: boolean;
    readonly containerID: string;
  }[];
}
interface Pod {
  readonly metadata: { readonly name: string };
  readonly spec: { readonly nodeName: string };
  readonly status: PodStatus;
}

export interface SelfTestOptions {
  readonly archive: string;
  /** A folder that the device plugin mounts, with a file `hello` in it. */
  readonly mounted: string;
  readonly say: (line: string) => void;
}

const podPath = (name?: string): string => apiPath("v1", "pods", { namespace, name });

function podSpec(extra: object = {}, resources: object = {}): object {
  return {
    automountServiceAccountToken: true,
    terminationGracePeriodSeconds: 1,
    securityContext: { runAsNonRoot: true, runAsUser: 2000, seccompProfile: { type: "RuntimeDefault" } },
    tolerations: [{ key: "nvidia.com/gpu", operator: "Exists" }],
    containers: [
      {
        name: "probe",
        image: probeImage,
        imagePullPolicy: "Never",
        ports: [{ containerPort: 8080 }],
        readinessProbe: { httpGet: { path: "/", port: 8080 }, periodSeconds: 1 },
        securityContext: {
          allowPrivilegeEscalation: false,
          capabilities: { drop: ["ALL"] },
          readOnlyRootFilesystem: true,
        },
        resources,
      },
    ],
    ...extra,
  };
}

const gpu = { limits: { "nvidia.com/gpu": "1" } };

async function ask(host: string, path: string): Promise<string> {
  const response = await fetch(`http://${host}:8080${path}`, {
    signal: AbortSignal.timeout(4000),
    headers: { connection: "close" },
  });
  const text = await response.text();
  if (!response.ok) throw new Error(text);
  return JSON.parse(text) as string;
}

async function runPod(real: RealCluster, name: string, spec: object): Promise<Pod & { ip: string }> {
  await real.cluster.admin.create(podPath(), {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, labels: { app: name } },
    spec,
  });
  return readyPod(real, name);
}

async function readyPod(real: RealCluster, name: string): Promise<Pod & { ip: string }> {
  return eventually(
    async () => {
      const pod = await real.cluster.admin.get<Pod>(podPath(name));
      const ip = pod.status.podIP;
      return pod.status.containerStatuses?.every((each) => each.ready) && ip ? { ...pod, ip } : undefined;
    },
    { what: `pod ${name} is ready`, deadlineMs: 60_000, logDir: real.cluster.logDir },
  );
}

async function makeNamespace({ cluster }: RealCluster): Promise<void> {
  const labels = { "pod-security.kubernetes.io/enforce": "restricted" };
  await cluster.admin.create("/api/v1/namespaces", {
    apiVersion: "v1",
    kind: "Namespace",
    metadata: { name: namespace, labels },
  });
  await eventually(() => cluster.admin.find(apiPath("v1", "serviceaccounts", { namespace, name: "default" })));
}

async function servicesAndNames(real: RealCluster): Promise<void> {
  const { cluster } = real;
  const labels = { app: "two" };
  const apart = {
    podAntiAffinity: {
      requiredDuringSchedulingIgnoredDuringExecution: [
        { topologyKey: "kubernetes.io/hostname", labelSelector: { matchLabels: labels } },
      ],
    },
  };
  await cluster.admin.create(apiPath("apps/v1", "deployments", { namespace }), {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: "two" },
    spec: {
      replicas: 2,
      selector: { matchLabels: labels },
      template: { metadata: { labels }, spec: podSpec({ affinity: apart }) },
    },
  });
  const service = await cluster.admin.create<{ spec: { clusterIP: string } }>(
    apiPath("v1", "services", { namespace }),
    {
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: "two" },
      spec: { selector: labels, ports: [{ port: 8080 }] },
    },
  );
  const asker = await runPod(real, "asker", podSpec());
  const url = encodeURIComponent(`http://two.${namespace}.svc:8080/`);
  const answered = { directly: new Set<string>(), byName: new Set<string>() };
  await eventually(
    async () => {
      answered.directly.add(await ask(service.spec.clusterIP, "/"));
      answered.byName.add(await ask(asker.ip, `/fetch?url=${url}`));
      return answered.directly.size === 2 && answered.byName.size === 2;
    },
    { what: "both pods answered through the ClusterIP and by name", deadlineMs: 60_000, logDir: cluster.logDir },
  );
  const pods = await cluster.admin.list<Pod>(`${podPath()}?labelSelector=app%3Dtwo`);
  assert.equal(new Set(pods.items.map((pod) => pod.spec.nodeName)).size, 2);
}

async function devices(real: RealCluster): Promise<void> {
  const node = real.node("gpu-1");
  const first = await runPod(real, "first", podSpec({ nodeSelector: { "kubernetes.io/hostname": "gpu-1" } }, gpu));
  assert.equal(await ask(first.ip, "/read?path=/opt/engine/hello"), "hello");
  await assert.rejects(ask(first.ip, "/write?path=/opt/engine/hello"), /read-only file system/);
  assert.equal(await variable(first.ip, "PROBE_SPACE"), "1");
  await real.cluster.admin.remove(podPath("first"));
  if (node.allocation) node.allocation.current = { ...node.allocation.current, env: { PROBE_SPACE: "2" } };
  const second = await runPod(real, "second", podSpec({ nodeSelector: { "kubernetes.io/hostname": "gpu-1" } }, gpu));
  assert.equal(await variable(second.ip, "PROBE_SPACE"), "2");
}

async function variable(host: string, name: string): Promise<string | undefined> {
  return ((await ask(host, "/env")) as unknown as Record<string, string>)[name];
}

async function identities(real: RealCluster): Promise<void> {
  const client = real.cluster.client(nodeIdentity(real.cluster, "gpu-1"));
  const other = apiPath("v1", "nodes", { name: "gpu-2" });
  await assert.rejects(
    client.patch(other, { metadata: { labels: { mine: "yes" } } }),
    (error) => error instanceof ApiError && error.status === 403,
  );
  await client.close();
  const logs = await real.cluster.kubectl(["logs", "-n", namespace, "asker"]);
  assert.match(logs.stdout, /listening/, logs.stderr);
}

async function daemonsKilled(real: RealCluster): Promise<void> {
  const node = real.node("gpu-1");
  const before = await readyPod(real, "second");
  await node.killKubeletAndContainerd();
  assert.equal(await ask(before.ip, "/"), "second");
  await eventually(async () => !(await isReady(real, "gpu-1")), {
    what: "gpu-1 is no longer Ready",
    deadlineMs: 90_000,
  });
  await node.revive();
  await untilReady(real.cluster, node, 1);
  const after = await readyPod(real, "second");
  assert.equal(after.status.containerStatuses?.[0]?.containerID, before.status.containerStatuses?.[0]?.containerID);
}

async function isReady({ cluster }: RealCluster, name: string): Promise<boolean> {
  interface Node {
    readonly status: { readonly conditions: readonly { readonly type: string; readonly status: string }[] };
  }
  const { status } = await cluster.admin.get<Node>(apiPath("v1", "nodes", { name }));
  return status.conditions.some((each) => each.type === "Ready" && each.status === "True");
}

async function powerCut(real: RealCluster): Promise<void> {
  const node = real.node("gpu-1");
  const { ip, status } = await readyPod(real, "second");
  const restarts = status.containerStatuses?.[0]?.restartCount ?? 0;
  await node.killEverything();
  await assert.rejects(ask(ip, "/"));
  await node.revive();
  await untilReady(real.cluster, node, 1);
  await eventually(
    async () => {
      const pod = await readyPod(real, "second");
      return (pod.status.containerStatuses?.[0]?.restartCount ?? 0) > restarts && (await ask(pod.ip, "/")) === "second";
    },
    { what: "the pod runs again after the power cut", deadlineMs: 60_000, logDir: node.logDir },
  );
}

async function apiServerRestarted(real: RealCluster): Promise<void> {
  const before = await readyPod(real, "asker");
  await real.controlPlane?.apiserver.restart();
  assert.equal(await ask(before.ip, "/"), "asker");
  const after = await readyPod(real, "asker");
  assert.equal(after.status.containerStatuses?.[0]?.restartCount, 0);
}

/** Starts five nodes and tries everything; throws at the first step that fails. */
export async function selfTest({ archive, mounted, say }: SelfTestOptions): Promise<void> {
  const step = async <T>(what: string, work: () => Promise<T>): Promise<T> => {
    const start = Date.now();
    const value = await work();
    say(`${((Date.now() - start) / 1000).toFixed(1).padStart(6)} s  ${what}`);
    return value;
  };
  const real = await step("control plane and five real nodes are Ready", () =>
    startRealCluster({
      images: { system: [archive], gpu: [archive] },
      engineMounts: [{ hostPath: mounted, containerPath: "/opt/engine" }],
      engineEnv: { PROBE_SPACE: "1" },
      nodeMonitorGracePeriod: "12s",
      progress: say,
    }),
  );
  await makeNamespace(real);
  await step("two pods on two nodes answer through a ClusterIP and by name", () => servicesAndNames(real));
  await step("the device plugin's mounts and environment reach the container, and can be changed", () => devices(real));
  await step("a kubelet may not touch another node; kubectl logs works", () => identities(real));
  await step("kubelet and containerd killed: node not Ready, pod serves on, the same container after revive", () =>
    daemonsKilled(real),
  );
  await step("power cut: nothing answers, the pod runs again after revive", () => powerCut(real));
  await step("API server restarted: no container restarts", () => apiServerRestarted(real));
  await step("all stopped", () => real.stop());
}
