/**
 * Requests for nodes that Karpenter buys: one NodePool with static capacity per pool, whose template is written once and
 * never again (any change of it would drift every node); afterwards only `replicas` changes.
 *
 * Victims: Karpenter 1.14 takes NodeClaims that have not launched, then nodes without pods, then those whose pods cost
 * least to move (static deprovisioning controller), so `replicas` falls only as far as there are nodes that serve nothing.
 */
import { nodeClaims, nodePools } from "../../api/karpenter.ts";
import type { NodePool } from "../../api/karpenter.ts";
import { annotations, fieldManagers, finalizers, labels, MANAGED_BY } from "../../api/keys.ts";
import type { CapacityUnit } from "../../ports.ts";
import { nodePoolName, shortHash } from "../identity.ts";
import type { Write } from "../plan.ts";
import type { LivingSnapshot, PoolSnapshot, ProviderActs, ResizeTarget } from "./snapshot.ts";
import { dedicatedTaints } from "./static.ts";

/** Bound on a node's drain, after which Karpenter deletes what is left on it. */
const TERMINATION_GRACE_PERIOD = "15m";

export const karpenterActs: ProviderActs = {
  resize,
  release: (unit) => [deleteNodeClaim(unit)],
  restore: (unit) => (unit.object ? [holdNodeClaim(unit)] : []),
  secure: (unit) => (unit.object && unit.damaged ? [holdNodeClaim(unit)] : []),
  clear: (unit) => (unit.object ? [freeNodeClaim(unit)] : []),
  close: closeOrder,
};

function resize(seen: LivingSnapshot, { size, waiting }: ResizeTarget): readonly (readonly Write[])[] {
  const { order, obstacle } = seen.facts;
  if (obstacle?.reason === "KarpenterNotInstalled" || order?.leaving) return [];
  if (!order) {
    const create = {
      op: "create",
      resource: nodePools,
      object: newNodePool(seen),
      manager: fieldManagers.operator,
    } as const;
    return size > 0 ? [[create]] : [];
  }
  const replicas = size + waiting;
  return order.replicas === replicas ? [] : [[scaleOrder(order.object, replicas)]];
}

function scaleOrder({ metadata: { name, resourceVersion } }: NodePool, replicas: number): Write {
  const body = { metadata: { resourceVersion }, spec: { replicas } };
  return { op: "patch", resource: nodePools, name, body, manager: fieldManagers.operator };
}

/** The NodePool as it is created. Requirements and node class are the pool's pinned ones. */
export function newNodePool({ pool, poolUID }: LivingSnapshot): NodePool {
  const { template, size, deploymentRef } = pool.spec;
  const { karpenter } = template.provider;
  const ours = { [labels.managedBy]: MANAGED_BY, [labels.poolUID]: poolUID, [labels.deploymentUID]: deploymentRef.uid };
  const nodeTemplate = {
    metadata: { labels: { [labels.pool]: poolUID, [labels.deploymentUID]: deploymentRef.uid } },
    spec: {
      nodeClassRef: karpenter?.nodeClassRef,
      requirements: karpenter?.requirements,
      taints: dedicatedTaints(poolUID),
      expireAfter: "Never",
      terminationGracePeriod: TERMINATION_GRACE_PERIOD,
    },
  };
  return {
    metadata: {
      name: nodePoolName(poolUID),
      labels: ours,
      annotations: { [annotations.templateHash]: shortHash(nodeTemplate) },
    },
    spec: {
      replicas: size,
      template: nodeTemplate,
      disruption: { consolidateAfter: "Never", consolidationPolicy: "WhenEmpty", budgets: [{ nodes: "0" }] },
    },
  };
}

/** Server-side apply of our finalizer alone: it meets none of Karpenter's many early writes to the same object. */
function holdNodeClaim({ ref }: CapacityUnit): Write {
  return {
    op: "apply",
    resource: nodeClaims,
    object: { metadata: { name: ref.name, uid: ref.uid, finalizers: [finalizers.claim] } },
    manager: fieldManagers.claim,
  };
}

function freeNodeClaim({ object, ref }: CapacityUnit): Write {
  const kept = (object?.metadata.finalizers ?? []).filter((entry) => entry !== finalizers.claim);
  return {
    op: "patch",
    resource: nodeClaims,
    name: ref.name,
    body: { metadata: { resourceVersion: object?.metadata.resourceVersion, finalizers: kept } },
    manager: fieldManagers.claim,
  };
}

function deleteNodeClaim({ ref }: CapacityUnit): Write {
  return { op: "delete", resource: nodeClaims, name: ref.name, uid: ref.uid };
}

function closeOrder({ facts: { order } }: PoolSnapshot): readonly Write[] {
  if (!order || order.leaving) return [];
  const { name, uid } = order.object.metadata;
  return [{ op: "delete", resource: nodePools, name, uid, propagationPolicy: "Background" }];
}
