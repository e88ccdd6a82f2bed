/** What a token opens: TokenReview, then quorum reads of the chain that `plan/store` decides on. Kept for a short while. */
import { createHash } from "node:crypto";
import { capacityClaims, gpuNodePools, modelDeployments } from "./api/resources.ts";
import { labels } from "./api/keys.ts";
import { controllerRevisions, namespaces, nodes, pods } from "./api/kubernetes.ts";
import type { PodIdentity, StoreGrant, StoreRefusal } from "./api/store.ts";
import { newMemory } from "./http/access.ts";
import { newTokenReviewer } from "./http/storetoken.ts";
import { claimOf, decideGrant, nodeOf, poolUIDOf, type GrantSeen } from "./plan/store/grant.ts";
import type { Clock, KubeReader, KubeWriter } from "./ports.ts";

/** What the token of the pod with this UID opens. */
export interface Granted {
  readonly grant: StoreGrant;
  readonly podUID: string;
}

export type Authorize = (token: string) => Promise<Granted | { readonly refusal: StoreRefusal }>;

type Kube = Pick<KubeReader, "read" | "list"> & Pick<KubeWriter, "create">;

/** For so long a grant outlives the end of its pod at most. */
const KEPT_MS = 30_000;
/** Shorter than any client waits before it asks again: what was refused may have come into being since. */
const REFUSAL_KEPT_MS = 1_000;
const MOST_KEPT = 4_096;

/** Reads are quorum reads: a pod that has just been bound must not be refused because a cache is late. */
async function observe(kube: Kube, identity: PodIdentity): Promise<GrantSeen> {
  const nothing = { claims: [], namespace: undefined, pool: undefined, deployment: undefined, revisions: [] };
  const pod = await kube.read(pods, identity.namespace, identity.podName);
  const at = nodeOf({ identity, pod });
  if (!("name" in at)) return { identity, pod, node: undefined, ...nothing };
  const node = await kube.read(nodes, undefined, at.name);
  const poolUID = poolUIDOf(node);
  if (poolUID === undefined) return { identity, pod, node, ...nothing };
  const { items: claims } = await kube.list(capacityClaims, undefined, {
    labelSelector: `${labels.poolUID}=${poolUID}`,
  });
  const claim = claimOf({ node, claims });
  // Nothing of another namespace is read, let alone told.
  if (claim?.spec.namespace !== identity.namespace) return { identity, pod, node, ...nothing, claims };
  const { deploymentName, deploymentUID, namespace: name } = claim.spec;
  const ofDeployment = { labelSelector: `${labels.deploymentUID}=${deploymentUID}` };
  const [namespace, pool, deployment, revisions] = await Promise.all([
    kube.read(namespaces, undefined, name),
    kube.read(gpuNodePools, name, deploymentName),
    kube.read(modelDeployments, name, deploymentName),
    kube.list(controllerRevisions, name, ofDeployment),
  ]);
  return { identity, pod, node, claims, namespace, pool, deployment, revisions: revisions.items };
}

/** Throws where Kubernetes cannot be asked; refusals are values. */
export function newAuthorize({ kube, clock }: { readonly kube: Kube; readonly clock: Clock }): Authorize {
  const review = newTokenReviewer({ kube, clock });
  const granted = newMemory<Granted | { readonly refusal: StoreRefusal }>(clock, {
    keptMs: (decision) => ("grant" in decision ? KEPT_MS : REFUSAL_KEPT_MS),
    mostKept: MOST_KEPT,
  });
  // Tokens are kept as digests only.
  return (token) =>
    granted(createHash("sha256").update(token).digest("hex"), async () => {
      const reviewed = await review(token);
      if ("refusal" in reviewed) return reviewed;
      const { identity } = reviewed;
      const decision = decideGrant(await observe(kube, identity));
      return "grant" in decision ? { ...decision, podUID: identity.podUID } : decision;
    });
}
