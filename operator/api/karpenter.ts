/** Karpenter's kinds of karpenter.sh/v1 as far as Berth reads or writes them. */
import type { KubeObject, Resource } from "../ports.ts";
import type { ObjectCondition, Taint } from "./kubernetes.ts";

export interface NodePool extends KubeObject {
  readonly spec?: {
    readonly replicas?: number;
    readonly template?: {
      readonly metadata?: { readonly labels?: Readonly<Record<string, string>> };
      readonly spec?: { readonly taints?: readonly Taint[]; readonly [field: string]: unknown };
    };
    readonly disruption?: unknown;
  };
  readonly status?: { readonly conditions?: readonly ObjectCondition[] };
}

export interface NodeClaim extends KubeObject {
  readonly status?: {
    readonly nodeName?: string;
    readonly providerID?: string;
    readonly conditions?: readonly ObjectCondition[];
  };
}

/** core/v1 Event, which is where Karpenter says why it could not buy a node. */
export interface CoreEvent extends KubeObject {
  readonly involvedObject?: { readonly kind?: string; readonly name?: string; readonly uid?: string };
  readonly reason?: string;
  readonly message?: string;
  readonly type?: string;
  readonly firstTimestamp?: string | null;
  readonly lastTimestamp?: string | null;
  readonly eventTime?: string | null;
}

export const nodePools: Resource<NodePool> = {
  group: "karpenter.sh",
  version: "v1",
  plural: "nodepools",
  kind: "NodePool",
  namespaced: false,
};
export const nodeClaims: Resource<NodeClaim> = {
  group: "karpenter.sh",
  version: "v1",
  plural: "nodeclaims",
  kind: "NodeClaim",
  namespaced: false,
};
export const coreEvents: Resource<CoreEvent> = {
  group: "",
  version: "v1",
  plural: "events",
  kind: "Event",
  namespaced: true,
};

/** Label on every NodeClaim and Node of a NodePool. */
export const NODEPOOL_LABEL = "karpenter.sh/nodepool";

/** Pool UID in the name of a NodePool or NodeClaim of ours (`berth-<pool UID>[-<suffix>]`); undefined for any other name. */
export function nodePoolOf(name: string): string | undefined {
  return /^berth-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:-|$)/.exec(name)?.[1];
}
