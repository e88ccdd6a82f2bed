/** Every cache of the operator role: what is watched, which of it is kept, and by what it can be found. Part of the composition root. */
import { isOfStatus } from "./api/allocatable.ts";
import { capacityClaims, clusterModels, gpuNodePools, modelDeployments, models, nodeTypes } from "./api/resources.ts";
import { MANAGED_BY, fieldManagers, labels } from "./api/keys.ts";
import {
  controllerRevisions,
  customResourceDefinitions,
  namespaces,
  networkPolicies,
  nodes,
  podDisruptionBudgets,
  pods,
  services,
  workloads,
  type ContainerStatus,
  type ObjectCondition,
  type Pod,
  type Workload,
} from "./api/kubernetes.ts";
import {
  claimIndexes,
  eventIndexes,
  nodeClaimIndexes,
  nodeIndexes,
  podIndexes,
  poolIndexes,
  slimNode,
} from "./api/poolindexes.ts";
import { persistentVolumeClaims } from "./api/nodecache.ts";
import { configMaps } from "./api/fetches.ts";
import { coreEvents, nodeClaims, nodePools } from "./api/karpenter.ts";
import { deploymentIndexes, isProtected, modelKeyOf, ownsReplicas } from "./controllers/modeldeployment.ts";
import type { KubeObject, ObjectMeta, Resource, Store } from "./ports.ts";
import { newPacker } from "./runtime/packed.ts";
import { newReflector, type Reflector, type ReflectorDeps } from "./runtime/reflector.ts";

const OURS = `${labels.managedBy}=${MANAGED_BY}`;

/** Only for the case that the watch of definitions misses one. */
const ABSENT_RETRY_MS = 3_600_000;

/** Shorter than what readiness allows without a sign of life. */
const QUIET_WATCH_SECONDS = 240;

const byDeployment = (object: KubeObject): string | undefined => object.metadata.labels?.[labels.deploymentUID];

/** A pod's template is pinned elsewhere; of the pod itself only its node and its state are read. A thousand whole pods are 7 MB. */
function slimPod({ metadata, spec, status = {} }: Pod): Pod {
  const {
    ownerReferences,
    labels: own,
    name,
    namespace,
    uid,
    resourceVersion,
    finalizers,
    creationTimestamp,
  } = metadata;
  const { deletionTimestamp, deletionGracePeriodSeconds } = metadata;
  const { phase, reason, message, conditions, initContainerStatuses, containerStatuses } = status;
  return {
    metadata: {
      name,
      namespace,
      uid,
      resourceVersion,
      creationTimestamp,
      deletionTimestamp,
      deletionGracePeriodSeconds,
      labels: own,
      ownerReferences,
      finalizers,
    },
    spec: { nodeName: spec?.nodeName },
    status: {
      phase,
      reason,
      message,
      conditions: conditions?.map(slimCondition),
      initContainerStatuses: initContainerStatuses?.map(slimContainer),
      containerStatuses: containerStatuses?.map(slimContainer),
    },
  };
}

function slimCondition({ type, status, reason, message, lastTransitionTime }: ObjectCondition): ObjectCondition {
  return { type, status, reason, message, lastTransitionTime };
}

function slimContainer({ name, ready, started, restartCount, state, lastState }: ContainerStatus): ContainerStatus {
  return { name, ready, started, restartCount, state, lastState };
}

/** Of the status only why pods could not be made. */
function slimWorkload({ status, ...workload }: Workload): Workload {
  const conditions = status?.conditions?.filter(({ type }) => type === "ReplicaFailure") ?? [];
  return { ...workload, ...(conditions.length > 0 ? { status: { conditions } } : {}) };
}

export type Caches = ReturnType<typeof newCaches>;

/** Where the store role leaves how far fetches are. */
export interface FetchPlace {
  readonly namespace: string;
  readonly name: string;
}

export function newCaches(deps: ReflectorDeps, fetches: FetchPlace, { nodeCaches = false } = {}) {
  const packer = newPacker();
  // Compared with what is wanted while a deployment converges, and left alone for months afterwards.
  const spec: Pack = (object) => packer.pack(object, ["spec"]);
  const data: Pack = (object) => packer.pack(object, ["data"]);
  return {
    ...berthCaches(deps),
    ...childCaches(deps, spec, data),
    namespaces: newReflector(
      { resource: namespaces, transform: ({ metadata, status }) => ({ metadata, status: { phase: status?.phase } }) },
      deps,
    ),
    ...karpenterCaches(deps),
    definitions: newReflector(
      {
        resource: customResourceDefinitions,
        metadataOnly: true,
        transform: ({ metadata }) => ({ metadata: nameOnly(metadata) }),
      },
      deps,
    ),
    ...(nodeCaches && {
      cacheClaims: newReflector({ resource: persistentVolumeClaims, labelSelector: OURS, transform: spec }, deps),
    }),
    fetches: fetchCache(deps, fetches),
    nodes: newReflector(
      {
        resource: nodes,
        keepManagers: [fieldManagers.claim],
        keepEntry: isOfStatus,
        transform: slimNode,
        indexes: nodeIndexes,
      },
      deps,
    ),
  };
}

