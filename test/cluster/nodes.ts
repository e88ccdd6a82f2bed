// Nodes without kubelets: kwok plays them (see stages.ts); these functions make, break and remove them.
import type { Cluster } from "./cluster.ts";
import { apiPath } from "./client.ts";
import type { KubeObject } from "./client.ts";
import { instanceShapes } from "./karpenter.ts";
import { playAnnotation, readyAfterAnnotation } from "./stages.ts";

export interface GpuNodeOptions {
  readonly name: string;
  /** One of karpenter.ts's shapes, whose label and size the node gets (default `gpu-l4-1`). */
  readonly instanceType?: string;
  /** Number of `nvidia.com/gpu`; the shape's own by default. */
  readonly gpus?: number;
  readonly gpuResource?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly taints?: readonly { key: string; value?: string; effect: string }[];
  /** False: the node stays NotReady until `setNodeReady`. */
  readonly ready?: boolean;
  /** Go duration until it is ready, e.g. `3s`. */
  readonly readyAfter?: string;
}

const nodePath = (name: string, subresource?: string): string => apiPath("v1", "nodes", { name, subresource });
const leasePath = (name: string): string =>
  apiPath("coordination.k8s.io/v1", "leases", { namespace: "kube-node-lease", name });

/** Makes a node with GPUs; it is Ready when kwok has seen it (await that with `eventually`). */
export async function addGpuNode(cluster: Cluster, options: GpuNodeOptions): Promise<KubeObject> {
  const { name, instanceType = "gpu-l4-1", ready = true, readyAfter, gpuResource = "nvidia.com/gpu" } = options;
  const shape = instanceShapes.find((candidate) => candidate.name === instanceType);
  const gpus = options.gpus ?? shape?.gpus ?? 1;
  const resources = {
    cpu: String(shape?.vcpus ?? 8),
    memory: `${String(shape?.memoryGi ?? 32)}Gi`,
    pods: "110",
    "ephemeral-storage": "1000Gi",
    ...(gpus > 0 && { [gpuResource]: String(gpus) }),
  };
  return cluster.admin.create("/api/v1/nodes", {
    apiVersion: "v1",
    kind: "Node",
    metadata: {
      name,
      labels: {
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/os": "linux",
        "kubernetes.io/hostname": name,
        "node.kubernetes.io/instance-type": instanceType,
        ...options.labels,
      },
      annotations: {
        "kwok.x-k8s.io/node": "fake",
        ...(!ready && { [playAnnotation]: "not-ready" }),
        ...(readyAfter && { [readyAfterAnnotation]: readyAfter }),
        ...options.annotations,
      },
    },
    spec: { providerID: `test://${name}`, ...(options.taints && { taints: options.taints }) },
    status: { capacity: resources, allocatable: resources },
  });
}

/** Makes a living node Ready or NotReady; the kubelet goes on renewing its Lease. */
export async function setNodeReady(cluster: Cluster, name: string, ready: boolean): Promise<void> {
  await cluster.admin.patch(nodePath(name), {
    metadata: { annotations: { [playAnnotation]: ready ? null : "not-ready" } },
  });
}

/** Changes what a node can allocate, e.g. `{ "nvidia.com/gpu": "0" }` while its device plugin is away. */
export async function setAllocatable(cluster: Cluster, name: string, resources: Record<string, string>): Promise<void> {
  await cluster.admin.patch(nodePath(name, "status"), { status: { allocatable: resources } });
}

async function setReadyCondition(cluster: Cluster, name: string, status: "True" | "Unknown"): Promise<void> {
  const unknown = status === "Unknown";
  const now = new Date().toISOString().replace(/\.\d+Z$/, "Z");
  const { body, status: code } = await cluster.admin.raw({
    method: "PATCH",
    path: nodePath(name, "status"),
    contentType: "application/strategic-merge-patch+json",
    body: {
      status: {
        conditions: [
          {
            type: "Ready",
            status,
            reason: unknown ? "NodeStatusUnknown" : "KubeletReady",
            message: unknown ? "Kubelet stopped posting node status." : "kubelet is posting ready status",
            lastTransitionTime: now,
          },
        ],
      },
    },
  });
  if (code >= 400) throw new Error(`setting Ready=${status} of node ${name}: ${JSON.stringify(body)}`);
}

/**
 * A node that died: its Lease is held by nobody who renews it, so that kwok lets go of the node and its pods (they do
 * not even end when deleted), and Ready is Unknown at once, as kube-controller-manager says after its grace period.
 */
export async function killNode(cluster: Cluster, name: string): Promise<void> {
  const renewTime = new Date().toISOString().replace("Z", "000Z");
  await cluster.admin.apply(leasePath(name), {
    apiVersion: "coordination.k8s.io/v1",
    kind: "Lease",
    metadata: { name, namespace: "kube-node-lease" },
    spec: { holderIdentity: "dead-kubelet", leaseDurationSeconds: 1_000_000, renewTime },
  });
  await setReadyCondition(cluster, name, "Unknown");
}

/** A dead node comes back; kwok takes its Lease within about 10 s. */
export async function reviveNode(cluster: Cluster, name: string): Promise<void> {
  await cluster.admin.remove(leasePath(name));
  await setReadyCondition(cluster, name, "True");
}

/** Removes a node as a cloud does: the Node object goes, with its Lease. */
export async function removeNode(cluster: Cluster, name: string): Promise<void> {
  await cluster.admin.remove(nodePath(name));
  await cluster.admin.remove(leasePath(name));
}
