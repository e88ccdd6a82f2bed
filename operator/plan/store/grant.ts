/**
 * From a pod to the one model revision that it may read: its node → the pool that claimed the node → the deployment →
 * a revision that Berth pinned for it. Everything rests on objects that only Berth, the scheduler and the API server write.
 */
import type { CapacityClaim } from "../../api/capacityclaim.ts";
import type { GPUNodePool } from "../../api/gpunodepool.ts";
import { labels } from "../../api/keys.ts";
import type { ControllerRevision, Namespace, Node, Pod } from "../../api/kubernetes.ts";
import type { ModelDeployment } from "../../api/modeldeployment.ts";
import type { PodIdentity, StoreGrant, StoreReason, StoreRefusal } from "../../api/store.ts";
import { believableRevisions } from "../deployment/revisions.ts";
import { REVISION_LABEL } from "../deployment/template.ts";

/** What was read; undefined where it does not exist. */
export interface GrantSeen {
  readonly identity: PodIdentity;
  readonly pod: Pod | undefined;
  readonly node: Node | undefined;
  /** CapacityClaims of the pool that the node's label names. */
  readonly claims: readonly CapacityClaim[];
  /** Namespace of the pod. */
  readonly namespace: Namespace | undefined;
  /** Of the claim's deployment, in the pod's namespace. */
  readonly pool: GPUNodePool | undefined;
  readonly deployment: ModelDeployment | undefined;
  readonly revisions: readonly ControllerRevision[];
}

export type Decision = { readonly grant: StoreGrant } | { readonly refusal: StoreRefusal };

const refused = (reason: StoreReason, message: string): Decision => ({ refusal: { reason, message } });

/** Node to read: the one that the scheduler bound the pod to. A refusal where there is none, or the pod is another by now. */
export function nodeOf({ identity, pod }: Pick<GrantSeen, "identity" | "pod">): Decision | { readonly name: string } {
  const { namespace, podName, podUID } = identity;
  const name = `${namespace}/${podName}`;
  if (pod?.metadata.uid !== podUID || pod.metadata.namespace !== namespace)
    return refused("PodGone", `pod ${name} of this token is gone or was replaced: use the token of a running pod`);
  if (pod.status?.phase === "Succeeded" || pod.status?.phase === "Failed")
    return refused("PodGone", `pod ${name} has ended: use the token of a running pod`);
  const nodeName = pod.spec?.nodeName;
  return nodeName ? { name: nodeName } : refused("NotScheduled", `pod ${name} has no node yet: ask when it runs`);
}

/** UID of the pool that the node's label names; undefined where it is dedicated to none. */
export function poolUIDOf(node: Node | undefined): string | undefined {
  return node?.metadata.labels?.[labels.pool] || undefined;
}

/** The claim that holds the node for the pool that its label names: label and record must agree. */
export function claimOf({ node, claims }: Pick<GrantSeen, "node" | "claims">): CapacityClaim | undefined {
  const poolUID = poolUIDOf(node);
  if (!node || poolUID === undefined) return undefined;
  // Karpenter writes the NodeClaim as an owner onto the Node that it registers.
  const owners = (node.metadata.ownerReferences ?? []).filter(({ kind }) => kind === "NodeClaim").map(({ uid }) => uid);
  return claims.find(({ spec, status, metadata }) => {
    const { kind, uid } = spec.providerRef;
    const holds = kind === "Node" ? uid === node.metadata.uid : owners.includes(uid);
    return holds && spec.poolUID === poolUID && !status?.releasedAt && !metadata.deletionTimestamp;
  });
}

/** The only model revision that the pod may read, or why there is none. */
export function decideGrant(seen: GrantSeen): Decision {
  const at = nodeOf(seen);
  if (!("name" in at)) return at;
  const claim = claimOf(seen);
  if (!claim || seen.node?.metadata.name !== at.name) {
    return refused(
      "NodeNotDedicated",
      `node ${at.name} is not held by any pool of Berth: only pods on the nodes of a ModelDeployment may read its model`,
    );
  }
  if (claim.spec.namespace !== seen.identity.namespace) {
    return refused(
      "OtherNamespace",
      `node ${at.name} serves another namespace than ${seen.identity.namespace}: a pod may read only what its own namespace deploys`,
    );
  }
  const { pool, deployment } = seen;
  const isWhole =
    pool?.metadata.uid === claim.spec.poolUID &&
    pool.spec.deploymentRef.uid === claim.spec.deploymentUID &&
    deployment?.metadata.uid === claim.spec.deploymentUID;
  if (!isWhole || !deployment) {
    return refused(
      "DeploymentGone",
      `the ModelDeployment that node ${at.name} was claimed for is gone: delete the pod`,
    );
  }
  return pinnedFor(seen, deployment);
}

/** The label chooses among the deployment's own revisions: pods of an earlier one go on reading theirs. */
function pinnedFor({ pod, pool, revisions, namespace }: GrantSeen, deployment: ModelDeployment): Decision {
  const wanted = pod?.metadata.labels?.[REVISION_LABEL];
  const found = believableRevisions({ deployment, revisions, pool }).find(
    ({ pinned }) => wanted !== undefined && pinned.podTemplate.metadata.labels[REVISION_LABEL] === wanted,
  );
  if (!found) {
    return refused(
      "RevisionUnknown",
      `label ${REVISION_LABEL} of the pod is none of the revisions that Berth keeps for ${deployment.metadata.name}: delete the pod, so that it is made anew`,
    );
  }
  const { path, digest } = found.pinned.model;
  const scope = /^models\/([^/]+)\/[0-9a-zA-Z-]+\/[1-9][0-9]*$/.exec(path)?.[1];
  if (scope === undefined || (scope !== "cluster" && scope !== namespace?.metadata.uid)) {
    return refused(
      "ForeignModel",
      `the pinned revision of ${deployment.metadata.name} names a model outside its namespace and the catalogue: change the deployment, so that Berth renders it anew`,
    );
  }
  return { grant: { folder: `${path}/`, digest } };
}
