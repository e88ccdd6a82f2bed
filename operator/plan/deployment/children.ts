/** Desired objects of one deployment beside its pods: each function makes one Kubernetes object. */
import { API_VERSION, MANAGED_BY, finalizers, labels } from "../../api/keys.ts";
import type { GPUNodePool } from "../../api/gpunodepool.ts";
import type { ControllerRevision, OpaqueSpec, Workload } from "../../api/kubernetes.ts";
import type { ModelDeployment } from "../../api/modeldeployment.ts";
import type { NodeType } from "../../api/nodetype.ts";
import type { ObjectMeta } from "../../ports.ts";
import { cacheClaimName } from "../../api/nodecache.ts";
import { SERVING_PORT } from "../engine/args.ts";
import { revisionName, workloadName } from "../identity.ts";
import { uidOf, type CurrentRevision, type PinnedTemplate, type Settings } from "./seen.ts";

/** Port of the store role (chart: berth-store). */
const STORE_PORT = 8090;

function childMeta(deployment: ModelDeployment, name: string): ObjectMeta {
  const uid = uidOf(deployment);
  return {
    name,
    namespace: deployment.metadata.namespace,
    labels: {
      [labels.managedBy]: MANAGED_BY,
      [labels.name]: "berth-serving",
      [labels.instance]: deployment.metadata.name,
      [labels.deploymentUID]: uid,
    },
    ownerReferences: [
      {
        apiVersion: API_VERSION,
        kind: "ModelDeployment",
        name: deployment.metadata.name,
        uid,
        controller: true,
        blockOwnerDeletion: true,
      },
    ],
  };
}

function podSelector(deployment: ModelDeployment): Record<string, string> {
  return { [labels.deploymentUID]: uidOf(deployment) };
}

/** The selector as text for the scale subresource. */
export function selectorText(deployment: ModelDeployment): string {
  return `${labels.deploymentUID}=${uidOf(deployment)}`;
}

export function desiredPool(
  deployment: ModelDeployment,
  nodeType: NodeType,
  size: number,
  namespaceUID?: string,
): GPUNodePool {
  const { sku, gpu, provider, cache } = nodeType.spec;
  return {
    ...poolIdentity(deployment),
    spec: {
      ...poolWishes(deployment, size),
      nodeType: nodeType.metadata.name,
      deploymentRef: {
        name: deployment.metadata.name,
        uid: uidOf(deployment),
        ...(namespaceUID !== undefined && { namespaceUID }),
      },
      template: { sku: sku ?? nodeType.metadata.name, gpu, provider, ...(cache && { cache }) },
    },
  };
}

/** An existing pool with another size, account or tags; its pinned template is applied verbatim. A refused account changes nothing. */
export function resizedPool(
  deployment: ModelDeployment,
  pool: GPUNodePool,
  size: number,
  accountAllowed: boolean,
): GPUNodePool {
  const { nodeType, deploymentRef, template, account, tags } = pool.spec;
  const wishes = accountAllowed ? poolWishes(deployment, size) : { size, account, tags };
  return { ...poolIdentity(deployment), spec: { ...wishes, nodeType, deploymentRef, template } };
}

function poolIdentity(deployment: ModelDeployment): Pick<GPUNodePool, "apiVersion" | "kind" | "metadata"> {
  return {
    apiVersion: API_VERSION,
    kind: "GPUNodePool",
    metadata: { ...childMeta(deployment, deployment.metadata.name), finalizers: [finalizers.pool] },
  };
}

function poolWishes(deployment: ModelDeployment, size: number): Pick<GPUNodePool["spec"], "size" | "account" | "tags"> {
  const { account, tags } = deployment.spec.billing;
  return { size, account: account ?? deployment.metadata.namespace ?? "", tags: tags ?? {} };
}

export function desiredRevision(
  deployment: ModelDeployment,
  number: number,
  pinned: PinnedTemplate,
): ControllerRevision {
  return {
    apiVersion: "apps/v1",
    kind: "ControllerRevision",
    metadata: childMeta(deployment, revisionName(uidOf(deployment), number)),
    revision: number,
    data: pinned,
  };
}

