/** Where nodes come from. */
import type { KubeObject } from "./kubernetes.ts";

export type ProviderName = "static" | "karpenter";

/** An instant and where it was read; `estimated` where only a last proof of life was left. */
export interface Evidence {
  readonly time: string;
  readonly evidence: string;
  readonly estimated?: boolean;
}

/** What a provider has to know of a pool; `template` is missing when the pool itself has vanished. */
export interface CapacityQuery {
  readonly poolUID: string;
  readonly template?: {
    readonly gpu: { readonly count: number; readonly resourceName: string };
    readonly provider: { readonly static?: { readonly nodeSelector: Readonly<Record<string, string>> } };
  };
  /** UID of the pool's namespace: nodes whose caches hold others' models are not for it. */
  readonly namespaceUID?: string;
  /** Claim through which the pool's pods reach their node's cache: nodes that hold models of another one are not for it either. */
  readonly cacheClaim?: string;
  readonly size: number;
  /** Since when that size is wanted (RFC 3339). */
  readonly sizeSince?: string;
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** Age of a node's unreadiness from which its last proof of life is looked up. */
  readonly nodeLostMs: number;
  /** Everything before it is in the ledger (milliseconds since the epoch); undefined while nothing is known to be. */
  readonly sealedThroughMs?: number;
}

/**
 * One node in the life of a pool, whichever provider it comes from.
 * - `intended`: recorded or ordered, does not belong to the pool yet
 * - `held`: belongs to the pool
 * - `leaving`: belongs to the pool until the provider has taken it away
 * - `ended`: does not belong to the pool (any more)
 */
export interface CapacityUnit {
  /** Name of the CapacityClaim that stands for it. */
  readonly claimName: string;
  readonly ref: {
    readonly provider: ProviderName;
    readonly kind: "Node" | "NodeClaim";
    readonly name: string;
    readonly uid: string;
  };
  readonly state: "intended" | "held" | "leaving" | "ended";
  readonly nodeName?: string;
  readonly claimedAt?: Evidence;
  readonly readyAt?: Evidence;
  readonly releasedAt?: Evidence;
  /** Node Ready and all GPUs allocatable. */
  readonly ready: boolean;
  /** Why it is not ready, in the provider's or kubelet's words. */
  readonly problem?: string;
  /** Since when its node is not Ready (milliseconds since the epoch); undefined where it is, or never was there. */
  readonly unreadySince?: number;
  /** Last sign of life of a node that is gone or dead. */
  readonly proofOfLife?: Evidence;
  /** Somebody removed what marks it as ours (label, taint, finalizer): to be restored. */
  readonly damaged: boolean;
  /** It ended, and something of ours is still on the provider's object: to be taken off. */
  readonly residue: boolean;
  /** The provider's object as cached, for the writes of the plan. */
  readonly object?: KubeObject;
}

/** A node that can be had now. */
export interface CapacityOffer {
  readonly claimName: string;
  /** Running number of claims on this node. */
  readonly sequence: number;
  /** The claim was recorded already by a pass that did not come further. */
  readonly recorded: boolean;
  /** End of the node's claim before (RFC 3339): the new one begins no earlier. */
  readonly notBefore?: string;
  readonly ref: CapacityUnit["ref"];
  readonly object: KubeObject;
}

export interface CapacityObstacle {
  readonly reason: "OutOfStock" | "ForeignPods" | "KarpenterNotInstalled" | "ProviderError" | "Provisioning";
  /** In the provider's own words. */
  readonly message: string;
}

/** The pool's standing order at a provider that buys nodes by itself. */
export interface CapacityOrder {
  readonly object: KubeObject;
  readonly replicas: number;
  readonly leaving: boolean;
  /** Since when the provider could have acted on it (milliseconds since the epoch); undefined: it cannot yet. */
  readonly actionableSince?: number;
}

export interface CapacityFacts {
  readonly provider: ProviderName;
  readonly units: readonly CapacityUnit[];
  readonly order?: CapacityOrder;
  /** Why nodes that are wanted do not come, as far as the provider says so. */
  readonly obstacle?: CapacityObstacle;
}

/** Where nodes come from: API objects in, facts out. It decides nothing and writes nothing. */
export interface CapacityProvider {
  readonly name: ProviderName;
  /** The pool's nodes from the caches; a Lease is read only for a node that died or vanished. */
  observe(query: CapacityQuery): Promise<CapacityFacts>;
  /** Up to `count` nodes that the pool may take, reserved for it until `settle`, and what stands in the way of the others. */
  offers(
    query: CapacityQuery,
    count: number,
  ): Promise<{ readonly offers: readonly CapacityOffer[]; readonly obstacle?: CapacityObstacle }>;
  /** Ends the pool's reservations: its writes are in the caches, or have failed. */
  settle(poolUID: string): void;
}
