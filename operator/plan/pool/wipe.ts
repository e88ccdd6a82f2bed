/**
 * When a node's cache is emptied, by what, and what proves it. Models of one claim of one namespace lie in it; another one may take the node only
 * after a pod that Berth made ended well on that very node, since its last claim ended. Without that proof the node stays.
 */
import { CACHE_ROOT, CACHE_USER, cacheOwnerText } from "../../api/nodecache.ts";
import type { CacheOwner } from "../../api/nodecache.ts";
import { MANAGED_BY, annotations, fieldManagers, labels } from "../../api/keys.ts";
import { nodes, pods } from "../../api/kubernetes.ts";
import type { Node, Pod } from "../../api/kubernetes.ts";
import { lastClaimOf } from "../../api/lastclaim.ts";
import { isFree } from "../../api/poolindexes.ts";
import type { Plan, PlannedEvent, Write } from "../plan.ts";

/** On that pod: which claim of the node was the last one when it was made. */
const SEQUENCE = "berth.dev/claim-sequence";
const RETRY_MS = 60_000;

interface WipeContainer {
  readonly name: string;
  readonly image?: string;
  readonly args?: readonly string[];
  readonly volumeMounts?: readonly {
    readonly name: string;
    readonly mountPath: string;
    readonly subPath?: string;
    readonly subPathExpr?: string;
  }[];
  readonly [field: string]: unknown;
}

/** The pod as the API server has it, whole: a tenant may have made one of the same name. */
export interface WipePod extends Pod {
  readonly spec?: {
    readonly nodeName?: string;
    readonly initContainers?: readonly unknown[];
    readonly containers?: readonly WipeContainer[];
    readonly ephemeralContainers?: readonly unknown[];
    readonly volumes?: readonly {
      readonly name: string;
      readonly persistentVolumeClaim?: { readonly claimName: string };
    }[];
    readonly [field: string]: unknown;
  };
}

export interface WipeSnapshot {
  readonly node: Node;
  readonly owner: CacheOwner;
  /** UID of the namespace that carries the owner's name now. */
  readonly namespaceUID: string | undefined;
  /** UID of the claim that carries the owner's name now; read after the pod, where there is one. */
  readonly claimUID: string | undefined;
  /** A pool of another namespace, or with another claim, lacks a node and would have to get this one. */
  readonly isWanted: boolean;
  /** Image of Berth. */
  readonly image: string;
  /** Resource by which the node's GPUs are tainted. */
  readonly gpuResource: string;
  readonly pod: WipePod | undefined;
}

export const wipePodName = (node: Node): string => `berth-wipe-${node.metadata.uid ?? ""}`;

const CONFINED = { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] }, readOnlyRootFilesystem: true };

const AS_CACHE_USER = {
  runAsNonRoot: true,
  runAsUser: CACHE_USER,
  runAsGroup: 0,
  fsGroup: 0,
  fsGroupChangePolicy: "OnRootMismatch",
  seccompProfile: { type: "RuntimeDefault" },
};

function wipeContainer(image: string): WipeContainer & object {
  return {
    name: "wipe",
    image,
    args: ["wipe-cache", "--cache", CACHE_ROOT],
    volumeMounts: [{ name: "cache", mountPath: CACHE_ROOT }],
    ...{ terminationMessagePolicy: "FallbackToLogsOnError", securityContext: CONFINED },
    ...{ resources: { requests: { cpu: "100m", memory: "128Mi" } } },
  };
}

/** Everything of it is computed from the node and its annotation: what it does on the node is what it says here. */
export function wipePod({ node, owner, image, gpuResource }: WipeSnapshot): WipePod {
  const onNode = { matchFields: [{ key: "metadata.name", operator: "In", values: [node.metadata.name] }] };
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name: wipePodName(node),
      namespace: owner.namespace,
      labels: {
        [labels.managedBy]: MANAGED_BY,
        [labels.name]: "berth-cache",
        [labels.cacheWipe]: node.metadata.uid ?? "",
        [SEQUENCE]: sequenceText(node),
      },
    },
    spec: {
      restartPolicy: "Never",
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      affinity: {
        nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [onNode] } },
      },
      tolerations: [{ key: gpuResource, operator: "Exists", effect: "NoSchedule" }],
      securityContext: AS_CACHE_USER,
      containers: [wipeContainer(image)],
      volumes: [{ name: "cache", persistentVolumeClaim: { claimName: owner.claimName } }],
    },
  };
}

const sequenceText = (node: Node): string => String(lastClaimOf(node)?.sequence ?? 0);

/** Whoever made it: a pod that is this one in every respect that matters, on this node, and newer than the node's last claim. */
function isTheWipe(seen: WipeSnapshot, pod: WipePod): boolean {
  const { node, owner } = seen;
  const { nodeName, containers = [], volumes = [] } = pod.spec ?? {};
  const [found] = containers;
  const volume = volumes.find(({ name }) => name === found?.volumeMounts?.[0]?.name);
  const { labels: carried = {} } = pod.metadata;
  return (
    (nodeName === undefined || nodeName === node.metadata.name) &&
    found !== undefined &&
    isAlone(pod) &&
    doesNothingElse(found, wipeContainer(seen.image)) &&
    volume?.persistentVolumeClaim?.claimName === owner.claimName &&
    carried[labels.cacheWipe] === node.metadata.uid &&
    carried[SEQUENCE] === sequenceText(node)
  );
}

function isAlone({ spec = {} }: WipePod): boolean {
  const { initContainers = [], containers = [], ephemeralContainers = [] } = spec;
  return initContainers.length === 0 && containers.length === 1 && ephemeralContainers.length === 0;
}