/** One pod a node with all its GPUs; never a spare one, since that would need a spare node. */
export function desiredWorkload(deployment: ModelDeployment, revision: CurrentRevision, replicas: number): Workload {
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: childMeta(deployment, workloadName(deployment.metadata.name, uidOf(deployment))),
    spec: {
      replicas,
      revisionHistoryLimit: 1,
      // Loading a model takes many minutes; Berth's own conditions say what goes on. Templates of before have no figure of their own.
      progressDeadlineSeconds: revision.pinned.progressDeadlineSeconds ?? 3600,
      strategy: { type: "RollingUpdate", rollingUpdate: { maxSurge: 0, maxUnavailable: 1 } },
      selector: { matchLabels: podSelector(deployment) },
      template: revision.pinned.podTemplate,
    },
  };
}

export function desiredService(deployment: ModelDeployment): OpaqueSpec {
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: childMeta(deployment, deployment.metadata.name),
    spec: {
      type: "ClusterIP",
      selector: podSelector(deployment),
      ports: [{ name: "http", port: 80, targetPort: "http", protocol: "TCP" }],
    },
  };
}

export function desiredDisruptionBudget(deployment: ModelDeployment): OpaqueSpec {
  return {
    apiVersion: "policy/v1",
    kind: "PodDisruptionBudget",
    metadata: childMeta(deployment, workloadName(deployment.metadata.name, uidOf(deployment))),
    // Also with one replica: a budget that allows no disruption would hang every drain for ever.
    spec: { maxUnavailable: 1, selector: { matchLabels: podSelector(deployment) } },
  };
}

/** Ways to the object storage that the store role may send pods to: its networks at its port. */
function redirectRules({ storeRedirect }: Settings): object[] {
  if (!storeRedirect) return [];
  const { protocol, port } = new URL(storeRedirect.origin);
  const number = port === "" ? (protocol === "https:" ? 443 : 80) : Number(port);
  return [
    { to: storeRedirect.cidrs.map((cidr) => ({ ipBlock: { cidr } })), ports: [{ protocol: "TCP", port: number }] },
  ];
}

/** In: the own namespace and those named for scraping. Out: DNS, the store role and, if named, the object storage. */
export function desiredNetworkPolicy(deployment: ModelDeployment, settings: Settings): OpaqueSpec {
  const namespaceNamed = (name: string): object => ({
    namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": name } },
  });
  return {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: childMeta(deployment, workloadName(deployment.metadata.name, uidOf(deployment))),
    spec: {
      podSelector: { matchLabels: podSelector(deployment) },
      policyTypes: ["Ingress", "Egress"],
      ingress: [
        {
          from: [{ podSelector: {} }, ...settings.metricsNamespaces.map(namespaceNamed)],
          ports: [{ protocol: "TCP", port: SERVING_PORT }],
        },
      ],
      egress: [
        {
          to: [namespaceNamed("kube-system")],
          ports: [
            { protocol: "UDP", port: 53 },
            { protocol: "TCP", port: 53 },
          ],
        },
        { to: [namespaceNamed(settings.operatorNamespace)], ports: [{ protocol: "TCP", port: STORE_PORT }] },
        ...redirectRules(settings),
      ],
    },
  };
}

/**
 * The claim on the nodes' caches, shared by all deployments of the namespace on nodes of the type. It has no owner: what lies
 * there makes the next deployment's start short, and a node is given to others only after its part of it was wiped.
 */
export function desiredCacheClaim(deployment: ModelDeployment, pool: GPUNodePool): OpaqueSpec | undefined {
  const { cache } = pool.spec.template;
  if (!cache) return undefined;
  return {
    apiVersion: "v1",
    kind: "PersistentVolumeClaim",
    metadata: {
      name: cacheClaimName(pool.spec.nodeType),
      namespace: deployment.metadata.namespace,
      labels: { [labels.managedBy]: MANAGED_BY, [labels.name]: "berth-cache" },
    },
    spec: {
      accessModes: ["ReadWriteMany"],
      storageClassName: cache.storageClassName,
      resources: { requests: { storage: cache.size } },
    },
  };
}

/** Address of the Service inside the cluster. */
export function endpointOf(deployment: ModelDeployment): string {
  return `http://${deployment.metadata.name}.${deployment.metadata.namespace}.svc/v1`;
}