type Pack = <T extends KubeObject>(object: T) => T;

function berthCaches(deps: ReflectorDeps) {
  return {
    deployments: newReflector(
      {
        resource: modelDeployments,
        keepEntry: ownsReplicas,
        indexes: {
          [deploymentIndexes.model]: modelKeyOf,
          [deploymentIndexes.nodeType]: ({ spec }) => spec.nodeType,
          [deploymentIndexes.namespace]: ({ metadata }) => metadata.namespace,
          [deploymentIndexes.protected]: (deployment) =>
            isProtected(deployment) ? deployment.metadata.namespace : undefined,
        },
      },
      deps,
    ),
    models: newReflector({ resource: models }, deps),
    clusterModels: newReflector({ resource: clusterModels }, deps),
    nodeTypes: newReflector({ resource: nodeTypes }, deps),
    pools: newReflector(
      {
        resource: gpuNodePools,
        keepManagers: [fieldManagers.size],
        indexes: { ...poolIndexes, [deploymentIndexes.deploymentUID]: ({ spec }) => spec.deploymentRef.uid },
      },
      deps,
    ),
    claims: newReflector(
      {
        resource: capacityClaims,
        indexes: { ...claimIndexes, [deploymentIndexes.deploymentUID]: ({ spec }) => spec.deploymentUID },
      },
      deps,
    ),
  };
}

/** What deployments are made of. */
function childCaches(deps: ReflectorDeps, spec: Pack, data: Pack) {
  const child = { labelSelector: OURS, indexes: { [deploymentIndexes.deploymentUID]: byDeployment } };
  return {
    revisions: newReflector({ resource: controllerRevisions, ...child, transform: data }, deps),
    workloads: newReflector(
      { resource: workloads, ...child, transform: (workload) => spec(slimWorkload(workload)) },
      deps,
    ),
    services: newReflector({ resource: services, ...child, transform: spec }, deps),
    budgets: newReflector({ resource: podDisruptionBudgets, ...child, transform: spec }, deps),
    policies: newReflector({ resource: networkPolicies, ...child, transform: spec }, deps),
    pods: newReflector(
      {
        resource: pods,
        labelSelector: OURS,
        transform: slimPod,
        indexes: { [deploymentIndexes.deploymentUID]: byDeployment, ...podIndexes },
      },
      deps,
    ),
  };
}

function karpenterCaches(deps: ReflectorDeps) {
  return {
    nodePools: newReflector({ resource: nodePools, labelSelector: OURS, absentRetryMs: ABSENT_RETRY_MS }, deps),
    nodeClaims: newReflector(
      { resource: nodeClaims, labelSelector: labels.pool, indexes: nodeClaimIndexes, absentRetryMs: ABSENT_RETRY_MS },
      deps,
    ),
    // Karpenter says in events why a node could not be had, and deletes the claim that could have told later.
    claimEvents: newReflector(
      {
        resource: coreEvents,
        fieldSelector: "involvedObject.kind=NodeClaim",
        indexes: eventIndexes,
        quietWatchSeconds: QUIET_WATCH_SECONDS,
      },
      deps,
    ),
  };
}

function fetchCache(deps: ReflectorDeps, { namespace, name }: FetchPlace) {
  return newReflector(
    {
      resource: configMaps,
      namespace,
      fieldSelector: `metadata.name=${name}`,
      transform: ({ metadata, data: progress }) => ({
        metadata: nameOnly(metadata),
        ...(progress ? { data: progress } : {}),
      }),
    },
    deps,
  );
}

/** Karpenter may be installed while Berth runs: its kinds are looked for when a definition comes, not again and again. */
export function followDefinitions({ definitions, nodePools: pools, nodeClaims: claims }: Caches): void {
  for (const reflector of [pools, claims]) {
    const name = `${reflector.resource.plural}.${reflector.resource.group}`;
    definitions.onChange(({ object }) => object.metadata.name === name && reflector.lookAgain());
  }
}

function nameOnly({ name, namespace, uid, resourceVersion }: ObjectMeta): ObjectMeta {
  return { name, namespace, uid, resourceVersion };
}

/** The store of a resource among these caches, for writes that are skipped where nothing would change. */
export function storeFinder(
  reflectors: readonly Reflector[],
): <T extends KubeObject>(resource: Resource<T>) => Store<T> | undefined {
  const idOf = ({ plural, group }: Resource): string => `${plural}.${group}`;
  const stores = new Map(reflectors.map(({ resource, store }) => [idOf(resource), store]));
  return <T extends KubeObject>(resource: Resource<T>) => stores.get(idOf(resource)) as Store<T> | undefined;
}