/** What the API server adds to a container by itself (1.30 to 1.32 resizePolicy by a gate): none of it runs anything, or has anything elsewhere. */
const DEFAULTED = ["terminationMessagePath", "imagePullPolicy", "resizePolicy"];

/** By what it has, not by what it must not have: hooks, probes, variables and whatever Kubernetes learns later say nothing good. */
function doesNothingElse(found: WipeContainer, wanted: WipeContainer): boolean {
  const { image, args, volumeMounts = [] } = found;
  const [mount] = volumeMounts;
  const known = new Set([...Object.keys(wanted), ...DEFAULTED]);
  return (
    image === wanted.image &&
    Object.keys(found).every((field) => known.has(field)) &&
    JSON.stringify(args) === JSON.stringify(wanted.args) &&
    volumeMounts.length === 1 &&
    mount?.mountPath === CACHE_ROOT &&
    mount.subPath === undefined &&
    mount.subPathExpr === undefined
  );
}

const removal = (pod: WipePod): Write => ({
  op: "delete",
  resource: pods,
  namespace: pod.metadata.namespace,
  name: pod.metadata.name,
  uid: pod.metadata.uid,
});

const nothing = (because: string): Plan<never> => ({ steps: [], status: undefined, events: [], because });

/** Once the annotation is off, any namespace may claim the node. */
function freed(node: Node, pod: WipePod): Plan<never> {
  const body = {
    metadata: { resourceVersion: node.metadata.resourceVersion, annotations: { [annotations.cacheOwner]: null } },
  };
  const patch: Write = {
    op: "patch",
    resource: nodes,
    name: node.metadata.name,
    body,
    manager: fieldManagers.operator,
  };
  const event: PlannedEvent = {
    type: "Normal",
    reason: "CacheWiped",
    message: `the models of namespace ${pod.metadata.namespace ?? ""} were removed from the node's cache`,
  };
  return { steps: [[patch], [removal(pod)]], status: undefined, events: [event], because: "the cache was emptied" };
}

function kept(words: string): Plan<never> {
  const message = `the node's cache could not be emptied, so the node stays with its namespace: ${words}`;
  return { ...nothing("the cache cannot be emptied"), events: [{ type: "Warning", reason: "CacheKept", message }] };
}

function failed(pod: WipePod): Plan<never> {
  const words =
    pod.status?.containerStatuses?.[0]?.state?.terminated?.message ?? pod.status?.message ?? "the pod failed";
  return { ...kept(words.slice(0, 500)), steps: [[removal(pod)]], requeueAfterMs: RETRY_MS };
}

/**
 * As soon as the claim is there, whether the node is in use or not: from then on only this very claim proves anything. A pod from before
 * may have run with another one.
 */
function noted({ node, owner, claimUID, pod }: WipeSnapshot): Plan<never> {
  const text = cacheOwnerText({ ...owner, claimUID });
  const body = {
    metadata: { resourceVersion: node.metadata.resourceVersion, annotations: { [annotations.cacheOwner]: text } },
  };
  const { name } = node.metadata;
  const patch: Write = { op: "patch", resource: nodes, name, body, manager: fieldManagers.operator };
  return { ...nothing("the claim on the cache is noted"), steps: [[patch], pod ? [removal(pod)] : []] };
}

/** What stands against a proof before any pod runs. */
function strangeness({ owner, namespaceUID, claimUID }: WipeSnapshot): string | undefined {
  const remedy = `empty its folder yourself, then take the annotation ${annotations.cacheOwner} off the node`;
  if (namespaceUID !== owner.namespaceUID) return `namespace ${owner.namespace} is gone: ${remedy}`;
  if (claimUID !== undefined && claimUID === owner.claimUID) return undefined;
  const words = claimUID === undefined ? "is gone" : "was made anew and may be another volume";
  return `PersistentVolumeClaim ${owner.namespace}/${owner.claimName} ${words}: ${remedy}`;
}

/** A node that is claimed, and one that nobody else wants, keep what they have. */
export function planWipe(seen: WipeSnapshot): Plan<never> {
  const { node, owner, pod } = seen;
  const isOwners = seen.namespaceUID === owner.namespaceUID;
  if (isOwners && owner.claimUID === undefined && seen.claimUID !== undefined) return noted(seen);
  const isSettled = !isFree(node) || !seen.isWanted;
  if (isSettled && pod?.status?.phase !== "Succeeded")
    return pod ? { ...nothing("nobody needs it"), steps: [[removal(pod)]] } : nothing("nobody needs it");
  if (!isFree(node)) return { ...nothing("it is in use again"), steps: pod ? [[removal(pod)]] : [] };
  const words = strangeness(seen);
  if (words !== undefined)
    return { ...kept(words), steps: pod && !pod.metadata.deletionTimestamp ? [[removal(pod)]] : [] };
  if (!pod) {
    const create: Write = { op: "create", resource: pods, object: wipePod(seen), manager: fieldManagers.operator };
    return { ...nothing("another namespace needs the node"), steps: [[create]] };
  }
  if (pod.metadata.deletionTimestamp) return nothing("the pod of before is going");
  if (!isTheWipe(seen, pod)) {
    const told = `pod ${owner.namespace}/${pod.metadata.name} is not as Berth makes it; it is made anew`;
    return { ...kept(told), steps: [[removal(pod)]], requeueAfterMs: RETRY_MS };
  }
  if (pod.status?.phase === "Succeeded" && pod.spec?.nodeName === node.metadata.name) return freed(node, pod);
  if (pod.status?.phase === "Failed") return failed(pod);
  return nothing("it is being emptied");
}
