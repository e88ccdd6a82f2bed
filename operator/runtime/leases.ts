/** Leases: of leaders, of imports, of nodes, and of the ledger's head. */
import type { KubeObject, Resource } from "../ports.ts";

interface LeaseSpec {
  readonly holderIdentity?: string;
  readonly leaseDurationSeconds?: number;
  readonly acquireTime?: string;
  readonly renewTime?: string;
  readonly leaseTransitions?: number;
}

export type LeaseObject = KubeObject & { readonly spec?: LeaseSpec };

export const leases: Resource<LeaseObject> = {
  group: "coordination.k8s.io",
  version: "v1",
  plural: "leases",
  kind: "Lease",
  namespaced: true,
};
