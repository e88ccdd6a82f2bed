// The stage of a fleet: a control plane of its own, many static nodes, a model that is ready, and Berth by its chart.
import { setTimeout as wait } from "node:timers/promises";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startFromManifest, type Replica } from "../chart/rendered.ts";
import { hookValues } from "../chart/hookrunner.ts";
import { apiPath, type KubeObject } from "../cluster/client.ts";
import { startControlPlane, type ControlPlane, type ControlPlaneOptions } from "../cluster/controlplane.ts";
import { eventually } from "../cluster/eventually.ts";
import { addGpuNode } from "../cluster/nodes.ts";
import { repoDir } from "../cluster/paths.ts";
import { inFlight, say } from "./figures.ts";

export const WIDTH = 32;
const DIGEST = `sha256:${"a".repeat(64)}`;
export const RELEASE_NAMESPACE = "berth-system";

export function stagePlane(options: ControlPlaneOptions = {}): Promise<ControlPlane> {
  return startControlPlane({
    karpenter: false,
    crdFolders: [],
    nodeLeaseSeconds: 1200,
    nodeMonitorGracePeriod: "20m",
    ...options,
  });
}

/** The chart as a platform team installs it, with a directory ledger and without waiting times that only hide the work. */
export async function installBerth(cp: ControlPlane, values: Record<string, unknown> = {}): Promise<void> {
  const file = join(mkdtempSync(join(tmpdir(), "berth-bench-")), "values.json");
  writeFileSync(
    file,
    JSON.stringify({
      timing: { shrinkStabilizationSeconds: 1, drainGraceSeconds: 20 },
      // The chart\'s own pods must not lie on the nodes of the fleet.
      operator: { nodeSelector: { role: "platform" } },
      importer: { nodeSelector: { role: "platform" } },
      storeService: { nodeSelector: { role: "platform" } },
      ...values,
    }),
  );
  const { code, stderr } = await cp.helm([
    "install",
    "berth",
    join(repoDir, "charts/berth"),
    "-n",
    RELEASE_NAMESPACE,
    "--create-namespace",
    ...hookValues,
    "-f",
    file,
  ]);
  if (code !== 0) throw new Error(`helm install failed: ${stderr}`);
}

export function startOperator(cp: ControlPlane, url?: string): Promise<Replica> {
  return startFromManifest({
    cluster: cp,
    release: "berth",
    namespace: RELEASE_NAMESPACE,
    component: "operator",
    overrides: url === undefined ? {} : { url },
  });
}

export function nodeType(name: string): KubeObject {
  return {
    apiVersion: "berth.dev/v1alpha1",
    kind: "NodeType",
    metadata: { name },
    spec: {
      gpu: { product: "NVIDIA L4", count: 1, memory: "22Gi" },
      vcpus: 8,
      memory: "32Gi",
      provider: { static: { nodeSelector: { "bench/fleet": name } } },
    },
  };
}

export async function addFleet(cp: ControlPlane, fleet: string, count: number): Promise<void> {
  const names = Array.from({ length: count }, (_none, index) => `${fleet}-${index}`);
  await inFlight(
    names,
    WIDTH,
    async (name) => void (await addGpuNode(cp, { name, instanceType: "gpu-l4-1", labels: { "bench/fleet": fleet } })),
  );
  const path = `${apiPath("v1", "nodes")}?labelSelector=bench%2Ffleet%3D${fleet}`;
  const ready = (node: KubeObject): boolean =>
    (node.status?.["conditions"] as { type: string; status: string }[] | undefined)?.some(
      ({ type, status }) => type === "Ready" && status === "True",
    ) ?? false;
  await eventually(async () => (await cp.admin.list(path)).items.filter(ready).length === count, {
    what: `${count} nodes ready`,
    deadlineMs: 300_000,
    logDir: cp.logDir,
  });
  say(`${count} nodes of fleet ${fleet} are ready`);
}

/** A namespace with a Model that the importer would have finished. */
export async function addModel(cp: ControlPlane, namespace: string): Promise<void> {
  await cp.admin.create("/api/v1/namespaces", { apiVersion: "v1", kind: "Namespace", metadata: { name: namespace } });
  const spec = { source: { s3: { endpoint: "https://s3.example.org", bucket: "models", prefix: "mini/" } } };
  await cp.admin.create(apiPath("berth.dev/v1alpha1", "models", { namespace }), {
    apiVersion: "berth.dev/v1alpha1",
    kind: "Model",
    metadata: { name: "mini" },
    spec,
  });
  const condition = {
    type: "Ready",
    status: "True",
    reason: "Imported",
    message: "imported",
    lastTransitionTime: "2026-01-01T00:00:00Z",
  };
  const revisions = [{ number: 1, digest: DIGEST, sizeBytes: 1, importedAt: "2026-01-01T00:00:00Z" }];
  const facts = {
    digest: DIGEST,
    weightBytes: 90_000_000,
    contextLength: 512,
    kvBytesPerToken: 0,
    task: "Embed",
    shape: { attentionHeads: 12 },
  };
  await cp.admin.patch(apiPath("berth.dev/v1alpha1", "models", { namespace, name: "mini", subresource: "status" }), {
    status: { ...facts, revisions, conditions: [condition] },
  });
}

export function deployment(namespace: string, name: string, type: string): KubeObject {
  return {
    apiVersion: "berth.dev/v1alpha1",
    kind: "ModelDeployment",
    metadata: { name, namespace },
    spec: { model: { name: "mini" }, nodeType: type },
  };
}

export const deploymentsPath = (namespace: string, name?: string, subresource?: string): string =>
  apiPath("berth.dev/v1alpha1", "modeldeployments", { namespace, name, subresource });

/** Berth with a free node for each deployment to come, the type "berth", a namespace "bench" with a model: ready to work. */
export async function readyOperator(cp: ControlPlane, count: number): Promise<Replica> {
  await addFleet(cp, "berth", count);
  await cp.admin.create(apiPath("berth.dev/v1alpha1", "nodetypes"), nodeType("berth"));
  await addModel(cp, "bench");
  const operator = await startOperator(cp);
  await operator.ready();
  return operator;
}

/** Creates so many deployments in the namespace "bench" with WIDTH requests in flight; their names. */
export async function applyAtOnce(cp: ControlPlane, count: number): Promise<readonly string[]> {
  const names = Array.from({ length: count }, (_none, index) => `d${index}`);
  await inFlight(
    names,
    WIDTH,
    async (name) => void (await cp.admin.create(deploymentsPath("bench"), deployment("bench", name, "berth"))),
  );
  return names;
}

/** The deployment that a pod belongs to. */
export const ownerName = ({ metadata }: KubeObject): string | undefined =>
  metadata.labels?.["app.kubernetes.io/instance"];

/** Monotonic milliseconds at which each object of a path was first seen with condition Ready True; ends with the signal. */
export function watchReady(
  cp: ControlPlane,
  path: string,
  keyOf: (object: KubeObject) => string | undefined,
  signal: AbortSignal,
): Map<string, number> {
  const seen = new Map<string, number>();
  void (async () => {
    while (!signal.aborted) {
      try {
        for await (const { object } of cp.admin.watch(path, signal)) {
          const conditions = (object.status?.["conditions"] ?? []) as { type: string; status: string }[];
          const key = keyOf(object);
          if (
            key !== undefined &&
            !seen.has(key) &&
            conditions.some(({ type, status }) => type === "Ready" && status === "True")
          )
            seen.set(key, performance.now());
        }
      } catch {
        // The watch ended with the server (outage benches); it is opened again until the signal.
        await wait(200);
      }
    }
  })();
  return seen;
}
