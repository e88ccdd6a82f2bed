/** Kubernetes' own kinds, as far as Berth reads or writes them: shapes of the fields that are used, and how each is addressed. */
import type { KubeObject, Resource } from "../ports.ts";

export interface ObjectCondition {
  readonly type: string;
  readonly status: string;
  readonly reason?: string;
  readonly message?: string;
  readonly lastTransitionTime?: string;
  /** Node conditions only: when the kubelet last said so. */
  readonly lastHeartbeatTime?: string;
}

export interface Taint {
  readonly key: string;
  readonly value?: string;
  readonly effect: "NoSchedule" | "PreferNoSchedule" | "NoExecute";
  readonly timeAdded?: string;
}

export interface Node extends KubeObject {
  readonly spec?: {
    readonly taints?: readonly Taint[];
    readonly unschedulable?: boolean;
    readonly providerID?: string;
  };
  readonly status?: {
    readonly allocatable?: Readonly<Record<string, string>>;
    readonly capacity?: Readonly<Record<string, string>>;
    readonly conditions?: readonly ObjectCondition[];
  };
}

export interface ContainerStatus {
  readonly name: string;
  readonly ready?: boolean;
  /** False until the startup probe has passed since the container's last start. */
  readonly started?: boolean;
  readonly restartCount?: number;
  readonly state?: {
    readonly waiting?: { readonly reason?: string; readonly message?: string };
    readonly terminated?: EndedContainer;
    readonly running?: { readonly startedAt?: string };
  };
  readonly lastState?: { readonly terminated?: EndedContainer };
}

export interface EndedContainer {
  readonly reason?: string;
  /** What the container left in its termination message, or the end of its log. */
  readonly message?: string;
  readonly exitCode?: number;
  readonly finishedAt?: string;
}

export interface Pod extends KubeObject {
  readonly spec?: { readonly nodeName?: string };
  readonly status?: {
    readonly phase?: string;
    readonly reason?: string;
    readonly message?: string;
    readonly conditions?: readonly ObjectCondition[];
    readonly initContainerStatuses?: readonly ContainerStatus[];
    readonly containerStatuses?: readonly ContainerStatus[];
  };
}

/** `spec` is written whole from a pinned template and compared field by field, so its inside stays opaque here. */
export interface Workload extends KubeObject {
  readonly spec?: { readonly replicas?: number; readonly template?: unknown; readonly [field: string]: unknown };
  readonly status?: { readonly observedGeneration?: number; readonly conditions?: readonly ObjectCondition[] };
}

export interface ControllerRevision extends KubeObject {
  readonly revision: number;
  readonly data?: unknown;
}

export interface Namespace extends KubeObject {
  readonly status?: { readonly phase?: string };
}

export interface OpaqueSpec extends KubeObject {
  readonly spec?: unknown;
}

export const nodes: Resource<Node> = { group: "", version: "v1", plural: "nodes", kind: "Node", namespaced: false };
export const pods: Resource<Pod> = { group: "", version: "v1", plural: "pods", kind: "Pod", namespaced: true };
export const services: Resource<OpaqueSpec> = {
  group: "",
  version: "v1",
  plural: "services",
  kind: "Service",
  namespaced: true,
};
export const namespaces: Resource<Namespace> = {
  group: "",
  version: "v1",
  plural: "namespaces",
  kind: "Namespace",
  namespaced: false,
};
export const workloads: Resource<Workload> = {
  group: "apps",
  version: "v1",
  plural: "deployments",
  kind: "Deployment",
  namespaced: true,
};
export const controllerRevisions: Resource<ControllerRevision> = {
  group: "apps",
  version: "v1",
  plural: "controllerrevisions",
  kind: "ControllerRevision",
  namespaced: true,
};
export const podDisruptionBudgets: Resource<OpaqueSpec> = {
  group: "policy",
  version: "v1",
  plural: "poddisruptionbudgets",
  kind: "PodDisruptionBudget",
  namespaced: true,
};
export const networkPolicies: Resource<OpaqueSpec> = {
  group: "networking.k8s.io",
  version: "v1",
  plural: "networkpolicies",
  kind: "NetworkPolicy",
  namespaced: true,
};
/** Watched by name only: it says when a kind that was absent has come. */
export const customResourceDefinitions: Resource = {
  group: "apiextensions.k8s.io",
  version: "v1",
  plural: "customresourcedefinitions",
  kind: "CustomResourceDefinition",
  namespaced: false,
};
